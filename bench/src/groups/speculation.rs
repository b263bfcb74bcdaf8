//! Speculation on text that repeats, and on text that doesn't: the same daemon with and without it, which must say the same bytes.
//!
//! Random weights would say nothing like JSON. The weights measured here know one text each by heart (see `peers/weights.py`): they
//! cost what DistilGPT2 costs, and guesses succeed as often as that text repeats itself.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Bench;
use crate::case::Dtype;
use crate::load::{Question, ask, client};
use crate::places::existing;
use crate::row::{Better, Heading, Row};
use crate::server::Server;
use crate::turns::turn_by_turn;

/// The texts in `bench/texts`: what they are, and the ratio to reach. Where nothing repeats, it may cost 3 % at most.
const TEXTS: [(&str, &str, f64); 4] = [
    ("records.json", "repetitive text (JSON)", 1.8),
    ("code.py", "repetitive text (code)", 1.8),
    ("list.md", "repetitive text (a list)", 1.8),
    ("prose.txt", "text that doesn't repeat", 0.97),
];
/// Tokens of an answer.
const ANSWER: usize = 192;

pub(super) async fn speculation(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for dtype in bench.dtypes(&[Dtype::F32, Dtype::Q8]) {
        for (file, name, goal) in TEXTS {
            let question = Question { prompt: beginning(bench, file)?, tokens: ANSWER, cache: false };
            let mut sides = [reciter(bench, file, dtype, true).await, reciter(bench, file, dtype, false).await];
            let mut answer = None;
            let mut reached = turn_by_turn(bench.asked.rounds(), &mut sides, async |side, _| {
                let server = side.as_ref().map_err(crate::turns::copy)?;
                let said = ask(&client(), server, &question).await?;
                ensure!(answer.get_or_insert_with(|| said.text.clone()) == &said.text, "it says other bytes than without speculation");
                Ok(said.pace())
            })
            .await
            .into_iter();
            let (Some(with), Some(without)) = (reached.next(), reached.next()) else { continue };
            let what = format!("GPT-2 {}, {name} with speculation", dtype.name());
            let heading = Heading { group: "speculation", what: &what, unit: "tokens/s", better: Better::More };
            rows.push(heading.row(&with, "without it", &without, Some(goal)));
        }
    }
    Ok(rows)
}

/// The first third of a text, in whole lines or words.
fn beginning(bench: &Bench, file: &str) -> Result<String> {
    let path = bench.places.peers.join("../texts").join(file);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let third = text.get(..text.len() / 3).context("the text isn't ASCII")?;
    let end = third.rfind('\n').or_else(|| third.rfind(' ')).context("a text of one word")?;
    Ok(third[..end].to_owned())
}

/// The daemon with the weights that know the text.
async fn reciter(bench: &Bench, file: &str, dtype: Dtype, speculation: bool) -> Result<Server> {
    let stem = Path::new(file).file_stem().unwrap_or_default().to_string_lossy();
    let model = existing(&bench.places.folder.join("models").join(format!("recite-{stem}")))?;
    let mut table = crate::engine::table(&model, dtype, bench.asked.threads(), &json!({"slots": 1, "speculation": speculation}))?;
    table.insert("backend".into(), json!("gpt2"));
    Server::minivault(&bench.places, &format!("MiniVault speculation {speculation}"), &table).await
}

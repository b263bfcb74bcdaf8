//! What 8-bit weights lose: the Kullback-Leibler divergence from the same weights in f32, ours beside llama.cpp's.
//!
//! `minivaultd eval` asks both, so both read the same tokens in the same windows and are scored alike.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use tokio::process::Command;

use super::Bench;
use crate::case::Dtype;
use crate::places::{Places, existing};
use crate::row::{Better, Heading, Row};

/// This repository's own pages: English, and always there.
const PAGES: [&str; 3] = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"];
/// Tokens to read of them.
const LIMIT: &str = "4096";

pub(super) async fn kl(bench: &Bench) -> Result<Vec<Row>> {
    let text = bench.places.run().join("pages.txt");
    std::fs::write(&text, pages(&bench.places)?)?;
    let mut rows = Vec::new();
    for (name, what) in [("distilgpt2", "DistilGPT2's shape"), ("tarotble", "tarotble")] {
        let models = Models::find(&bench.places, name);
        let ours = divergence(bench, &models, "ours", None, &text).await.map(|kl| vec![kl]);
        let theirs = divergence(bench, &models, "theirs", Some("exact"), &text).await.map(|kl| vec![kl]);
        let what = format!("KL of GPT-2 q8 against f32, {what}");
        let heading = Heading { group: "kl", what: &what, unit: "nats/token", better: Better::Less };
        rows.push(heading.row(&ours, "llama.cpp Q8_0", &theirs, Some(1.0)));
    }
    Ok(rows)
}

/// One model on each side, and llama.cpp's in f32 to compare with.
struct Models {
    ours: Result<PathBuf>,
    theirs: Result<PathBuf>,
    exact: Result<PathBuf>,
}

impl Models {
    fn find(places: &Places, name: &str) -> Self {
        let model = |file: String| existing(&places.folder.join("models").join(file));
        Self {
            ours: model(name.to_owned()),
            theirs: model(format!("{name}-{}.gguf", Dtype::Q8.of_llama())),
            exact: model(format!("{name}-{}.gguf", Dtype::F32.of_llama())),
        }
    }
}

fn pages(places: &Places) -> Result<String> {
    let root = places.peers.join("../..");
    PAGES.iter().map(|page| std::fs::read_to_string(root.join(page)).with_context(|| (*page).to_owned())).collect()
}

/// Nats per token between an engine and its reference.
async fn divergence(bench: &Bench, models: &Models, engine: &str, against: Option<&str>, text: &Path) -> Result<f64> {
    let path = |model: &Result<PathBuf>| model.as_ref().map(Clone::clone).map_err(crate::turns::copy);
    let mut config = String::new();
    let mut add = |name: &str, table: Map<String, Value>| -> Result<()> {
        writeln!(config, "[engines.{name}]")?;
        table.iter().try_for_each(|(key, value)| writeln!(config, "{key} = {value}"))?;
        Ok(())
    };
    if against.is_some() {
        for (name, model) in [("theirs", &models.theirs), ("exact", &models.exact)] {
            let table = [("backend", json!("llama-cpp")), ("model", json!(path(model)?)), ("slots", json!(1))];
            add(name, table.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())?;
        }
    } else {
        let mut table = crate::engine::table(&path(&models.ours)?, Dtype::Q8, bench.asked.threads(), &json!({}))?;
        table.insert("backend".into(), json!("gpt2"));
        add("ours", table)?;
    }
    let file = bench.places.run().join(format!("kl-{engine}.toml"));
    std::fs::write(&file, format!("engine = \"{engine}\"\n{config}"))?;

    let mut command = Command::new(&bench.places.minivaultd);
    command.arg("--config").arg(file).args(["eval", engine]).arg(text).args(["--json", "--limit", LIMIT]);
    if let Some(against) = against {
        command.args(["--against", against]);
    }
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "minivaultd eval: {}", errors.lines().last().unwrap_or("it said nothing"));
    let report: Value = serde_json::from_slice(&output.stdout)?;
    report.pointer("/comparison/kl_mean").and_then(Value::as_f64).context("the report has no comparison/kl_mean")
}

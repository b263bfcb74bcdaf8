//! `minivault models`: the engines that a request can name.

use minivault_wire::models::{Model, ModelDetails, ModelList};

use crate::arguments::Report;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::fitting;

const HEADINGS: [&str; 7] = ["NAME", "STATE", "BACKEND", "MODEL", "CONTEXT", "DETERMINISM", "NOTE"];

/// The columns by their places, those first that a narrow terminal loses last.
const BY_IMPORTANCE: [usize; HEADINGS.len()] = [0, 1, 6, 4, 2, 3, 5];
/// The last column, and the characters of it that are worth reading.
const NOTE: (usize, usize) = (HEADINGS.len() - 1, 24);

/// Prints the list, as a table or as it came.
pub async fn run(client: &Client, arguments: &Report, output: &mut Output) -> Result<(), Failure> {
    let list = client.models().await?;
    if arguments.json {
        return output.line(&list.raw);
    }
    for line in table(&list.value, output.width()) {
        output.line(&line)?;
    }
    Ok(())
}

/// On a terminal of so many columns the note is shortened before others are left out.
fn table(list: &ModelList, width: Option<usize>) -> Vec<String> {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(list.data.iter().map(row));
    let shortest: Vec<Vec<String>> = rows.iter().map(|row| row.iter().enumerate().map(shortest).collect()).collect();
    let columns = fitting(&shortest, &BY_IMPORTANCE, width);
    let mut widths = [0; HEADINGS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; HEADINGS.len()]| {
        let padded: Vec<String> = columns.iter().map(|&column| format!("{:width$}", row[column], width = widths[column])).collect();
        let line = padded.join("  ").trim_end().to_owned();
        match width {
            Some(width) if columns.contains(&NOTE.0) => ended_by(&line, width),
            _ => line,
        }
    };
    rows.iter().map(line).collect()
}

/// As much of a cell as must be seen.
fn shortest((column, cell): (usize, &String)) -> String {
    if column == NOTE.0 { cell.chars().take(NOTE.1).collect() } else { cell.clone() }
}

fn ended_by(line: &str, width: usize) -> String {
    if line.chars().count() <= width { line.to_owned() } else { line.chars().take(width.saturating_sub(1)).chain(['…']).collect() }
}

/// How an engine is, in a word or two.
pub fn state(details: &ModelDetails) -> String {
    // The state is the other engine's then, and told in its own row.
    details.answered_by.as_ref().map_or_else(|| details.state.clone(), |other| format!("{other} answers"))
}

fn row(model: &Model) -> [String; HEADINGS.len()] {
    let details = model.minivault.clone().unwrap_or_default();
    let state = state(&details);
    let known = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let loaded = details.loaded.unwrap_or_default();
    let context = if loaded.context_length == 0 { String::new() } else { loaded.context_length.to_string() };
    // One engine, one line; `minivault status` tells the whole reason.
    let reason = details.reason.map(|reason| reason.lines().next().unwrap_or_default().to_owned());
    [
        format!("{}{}", model.id, if details.default { " *" } else { "" }),
        known(state),
        known(details.backend),
        known(loaded.model),
        known(context),
        known(loaded.determinism),
        reason.unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use minivault_wire::models::LoadedModel;

    use super::*;

    fn model(id: &str, minivault: Option<ModelDetails>) -> Model {
        Model {
            id: id.into(),
            object: "model".into(),
            created: 0,
            owned_by: "minivault".into(),
            aliases: vec![id.into()],
            tags: Vec::new(),
            minivault,
        }
    }

    #[test]
    fn columns_line_up_and_what_is_not_known_is_a_dash() {
        let loaded = LoadedModel { model: "DistilGPT2".into(), context_length: 1024, determinism: "bitwise".into(), ..Default::default() };
        let ready =
            ModelDetails { default: true, state: "ready".into(), backend: "gpt2".into(), loaded: Some(loaded), ..ModelDetails::default() };
        let failed = ModelDetails {
            state: "failed".into(),
            backend: "openai".into(),
            reason: Some("no answer\ntried, in order: …".into()),
            answered_by: Some("a".into()),
            ..ModelDetails::default()
        };
        let list =
            ModelList { object: "list".into(), data: vec![model("a", Some(ready)), model("upstream", Some(failed)), model("bare", None)] };
        assert_eq!(
            table(&list, None).join("\n"),
            "NAME      STATE      BACKEND  MODEL       CONTEXT  DETERMINISM  NOTE\n\
             a *       ready      gpt2     DistilGPT2  1024     bitwise\n\
             upstream  a answers  openai   -           -        -            no answer\n\
             bare      -          -        -           -        -"
        );
        assert_eq!(
            table(&list, Some(51)).join("\n"),
            "NAME      STATE      BACKEND  CONTEXT  NOTE\n\
             a *       ready      gpt2     1024\n\
             upstream  a answers  openai   -        no answer\n\
             bare      -          -        -"
        );
        assert_eq!(table(&list, Some(27)).join("\n").lines().nth(2), Some("upstream  a answers"));
    }
}

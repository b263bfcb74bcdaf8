//! Rows as Markdown.

use std::fmt::Write as _;

use super::Report;
use crate::arguments::Group;
use crate::row::{Row, Summary};

/// Every row, group by group.
pub(super) fn page(report: &Report) -> String {
    let mut page = format!("# MiniVault beside its peers\n\n{}\n", circumstances(report));
    for group in Group::ALL {
        let rows: Vec<&Row> = report.rows.iter().filter(|row| row.group == group.name()).collect();
        if !rows.is_empty() {
            let _ = write!(page, "\n## {}\n\n{}", group.name(), table(&rows));
        }
    }
    page.trim_end().to_owned()
}

/// What the README shows: the plots, and the rows that have a goal.
pub(super) fn readme(report: &Report, results: &str) -> String {
    let rows: Vec<&Row> = report.rows.iter().filter(|row| row.summary.goal.is_some()).collect();
    format!(
        "{}\n\n![Tokens per second of engines]({results}/engine.svg)\n![Tokens per second over HTTP]({results}/http.svg)\n\n\
         <details><summary>All rows with a goal ({} of {} reach it)</summary>\n\n{}\n</details>\n\n\
         [All rows]({results}/table.md), [as JSON]({results}/summary.json), [ratios and goals]({results}/ratios.svg).",
        circumstances(report),
        rows.iter().filter(|row| reaches(&row.summary) == Some(true)).count(),
        rows.len(),
        table(&rows),
    )
}

fn circumstances(report: &Report) -> String {
    format!("{}, {}. Medians; a ratio above 1 means that MiniVault is better, also for times and memory.", report.machine, report.date)
}

fn table(rows: &[&Row]) -> String {
    let mut table = "| what | unit | MiniVault | peer | theirs | ratio | goal | |\n|---|---|---:|---|---:|---:|---:|---|\n".to_owned();
    for row in rows {
        let Summary { what, unit, ours, peer, theirs, ratio, goal } = &row.summary;
        let number = |value: &Option<f64>| value.map_or("–".to_owned(), |value| value.to_string());
        let ratio = ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        let ratio = if reaches(&row.summary) == Some(true) { format!("**{ratio}**") } else { ratio };
        let note = row.note.as_deref().unwrap_or_default().replace('|', "\\|");
        let goal = goal.map_or(String::new(), |goal| goal.to_string());
        let _ = writeln!(table, "| {what} | {unit} | {} | {peer} | {} | {ratio} | {goal} | {note} |", number(ours), number(theirs));
    }
    table
}

fn reaches(row: &Summary) -> Option<bool> {
    Some(row.ratio? >= row.goal?)
}

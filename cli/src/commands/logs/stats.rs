//! `minivault logs stats`: the log in numbers.

use minivault_journal::reading::StatsRow;

use super::source::Source;
use crate::arguments::logs::Stats;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{fitted, with_bars};

const HEADINGS: [&str; 9] = ["", "REQUESTS", "FAILED", "LEFT", "READ", "WRITTEN", "TOKENS/S", "FIRST TOKEN", "95 OF 100"];

/// The columns by their places, those first that a narrow terminal loses last.
const BY_IMPORTANCE: [usize; HEADINGS.len()] = [0, 1, 6, 7, 5, 4, 2, 3, 8];

/// Counts, by model and by day.
pub async fn run(source: &Source<'_>, arguments: &Stats, output: &mut Output) -> Result<(), Failure> {
    let stats = source.stats(&arguments.wanted).await?;
    if arguments.json {
        let json = serde_json::to_string(&stats).map_err(|error| Failure::Failed(error.to_string()))?;
        return output.line(&json);
    }
    if stats.rows.is_empty() {
        return output.line("no interactions");
    }
    let by_model = table("MODEL", &stats.by_model(), output.width(), |row| row.model.clone());
    let by_day = table("DAY (UTC)", &stats.by_day(), output.width(), |row| row.day.clone());
    by_model.iter().chain([&String::new()]).chain(&by_day).try_for_each(|line| output.line(line))
}

fn table(heading: &str, rows: &[StatsRow], width: Option<usize>, name: impl Fn(&StatsRow) -> String) -> Vec<String> {
    let most = rows.iter().map(|row| row.requests).max().unwrap_or(0);
    let mut cells = vec![HEADINGS.map(str::to_owned).to_vec()];
    cells[0][0] = heading.to_owned();
    cells.extend(rows.iter().map(|row| {
        vec![
            name(row),
            row.requests.to_string(),
            row.errors.to_string(),
            row.cancelled.to_string(),
            row.prompt_tokens.to_string(),
            row.completion_tokens.to_string(),
            format!("{:.1}", row.tokens_per_second),
            format!("{:.0} ms", row.ttft_ms),
            format!("{:.0} ms", row.ttft_ms_95),
        ]
    }));
    with_bars(&fitted(&cells, &BY_IMPORTANCE, width), rows.iter().map(|row| row.requests as f64), most as f64, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_there_were_requests() {
        let row = |model: &str, requests| StatsRow { model: model.into(), requests, tokens_per_second: 12.34, ..StatsRow::default() };
        let lines = table("MODEL", &[row("a", 24), row("bigger", 6)], None, |row| row.model.clone());
        assert_eq!(lines[0], "MODEL   REQUESTS  FAILED  LEFT  READ  WRITTEN  TOKENS/S  FIRST TOKEN  95 OF 100");
        assert!(lines[1].starts_with("a             24       0") && lines[1].ends_with(&format!("  {}", "█".repeat(24))), "{}", lines[1]);
        assert!(lines[2].starts_with("bigger         6") && lines[2].ends_with(&format!("0 ms  {}", "█".repeat(6))), "{}", lines[2]);
    }
}

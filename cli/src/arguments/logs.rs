//! What can be typed after `minivault logs` and `minivault replay`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};

pub const LOGS_EXAMPLES: &str = "\
Examples:
  minivault logs --since 2h --grep 'Once upon'
  minivault logs --follow --model smollm2
  minivault logs --json --limit 1000 | jq -r .response
  minivault logs show last
  minivault logs show 6
  minivault logs show 0199c1f2-5a3e-7000-8000-3f1d9b6c2a11
  minivault logs stats --since 7d
  minivault logs verify --dir logs

Newest first; with --follow oldest first. --dir reads the files themselves, also when no daemon runs.";

pub const REPLAY_EXAMPLES: &str = "\
Examples:
  minivault replay last
  minivault replay 0199c1f2-5a3e-7000-8000-3f1d9b6c2a11 --engine smollm2
  minivault replay --all --since 1d --model distilgpt2

Exits 0 if nothing differs, 4 if something does. Each replay is logged; --all and `last` leave out what is one itself.";

/// Interactions that are listed where no number is named.
const LIMIT: usize = 20;

/// `minivault logs`
#[derive(Debug, Args)]
pub struct Logs {
    #[command(subcommand)]
    pub command: Option<LogsCommand>,
    #[command(flatten)]
    pub list: List,
}

/// `minivault logs …`
#[derive(Debug, Subcommand)]
pub enum LogsCommand {
    /// Tell all of one interaction
    Show(Show),
    /// Count requests, tokens and times by model and day
    Stats(Stats),
    /// Look whether every line is there as it was written; exits 4 and names the first that isn't
    Verify(Verify),
}

/// `minivault logs` itself
#[derive(Debug, Args)]
pub struct List {
    /// The most interactions to show
    #[arg(short = 'n', long, value_name = "N", default_value_t = LIMIT)]
    pub limit: usize,
    /// Go on with what is logged from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Print the lines as they stand in the log
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub wanted: Wanted,
}

impl List {
    /// Whether nothing but the place is said, all that may stand before a subcommand.
    pub fn names_only_a_place(&self) -> bool {
        self.limit == LIMIT && !self.follow && !self.json && self.wanted == Wanted::default()
    }
}

/// `minivault logs show`
#[derive(Debug, Args)]
pub struct Show {
    /// The interaction's name, its number (`#6` or `6`), or `last` for the newest
    pub id: String,
    /// Print the line as it stands in the log
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: Place,
}

/// `minivault logs stats`
#[derive(Debug, Args)]
pub struct Stats {
    /// Print JSON on one line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub wanted: Wanted,
}

/// `minivault logs verify`
#[derive(Debug, Args)]
pub struct Verify {
    /// Print JSON on one line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: Place,
}

/// `minivault replay`
#[derive(Debug, Args)]
pub struct Replay {
    /// The interaction's name, its number (`#6` or `6`), or `last` for the newest that is wanted
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub id: Option<String>,
    /// Ask this engine and not the one that answered
    #[arg(long, value_name = "NAME")]
    pub engine: Option<String>,
    /// Run all again that are wanted
    #[arg(long)]
    pub all: bool,
    /// Print JSON, one line for each replay
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub wanted: Wanted,
}

/// Which interactions. Where it is flattened, last: its heading goes for all that follows.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "Which interactions")]
pub struct Wanted {
    /// With this text in the prompt or the answer
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub grep: Option<String>,
    /// --grep is a regular expression
    #[arg(short = 'E', long, requires = "grep")]
    pub regex: bool,
    /// That arrived since then: 90s, 15m, 2h, 3d, 1w, or a time as 2026-11-25T10:15:00Z
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub since: Option<Timestamp>,
    /// That arrived before then
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub until: Option<Timestamp>,
    /// That this engine answered
    #[arg(short, long, value_name = "NAME")]
    pub model: Option<String>,
    /// Of this HTTP status
    #[arg(long, value_name = "STATUS")]
    pub status: Option<u16>,
}

/// Where the log is read.
#[derive(Debug, Args)]
pub struct Place {
    /// Read the files themselves: a folder that log.jsonl is in, or such a file; no daemon is asked
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
}

/// A moment: so long ago, or a time.
fn moment(text: &str) -> Result<Timestamp, String> {
    let wrong = || "it must be as 90s, 15m, 2h, 3d or 1w, or a time as 2026-11-25T10:15:00Z".to_owned();
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(wrong()),
    };
    let count: i64 = text[..text.len() - unit.len_utf8()].trim().parse().map_err(|_| wrong())?;
    let ago = count.checked_mul(seconds).filter(|ago| *ago >= 0).ok_or_else(wrong)?;
    Timestamp::now().checked_sub(SignedDuration::from_secs(ago)).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_so_long_ago_or_a_time() {
        let ago = |text: &str| (Timestamp::now() - moment(text).unwrap()).as_secs();
        for (text, seconds) in [("90s", 90), ("15m", 900), ("2h", 7200), ("3d", 259_200), ("1w", 604_800)] {
            assert!((ago(text) - seconds).abs() <= 1, "{text}");
        }
        assert_eq!(moment("2026-11-25T10:15:00Z").unwrap().to_string(), "2026-11-25T10:15:00Z");
        for wrong in ["", "h", "2", "-2h", "2y", "yesterday", "99999999999999999w", "é"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}

//! `minivaultd doctor`: whether this machine and this configuration make a daemon, each line with what to do where they don't.
//!
//! - [`machine`]: processor, memory, disk, ports
//! - [`checksums`]: whether the model's files are what they were
//! - [`others`]: engines that aren't tried
//! - [`trial`]: the default engine, loaded and asked, beside what this machine's memory can do

mod checksums;
mod machine;
mod others;
mod trial;

use std::fmt;

use crate::config::{ConfigError, Loaded};
use crate::engine_process;

/// How much of the way a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grade {
    Good,
    /// It works, and could be better.
    Poor,
    /// It doesn't work.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug)]
struct Finding {
    grade: Grade,
    subject: &'static str,
    seen: String,
    /// What to do about it.
    advice: Option<String>,
}

impl Finding {
    fn good(subject: &'static str, seen: impl Into<String>) -> Self {
        Self { grade: Grade::Good, subject, seen: seen.into(), advice: None }
    }

    fn poor(subject: &'static str, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { grade: Grade::Poor, advice: Some(advice.into()), ..Self::good(subject, seen) }
    }

    fn bad(subject: &'static str, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { grade: Grade::Bad, ..Self::poor(subject, seen, advice) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.grade {
            Grade::Good => "ok  ",
            Grade::Poor => "warn",
            Grade::Bad => "FAIL",
        };
        // What is seen may have lines of its own.
        let seen = self.seen.replace('\n', "\n                     ");
        write!(formatter, "{mark}  {:<13}  {seen}", self.subject)?;
        match &self.advice {
            Some(advice) => write!(formatter, "\n                     → {}", advice.replace('\n', "\n                       ")),
            None => Ok(()),
        }
    }
}

/// Looks at everything, and says what it saw as it goes.
///
/// # Errors
/// Something doesn't work; it has been said.
pub async fn run(loaded: Result<Loaded, ConfigError>) -> anyhow::Result<()> {
    let mut bad = 0;
    let mut tell = |finding: Finding| {
        bad += usize::from(finding.grade == Grade::Bad);
        println!("{finding}");
    };
    tell(machine::processor());
    tell(machine::memory());
    match loaded {
        Err(error) => {
            tell(Finding::bad("configuration", error.to_string(), "mend what is named; `minivaultd init` writes a file with every key"))
        }
        Ok(Loaded { settings, .. }) => {
            let names: Vec<&str> = settings.engines.keys().map(String::as_str).collect();
            tell(Finding::good("configuration", format!("{} engines: {}", names.len(), names.join(", "))));
            machine::log(&settings.log).into_iter().for_each(&mut tell);
            settings.server.listen.iter().map(machine::port).for_each(&mut tell);
            let others = settings.engines.iter().filter(|(name, _)| **name != settings.engine);
            others.filter_map(|(name, engine)| others::finding(name, engine)).for_each(&mut tell);
            let filter = settings.diagnostics.effective_filter();
            trial::run(&settings.engine, engine_process::apart(settings.engines, &filter)?, &mut tell).await;
        }
    }
    match bad {
        0 => Ok(()),
        1 => anyhow::bail!("one thing doesn't work"),
        several => anyhow::bail!("{several} things don't work"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_with_what_to_do() {
        assert_eq!(Finding::good("memory", "2 GiB").to_string(), "ok    memory         2 GiB");
        let finding = Finding::bad("port", "127.0.0.1:80 is taken\nby somebody", "choose another one");
        let lines =
            ["FAIL  port           127.0.0.1:80 is taken", "                     by somebody", "                     → choose another one"];
        assert_eq!(finding.to_string(), lines.join("\n"));
    }
}

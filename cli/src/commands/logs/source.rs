//! Where the log is read: asked of the daemon, or from its files.

use std::path::{Path, PathBuf};

use minivault_journal::reading::{Filter, LogReader, PageLimits, Place, Stats, TextPattern, Verification};

use crate::arguments::logs::Wanted;
use crate::client::Client;
use crate::failure::Failure;

/// The log's name in a folder.
const LOG: &str = "log.jsonl";
/// Lines that are asked for at a time, at most.
pub const PAGE: usize = 500;
/// The newest interaction, wherever one's name is taken.
pub const LAST: &str = "last";
/// Lines that are looked through at a time for the newest one: nearly always the first is it.
const FEW: usize = 10;

/// Where the log is read.
pub enum Source<'a> {
    Daemon(&'a Client),
    Files(LogReader),
}

/// Some lines, the newest first.
pub struct Lines {
    pub lines: Vec<String>,
    /// Where the next ones are.
    pub next: Option<Place>,
}

/// Which part of the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Part {
    pub before: Option<Place>,
    pub after: Option<u64>,
}

impl<'a> Source<'a> {
    /// The daemon, or what `--dir` names.
    pub fn new(client: &'a Client, dir: Option<PathBuf>) -> Result<Self, Failure> {
        let Some(dir) = dir else { return Ok(Self::Daemon(client)) };
        let path = if dir.is_dir() { dir.join(LOG) } else { dir };
        // Its segments may be there without it.
        if !path.exists() && !path.parent().is_some_and(Path::is_dir) {
            return Err(Failure::Usage(format!("{} isn't there", path.display())));
        }
        Ok(Self::Files(LogReader::new(path)))
    }

    /// The newest lines of a part.
    pub async fn page(&self, wanted: &Wanted, part: Part, limit: usize) -> Result<Lines, Failure> {
        match self {
            Self::Daemon(client) => {
                let mut query = query(wanted, part);
                query.push(("limit", limit.to_string()));
                let (text, next) = client.interactions(&query).await?;
                Ok(Lines { lines: text.lines().map(str::to_owned).collect(), next })
            }
            Self::Files(log) => {
                let page = log.page(&filter(wanted, part)?, PageLimits { lines: limit, ..PageLimits::default() }).map_err(unreadable)?;
                let lines = page.lines.into_iter().map(|line| String::from_utf8_lossy(&line).into_owned()).collect();
                Ok(Lines { lines, next: page.next })
            }
        }
    }

    /// The newest line that is wanted and counts.
    pub async fn newest(&self, wanted: &Wanted, counts: impl Fn(&str) -> bool) -> Result<String, Failure> {
        let mut part = Part::default();
        loop {
            let Lines { lines, next } = self.page(wanted, part, FEW).await?;
            if let Some(line) = lines.into_iter().find(|line| counts(line)) {
                return Ok(line);
            }
            part.before = Some(next.ok_or_else(|| Failure::Failed("there is no such interaction in the log, so none is the last".into()))?);
        }
    }

    /// The line of an interaction.
    pub async fn find(&self, id: &str) -> Result<String, Failure> {
        if id == LAST {
            return self.newest(&Wanted::default(), |_| true).await;
        }
        if let Some(line) = self.numbered(id).await? {
            return Ok(line);
        }
        match self {
            Self::Daemon(client) => client.interaction(id).await,
            Self::Files(log) => {
                let line = log.find(id, || true).map_err(unreadable)?;
                let line = line.ok_or_else(|| Failure::Failed(format!("there is no interaction `{id}` in the log")))?;
                Ok(String::from_utf8_lossy(&line).into_owned())
            }
        }
    }

    /// The line of an interaction that is named by its number, as the list shows it; `None` where that is no number, or there is none.
    pub async fn numbered(&self, name: &str) -> Result<Option<String>, Failure> {
        let Ok(number) = name.strip_prefix('#').unwrap_or(name).parse::<u64>() else { return Ok(None) };
        let Some(behind) = number.checked_add(1).and_then(|behind| Place::try_from(behind).ok()) else { return Ok(None) };
        let part = Part { before: Some(behind), after: number.checked_sub(1) };
        Ok(self.page(&Wanted::default(), part, 1).await?.lines.into_iter().next())
    }

    /// The log in numbers, all of it.
    pub async fn stats(&self, wanted: &Wanted) -> Result<Stats, Failure> {
        let mut all = Stats::default();
        let mut part = Part::default();
        loop {
            all.add(match self {
                Self::Daemon(client) => client.stats(&query(wanted, part)).await?,
                Self::Files(log) => log.stats(&filter(wanted, part)?, || true).map_err(unreadable)?,
            });
            match all.next {
                Some(next) => part.before = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// Whether the log is whole.
    pub async fn verify(&self) -> Result<Verification, Failure> {
        match self {
            Self::Daemon(client) => client.verify().await,
            Self::Files(log) => log.verify(|| true).map_err(unreadable),
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // As `map_err` hands it over.
fn unreadable(error: std::io::Error) -> Failure {
    Failure::Failed(format!("the log can't be read: {error}"))
}

fn filter(wanted: &Wanted, part: Part) -> Result<Filter, Failure> {
    let text = match &wanted.grep {
        Some(text) if wanted.regex => Some(TextPattern::expression(text).map_err(|error| Failure::Usage(error.to_string()))?),
        text => text.as_deref().map(TextPattern::literal),
    };
    Ok(Filter {
        text,
        since: wanted.since,
        until: wanted.until,
        model: wanted.model.clone(),
        status: wanted.status,
        finish_reason: None,
        before: part.before,
        after: part.after,
    })
}

fn query(wanted: &Wanted, part: Part) -> Vec<(&'static str, String)> {
    let Wanted { grep, regex, since, until, model, status } = wanted;
    let mut query = Vec::new();
    let mut put = |name: &'static str, value: Option<String>| query.extend(value.map(|value| (name, value)));
    put("grep", grep.clone());
    put("regex", regex.then(|| "true".to_owned()));
    put("since", since.map(|since| since.to_string()));
    put("until", until.map(|until| until.to_string()));
    put("model", model.clone());
    put("status", status.map(|status| status.to_string()));
    put("before", part.before.map(|before| before.to_string()));
    put("after", part.after.map(|after| after.to_string()));
    query
}

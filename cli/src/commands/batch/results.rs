//! The file with the results: a line for each request. What is in it is done; whoever is stopped goes on with the rest. Lines are only ever
//! appended; those that end up behind later ones, because an earlier run left their requests open, are put in order at the end.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use serde_json::{Map, Value, json};

use super::requests::Request;
use crate::failure::Failure;

/// Where results go.
pub struct Results {
    target: Target,
    name: String,
    /// Where each result is in the file: its request's line, then offset and length in bytes.
    places: Vec<(usize, u64, u64)>,
    /// The requests, by their lines, that have a result.
    answered: HashSet<usize>,
    refused: usize,
    other_flags: OtherFlags,
}

enum Target {
    File(File),
    Stdout,
}

/// Results that were asked for with other flags than those of this run.
#[derive(Default)]
struct OtherFlags {
    count: usize,
    /// How those of the first differ.
    first: String,
}

impl Results {
    /// Opens a file, in which there may be results already; `-` is stdout. A last line that was broken off is taken away.
    ///
    /// # Errors
    /// It can't be opened, somebody else writes it, or it holds results of other requests.
    pub fn open(name: &str, requests: &[Request]) -> Result<Self, Failure> {
        let results = |target, name: &str| Self {
            target,
            name: name.to_owned(),
            places: Vec::new(),
            answered: HashSet::new(),
            refused: 0,
            other_flags: OtherFlags::default(),
        };
        if name == "-" {
            return Ok(results(Target::Stdout, "stdout"));
        }
        let failed = |error: io::Error| Failure::Failed(format!("{name} cannot be written: {error}"));
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(name).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Failure::Usage(format!("{name} is written by another batch at this moment"))),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut this = results(Target::File(file.try_clone().map_err(failed)?), name);
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).map_err(failed)? > 0 && line.ends_with(b"\n") {
            if !this.know(&line, requests) {
                let reason = "holds something else than a result of each of these requests";
                return Err(Failure::Usage(format!("{name} {reason} (line {}); name another file", this.places.len() + 1)));
            }
            line.clear();
        }
        file.set_len(this.end()).and_then(|()| file.seek(SeekFrom::End(0))).map_err(failed)?;
        Ok(this)
    }

    /// Takes in a line that was there; `false` if it is no result of these requests.
    fn know(&mut self, line: &[u8], requests: &[Request]) -> bool {
        let Ok(result) = serde_json::from_slice::<Value>(line) else { return false };
        let number = result["line"].as_u64().and_then(|number| usize::try_from(number).ok());
        let place = number.and_then(|number| requests.binary_search_by_key(&number, |request| request.line).ok());
        let Some(request) = place.map(|place| &requests[place]).filter(|request| result["request"] == request.written) else {
            return false;
        };
        if self.has(request) {
            return false;
        }
        self.refused += usize::from(result.get("error").is_some());
        let none = Map::new();
        let then = result.get("flags").and_then(Value::as_object).unwrap_or(&none);
        if *then != request.flags {
            self.other_flags.count += 1;
            if self.other_flags.count == 1 {
                self.other_flags.first = changes(then, &request.flags);
            }
        }
        self.remember(request, line.len());
        true
    }

    /// Whether a request has its result.
    pub fn has(&self, request: &Request) -> bool {
        self.answered.contains(&request.line)
    }

    /// Requests that have their results.
    pub fn answered(&self) -> usize {
        self.answered.len()
    }

    /// Results that were there when it was opened and say why a request was refused.
    pub fn refused(&self) -> usize {
        self.refused
    }

    /// What is to be said of results that were there and were asked for with other flags.
    pub fn of_other_flags(&self) -> Option<String> {
        let OtherFlags { count, first } = &self.other_flags;
        let results = if *count == 1 { "1 result".to_owned() } else { format!("{count} results") };
        (*count > 0).then(|| format!("{results} in {} were asked for with other flags ({first})", self.name))
    }

    /// Writes what came of a request.
    ///
    /// # Errors
    /// It can't be written.
    pub fn add(&mut self, request: &Request, kind: &str, outcome: &Value) -> Result<(), Failure> {
        let mut result = json!({"line": request.line, "request": request.written});
        if !request.flags.is_empty() {
            result["flags"] = request.flags.clone().into();
        }
        result[kind] = outcome.clone();
        let line = format!("{result}\n");
        let written = match &mut self.target {
            Target::File(file) => file.write_all(line.as_bytes()),
            Target::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush())
            }
        };
        written.map_err(|error| self.failed(&error))?;
        self.remember(request, line.len());
        Ok(())
    }

    /// Waits until the disk has them, and puts them in order.
    ///
    /// # Errors
    /// It hasn't, or they can't be.
    pub fn finish(&mut self) -> Result<(), Failure> {
        let Target::File(file) = &self.target else { return Ok(()) };
        file.sync_all().map_err(|error| self.failed(&error))?;
        if self.places.is_sorted() {
            return Ok(());
        }
        self.places.sort_unstable();
        let sorted = in_order(&self.name, &self.places);
        sorted.map_err(|error| Failure::Failed(format!("{} holds all results, but can't be put in order: {error}", self.name)))
    }

    fn remember(&mut self, request: &Request, length: usize) {
        self.places.push((request.line, self.end(), length as u64));
        self.answered.insert(request.line);
    }

    /// Bytes of the file.
    fn end(&self) -> u64 {
        self.places.last().map_or(0, |(_, offset, length)| offset + length)
    }

    fn failed(&self, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ReaderGone,
            _ => Failure::Failed(format!("{} cannot be written: {error}", self.name)),
        }
    }
}

/// Which flags differ, with both values.
fn changes(then: &Map<String, Value>, now: &Map<String, Value>) -> String {
    let mut names: Vec<&String> = then.keys().chain(now.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let change = |name: &String| match (then.get(name), now.get(name)) {
        (Some(then), Some(now)) if then != now => Some(format!("{name} {then}, now {now}")),
        (Some(then), None) => Some(format!("{name} {then}, now none")),
        (None, Some(now)) => Some(format!("no {name}, now {now}")),
        _ => None,
    };
    names.into_iter().filter_map(change).collect::<Vec<_>>().join("; ")
}

/// Writes a file anew with its lines at these places, and puts it there in one step: killed at any moment, one or the other is whole.
fn in_order(name: &str, places: &[(usize, u64, u64)]) -> io::Result<()> {
    // What a symbolic link leads to is replaced, not the link.
    let path = fs::canonicalize(name)?;
    let mut partial = path.clone().into_os_string();
    partial.push(".partial");
    let written = || {
        let mut from = File::open(&path)?;
        let mut to = BufWriter::new(File::create(&partial)?);
        for (_, offset, length) in places {
            from.seek(SeekFrom::Start(*offset))?;
            io::copy(&mut (&mut from).take(*length), &mut to)?;
        }
        let to = to.into_inner()?;
        to.set_permissions(from.metadata()?.permissions())?;
        to.sync_all()?;
        fs::rename(&partial, &path)
    };
    written().inspect_err(|_| drop(fs::remove_file(&partial)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_flags_are_told_by_name_and_value() {
        let flags = |value: Value| value.as_object().cloned().unwrap_or_default();
        let then = flags(json!({"seed": 7, "model": "a", "top_p": 0.95}));
        let now = flags(json!({"seed": 8, "top_p": 0.95, "stop": "x"}));
        assert_eq!(changes(&then, &now), "model \"a\", now none; seed 7, now 8; no stop, now \"x\"");
    }
}

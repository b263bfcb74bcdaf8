//! The file with the results: a line for each request, in their order. What is in it is done; whoever is stopped goes on behind it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};

use serde_json::Value;

use super::requests::Request;
use crate::failure::Failure;

/// Where results go.
pub struct Results {
    target: Box<dyn Target>,
    name: String,
    answered: usize,
    refused: usize,
}

trait Target: Write + Send {
    fn keep(&self) -> io::Result<()>;
}

impl Target for File {
    fn keep(&self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Target for io::Stdout {
    fn keep(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Results {
    /// Opens a file, in which there may be results already; `-` is stdout. A last line that was broken off is taken away.
    ///
    /// # Errors
    /// It can't be opened, somebody else writes it, or it holds results of other requests.
    pub fn open(name: &str, requests: &[Request]) -> Result<Self, Failure> {
        if name == "-" {
            return Ok(Self { target: Box::new(io::stdout()), name: "stdout".into(), answered: 0, refused: 0 });
        }
        let failed = |error: io::Error| Failure::Failed(format!("{name} cannot be written: {error}"));
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(name).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Failure::Usage(format!("{name} is written by another batch at this moment"))),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let (mut whole, mut answered, mut refused) = (0, 0, 0);
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).map_err(failed)? > 0 && line.ends_with(b"\n") {
            let result: Option<Value> = serde_json::from_slice(&line).ok();
            let belongs = |result: &Value| {
                requests.get(answered).is_some_and(|request| result["line"] == request.line && result["request"] == request.written)
            };
            let Some(result) = result.filter(belongs) else {
                let reason = "holds something else than the results of these requests, in this order";
                return Err(Failure::Usage(format!("{name} {reason} (line {}); name another file", answered + 1)));
            };
            refused += usize::from(result.get("error").is_some());
            answered += 1;
            whole += line.len() as u64;
            line.clear();
        }
        file.set_len(whole).and_then(|()| file.seek(SeekFrom::End(0))).map_err(failed)?;
        Ok(Self { target: Box::new(file), name: name.to_owned(), answered, refused })
    }

    /// Results that were there when it was opened.
    pub fn answered(&self) -> usize {
        self.answered
    }

    /// Those of them that say why a request was refused.
    pub fn refused(&self) -> usize {
        self.refused
    }

    /// Writes a line.
    ///
    /// # Errors
    /// It can't be written.
    pub fn add(&mut self, result: &Value) -> Result<(), Failure> {
        let line = format!("{result}\n");
        let written = self.target.write_all(line.as_bytes()).and_then(|()| self.target.flush());
        written.map_err(|error| self.failed(&error))
    }

    /// Waits until the disk has them.
    ///
    /// # Errors
    /// It hasn't.
    pub fn finish(&self) -> Result<(), Failure> {
        self.target.keep().map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ReaderGone,
            _ => Failure::Failed(format!("{} cannot be written: {error}", self.name)),
        }
    }
}

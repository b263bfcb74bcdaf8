//! One file over HTTP: resumed after each break, checked when it is whole.

use std::path::Path;

use reqwest::{StatusCode, Url};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter, SeekFrom};

use super::attempts::{Attempt, Miss};
use super::checksum;
use super::http::{Client, Problem, broken, content_range};
use super::location::Repository;
use super::progress::{Progress, Transfer};

/// A try that brought this much counts as progress, and the count of tries begins anew.
const WORTHWHILE: u64 = 1 << 20;

/// What is to be fetched.
#[derive(Debug)]
pub(super) struct Download<'a> {
    pub url: &'a Url,
    pub repository: &'a Repository,
    /// For people to read.
    pub name: &'a str,
    /// Where the bytes gather until they are complete; what an earlier run left there is continued.
    pub part: &'a Path,
    pub size: Option<u64>,
    pub sha256: Option<&'a str>,
}

impl Download<'_> {
    /// Fetches what is missing. Afterwards `part` is complete, checked and safe on the disk.
    pub(super) async fn run(&self, client: &Client, progress: &dyn Progress) -> Attempt<()> {
        // What an earlier run left may be damaged; a wrong sum then only says that all of it must come anew, once.
        let mut inherited = self.present().await? > 0;
        loop {
            self.complete(client, progress).await?;
            let Some(expected) = self.sha256 else { return Ok(()) };
            let actual = checksum::sha256(self.part).await?;
            if actual == expected {
                return Ok(());
            }
            tokio::fs::remove_file(self.part).await.map_err(|error| Miss::disk("remove", self.part, error))?;
            if !inherited {
                return Err(Miss::new(format!(
                    "{} came with the SHA-256 {actual}, but {expected} is expected; it was thrown away",
                    self.name
                ))
                .advise("try again, and check HF_ENDPOINT or the proxy in between if it stays wrong"));
            }
            progress.note(&format!("what an earlier run left of {} was damaged; fetching all of it again", self.name));
            inherited = false;
        }
    }

    async fn complete(&self, client: &Client, progress: &dyn Progress) -> Attempt<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.part)
            .await
            .map_err(|error| Miss::disk("write", self.part, error))?;
        let mut transfer = progress.begin(self.name, self.size);
        let mut retries = client.retries();
        retries.progressed(); // the metadata has just come from there
        loop {
            let before = self.present().await?;
            match self.transfer(client, &mut file, before, transfer.as_mut()).await {
                Ok(()) => break,
                Err(problem) => {
                    if self.present().await? >= before + WORTHWHILE {
                        retries.progressed();
                    }
                    retries.wait_after(problem).await?;
                }
            }
        }
        file.sync_all().await.map_err(|error| Miss::disk("write", self.part, error))?;
        transfer.finished();
        Ok(())
    }

    /// One request, for the bytes from `start` on. Whatever comes is kept, also when the connection breaks.
    async fn transfer(&self, client: &Client, file: &mut File, start: u64, transfer: &mut dyn Transfer) -> Result<(), Problem> {
        let mut position = start;
        if self.size.is_some_and(|size| start > size) {
            position = self.restart(file).await?;
        }
        if self.size == Some(position) {
            return Ok(());
        }
        let mut response = client.bytes(self.url, position, self.repository).await?;
        let mut size = self.size;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => match content_range(&response) {
                Some((first, total)) if first == position && (total.is_none() || size.is_none() || total == size) => size = size.or(total),
                _ => {
                    self.restart(file).await?;
                    return Err(Problem::transient("the server sent another part of the file than was asked for"));
                }
            },
            // The server knows no ranges, or all of it was asked for.
            StatusCode::OK => position = self.restart(file).await?,
            _ => {
                self.restart(file).await?;
                return Err(Problem::transient("the server has no bytes beyond those that are here"));
            }
        }
        file.seek(SeekFrom::Start(position)).await.map_err(|error| self.write_error(&error))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        transfer.reached(position);
        let outcome = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    position += chunk.len() as u64;
                    if size.is_some_and(|size| position > size) {
                        break Err(Problem::Final(self.too_long(size.unwrap_or_default())));
                    }
                    if let Err(error) = out.write_all(&chunk).await {
                        break Err(self.write_error(&error));
                    }
                    transfer.reached(position);
                }
                Ok(None) => match size {
                    Some(size) if position < size => {
                        break Err(Problem::transient(format!("the server ended {} after {position} of {size} bytes", self.name)));
                    }
                    _ => break Ok(()),
                },
                Err(error) => break Err(broken(error, self.url)),
            }
        };
        out.flush().await.map_err(|error| self.write_error(&error))?;
        if size.is_some_and(|size| position > size) {
            self.restart(out.into_inner()).await?;
        }
        outcome
    }

    async fn restart(&self, file: &mut File) -> Result<u64, Problem> {
        file.set_len(0).await.map_err(|error| self.write_error(&error))?;
        Ok(0)
    }

    /// Bytes here already.
    async fn present(&self) -> Attempt<u64> {
        match tokio::fs::metadata(self.part).await {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(Miss::disk("read", self.part, error)),
        }
    }

    fn too_long(&self, size: u64) -> Miss {
        Miss::new(format!("the server sent more of {} than its {size} bytes", self.name))
            .advise("check HF_ENDPOINT or the proxy in between")
    }

    fn write_error(&self, error: &std::io::Error) -> Problem {
        let miss = Miss::disk("write", self.part, error);
        Problem::Final(if error.kind() == std::io::ErrorKind::StorageFull {
            miss.advise("make room on that disk, or set HF_HOME to one that has more")
        } else {
            miss
        })
    }
}

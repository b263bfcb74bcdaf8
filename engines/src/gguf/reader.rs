//! Bytes in order; every length is checked against what is left before anything is allocated for it.

use std::fmt;
use std::io::{self, Read};

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The byte at which it was noticed.
    pub position: u64,
    /// What it is: the value seen and the limit.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (at byte {})", self.message, self.position)
    }
}

/// Bytes of a header that may be kept. A vocabulary of 260,000 tokens takes 4 MB; merges and scores are passed over.
const MAX_KEPT_BYTES: u64 = 8 << 20;

/// A source of known size.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    position: u64,
    size: u64,
    kept: u64,
}

impl<R: Read> Reader<R> {
    /// Reads `size` bytes of the source, no more.
    pub fn new(source: R, size: u64) -> Self {
        Self { source, position: 0, size, kept: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes still to read.
    pub fn remaining(&self) -> u64 {
        self.size - self.position
    }

    /// A fault at this place.
    pub fn fault(&self, message: impl Into<String>) -> Fault {
        Fault { position: self.position, message: message.into() }
    }

    /// Little-endian, as everything in GGUF.
    pub fn u16(&mut self, what: &str) -> Result<u16, Fault> {
        self.array(what).map(u16::from_le_bytes)
    }

    /// Little-endian, as everything in GGUF.
    pub fn u32(&mut self, what: &str) -> Result<u32, Fault> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// Little-endian, as everything in GGUF.
    pub fn u64(&mut self, what: &str) -> Result<u64, Fault> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Counts bytes that will be kept in memory.
    ///
    /// # Errors
    /// With these they are too many.
    pub fn keep(&mut self, bytes: u64, what: &str) -> Result<(), Fault> {
        self.kept = self.kept.saturating_add(bytes);
        if self.kept > MAX_KEPT_BYTES {
            return Err(
                self.fault(format!("the header up to {what} takes {} bytes of memory; at most {MAX_KEPT_BYTES} are allowed", self.kept))
            );
        }
        Ok(())
    }

    /// A fixed number of bytes.
    pub fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Fault> {
        self.require(N as u64, what)?;
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes).map_err(|error| self.broken(&error))?;
        self.position += N as u64;
        Ok(bytes)
    }

    /// A string: its length as a `u64`, then its bytes, appended to `bytes`. At most `limit` bytes.
    pub fn text_into(&mut self, bytes: &mut Vec<u8>, what: &str, limit: u64) -> Result<(), Fault> {
        let length = self.text_length(what, limit)?;
        self.keep(length, what)?;
        let before = bytes.len();
        if before == 0 {
            bytes.reserve_exact(length as usize);
        }
        self.source.by_ref().take(length).read_to_end(bytes).map_err(|error| self.broken(&error))?;
        if ((bytes.len() - before) as u64) < length {
            return Err(self.fault(format!("{what} ends early: the file shrank while it was read")));
        }
        self.position += length;
        Ok(())
    }

    /// A string of at most `limit` bytes.
    pub fn text(&mut self, what: &str, limit: u64) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        self.text_into(&mut bytes, what, limit)?;
        Ok(bytes)
    }

    /// Passes over a string of at most `limit` bytes.
    pub fn skip_text(&mut self, what: &str, limit: u64) -> Result<(), Fault> {
        let length = self.text_length(what, limit)?;
        self.skip(length, what)
    }

    /// Passes over bytes.
    pub fn skip(&mut self, bytes: u64, what: &str) -> Result<(), Fault> {
        self.require(bytes, what)?;
        let skipped = io::copy(&mut self.source.by_ref().take(bytes), &mut io::sink()).map_err(|error| self.broken(&error))?;
        if skipped < bytes {
            return Err(self.fault(format!("{what} ends early: the file shrank while it was read")));
        }
        self.position += bytes;
        Ok(())
    }

    fn text_length(&mut self, what: &str, limit: u64) -> Result<u64, Fault> {
        let length = self.u64(what)?;
        if length > limit {
            return Err(self.fault(format!("{what} has {length} bytes; at most {limit} are allowed")));
        }
        self.require(length, what)?;
        Ok(length)
    }

    fn require(&self, bytes: u64, what: &str) -> Result<(), Fault> {
        let remaining = self.remaining();
        if bytes > remaining {
            return Err(self.fault(format!("the file is cut short: {what} needs {bytes} bytes and {remaining} are left")));
        }
        Ok(())
    }

    fn broken(&self, error: &io::Error) -> Fault {
        self.fault(format!("reading failed: {error}"))
    }
}

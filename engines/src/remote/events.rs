//! Server-sent events off a response, with a limit to what one may hold.

use reqwest::Response;

use super::failure::Failure;

/// Bytes that one event may have: what is kept of a server that never ends its line.
const LONGEST_EVENT: usize = 4 << 20;

/// The events of a response, as they come. Dropped before the end it closes the connection, by which the server knows that nobody
/// listens any more.
pub(super) struct Events {
    response: Response,
    decoder: Decoder,
}

/// Bytes in, events out, wherever the bytes are cut.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    lines: Lines,
    data: String,
    name: String,
}

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Its name, mostly empty.
    pub name: String,
    /// Its data.
    pub data: String,
}

impl Events {
    pub fn new(response: Response) -> Self {
        Self { response, decoder: Decoder::default() }
    }

    /// The next event that has data; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(event) = self.decoder.next()? {
                return Ok(Some(event));
            }
            match self.response.chunk().await.map_err(Failure::connection)? {
                Some(bytes) => self.decoder.push(&bytes),
                None => return Ok(None),
            }
        }
    }

    /// Reads what little follows the last event, so that the connection can serve the next request.
    pub async fn drain(mut self) {
        while let Ok(Some(_)) = self.next().await {}
    }
}

impl Decoder {
    /// More of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.lines.push(bytes);
    }

    /// The next event that has data, as far as the bytes go.
    pub fn next(&mut self) -> Result<Option<Event>, Failure> {
        while let Some(line) = self.lines.next() {
            if let Some(event) = self.take(&line)? {
                return Ok(Some(event));
            }
        }
        if self.lines.waiting() > LONGEST_EVENT {
            return Err(Failure::nonsense(format!("a line of more than {LONGEST_EVENT} bytes")));
        }
        Ok(None)
    }

    fn take(&mut self, line: &[u8]) -> Result<Option<Event>, Failure> {
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(Failure::nonsense(String::from_utf8_lossy(line)));
        };
        if line.is_empty() {
            let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
            return Ok((!data.is_empty()).then_some(Event { name, data }));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                if self.data.len() > LONGEST_EVENT {
                    return Err(Failure::nonsense(format!("an event of more than {LONGEST_EVENT} bytes")));
                }
            }
            "event" => value.clone_into(&mut self.name),
            // Comments keep a connection alive; ids and times are for clients that come back.
            "" | "id" | "retry" => {}
            _ => return Err(Failure::nonsense(line)),
        }
        Ok(None)
    }
}

/// Bytes in, whole lines out, whatever ends them: `\n`, `\r\n` or `\r`.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    /// Where the line that comes next begins.
    begin: usize,
    /// Bytes that have been searched for its end.
    searched: usize,
    /// The last line ended with `\r`, so a `\n` right behind it is a part of its end.
    after_return: bool,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.begin);
        self.searched -= self.begin;
        self.begin = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes of a line whose end hasn't come.
    fn waiting(&self) -> usize {
        self.bytes.len() - self.begin
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.after_return && self.begin < self.bytes.len() {
            self.after_return = false;
            if self.bytes[self.begin] == b'\n' {
                self.begin += 1;
                self.searched = self.searched.max(self.begin);
            }
        }
        let end = self.bytes[self.searched..].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let Some(end) = end.map(|end| self.searched + end) else {
            self.searched = self.bytes.len();
            return None;
        };
        let line = self.bytes[self.begin..end].to_vec();
        self.after_return = self.bytes[end] == b'\r';
        (self.begin, self.searched) = (end + 1, end + 1);
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_three_ways_wherever_the_bytes_are_cut() {
        let text = "a\nb\r\nc\r\rd\r\n\ne\n";
        let expected = ["a", "b", "c", "", "d", "", "e"];
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut lines = Lines::default();
                let mut seen = Vec::new();
                for part in [&text[..first], &text[first..second], &text[second..]] {
                    lines.push(part.as_bytes());
                    seen.extend(std::iter::from_fn(|| lines.next()).map(|line| String::from_utf8_lossy(&line).into_owned()));
                }
                assert_eq!(seen, expected, "cut at {first} and {second}");
            }
        }
    }
}

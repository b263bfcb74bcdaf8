//! The end of a log's file, as a daemon finds it when it starts.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::chain::split;
use crate::position::LineHead;

/// How much of the file's end is read at a time in search of its last line.
const BLOCK: u64 = 64 * 1024;

/// The end of a file.
pub(crate) struct Tail {
    /// The last whole line, without its line break.
    pub last: Option<Vec<u8>>,
    /// Bytes of whole lines.
    pub length: u64,
    /// What stands behind them.
    pub torn: Vec<u8>,
}

impl Tail {
    /// Whether it can be the end of a log. A machine that lost power may leave zeros where a line was to stand.
    pub fn is_of_a_log(&self) -> bool {
        match &self.last {
            Some(line) => LineHead::of(line).is_some(),
            None => self.torn.first().is_none_or(|&byte| byte == b'{') || self.torn.iter().all(|&byte| byte == 0),
        }
    }

    /// Finds the last whole line and whatever stands behind it.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let size = file.seek(SeekFrom::End(0))?;
        let mut tail = Vec::new();
        let mut start = size;
        // Two line breaks, or the beginning, enclose the last whole line.
        while start > 0 && tail.iter().filter(|&&byte| byte == b'\n').count() < 2 {
            let block = start.min(BLOCK);
            start -= block;
            let mut earlier = vec![0; block as usize];
            file.seek(SeekFrom::Start(start))?;
            file.read_exact(&mut earlier)?;
            earlier.append(&mut tail);
            tail = earlier;
        }
        let whole = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let torn = tail.split_off(whole);
        tail.truncate(whole.saturating_sub(1));
        let line = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        Ok(Self { last: (whole > 0).then(|| tail.split_off(line)), length: start + whole as u64, torn })
    }

    /// Finds the last line of which something can be made, in a file whose last line is damaged; `None`: that is no log of ours, whose first line
    /// is chained.
    pub fn behind_sound_lines(path: &Path) -> io::Result<Option<Self>> {
        let mut lines = BufReader::new(File::open(path)?);
        let (mut sound, mut end, mut line) = (Self { last: None, length: 0, torn: Vec::new() }, 0, Vec::new());
        while lines.read_until(b'\n', &mut line)? > 0 {
            end += line.len() as u64;
            let whole = line.strip_suffix(b"\n").unwrap_or(&line);
            if sound.last.is_none() && split(whole).1.is_none() {
                return Ok(None);
            }
            if whole.len() < line.len() && LineHead::of(whole).is_some() {
                (sound.length, sound.last) = (end, Some(whole.to_vec()));
                sound.torn.clear();
            } else {
                sound.torn.extend_from_slice(&line);
            }
            line.clear();
        }
        Ok(Some(sound))
    }
}

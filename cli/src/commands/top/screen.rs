//! A terminal that is drawn in place and given back as it was. A table and a curve are all there is to draw, so the few sequences that every
//! terminal knows do without a library for widgets.

use std::env;
use std::io::{self, IsTerminal, Read, Write};
use std::thread;

use tokio::sync::mpsc::{Receiver, channel};

use crate::failure::Failure;
use crate::output::{printable, terminal_size};

/// The other screen, without a cursor; then the first one again.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Columns and lines of a terminal that doesn't know its own.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// Whether there is a terminal that can be drawn on and typed at.
pub fn can_draw() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The terminal while it is drawn on.
pub struct Screen {
    keys: Receiver<u8>,
    _mode: mode::Unbuffered,
}

impl Screen {
    /// Takes the terminal until dropped.
    pub fn open() -> Result<Self, Failure> {
        let mode = mode::Unbuffered::set().map_err(|error| Failure::Failed(format!("the terminal cannot be used: {error}")))?;
        write(ENTER)?;
        let (sender, keys) = channel(16);
        // A read of stdin can't be given up; the thread ends with the process.
        thread::spawn(move || {
            let mut byte = [0];
            while let Ok(1) = io::stdin().read(&mut byte) {
                if sender.blocking_send(byte[0]).is_err() {
                    break;
                }
            }
        });
        Ok(Self { keys, _mode: mode })
    }

    /// The next key that is typed; `None` at the end of input.
    pub async fn key(&mut self) -> Option<u8> {
        self.keys.recv().await
    }

    /// Shows these lines, as much of them as there is room for, and nothing else.
    pub fn draw(&mut self, lines: &[String]) -> Result<(), Failure> {
        let (width, height) = terminal_size().unwrap_or(USUAL_SIZE);
        write(&frame(lines, width, height))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write(LEAVE);
    }
}

/// Drawn over what was there, so that nothing flickers.
fn frame(lines: &[String], width: usize, height: usize) -> String {
    let shown = lines.iter().take(height).map(|line| {
        let line: String = printable(line).chars().take(width).collect();
        format!("{line}\x1b[K")
    });
    format!("\x1b[H{}\x1b[J", shown.collect::<Vec<_>>().join("\r\n"))
}

fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| Failure::writing(&error))
}

#[cfg(unix)]
mod mode {
    use std::io;

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    /// Keys come as they are typed and aren't shown; dropped, the terminal is as before. Ctrl-C still interrupts.
    pub struct Unbuffered(Termios);

    impl Unbuffered {
        pub fn set() -> io::Result<Self> {
            let before = tcgetattr(io::stdin())?;
            let mut mode = before.clone();
            mode.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            tcsetattr(io::stdin(), OptionalActions::Now, &mode)?;
            Ok(Self(before))
        }
    }

    impl Drop for Unbuffered {
        fn drop(&mut self) {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
        }
    }
}

#[cfg(windows)]
mod mode {
    use std::io;

    /// Keys come with Enter there.
    pub struct Unbuffered;

    impl Unbuffered {
        pub fn set() -> io::Result<Self> {
            Ok(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_fits_its_terminal_and_cannot_steer_it() {
        let lines = ["12345".to_owned(), "a\x1b[2J".to_owned(), "unseen".to_owned()];
        assert_eq!(frame(&lines, 3, 2), "\x1b[H123\x1b[K\r\na\u{fffd}[\x1b[K\x1b[J");
    }
}

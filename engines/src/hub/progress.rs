//! How a transfer goes, told to a person: a bar on a terminal, plain lines otherwise.

use std::fmt::Debug;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// Told about transfers.
pub trait Progress: Debug + Send + Sync {
    /// Something worth a line.
    fn note(&self, line: &str);

    /// A transfer begins; `total` is its size in bytes where that is known.
    fn begin(&self, name: &str, total: Option<u64>) -> Box<dyn Transfer>;
}

/// One transfer. Dropped before it is finished, it was broken off.
pub trait Transfer: Send {
    /// So many bytes are here now, those of earlier tries included.
    fn reached(&mut self, bytes: u64);

    /// All of it is here and in its place.
    fn finished(self: Box<Self>);
}

/// A bar where stderr is a terminal, plain lines on stderr otherwise.
pub fn for_stderr() -> Arc<dyn Progress> {
    if std::io::stderr().is_terminal() { Arc::new(Bars) } else { Arc::new(Lines::new(std::io::stderr(), Duration::from_secs(5))) }
}

/// Bars on the terminal at stderr.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bars;

impl Progress for Bars {
    fn note(&self, line: &str) {
        let _ = writeln!(std::io::stderr(), "{line}"); // nobody can be told that stderr is gone
    }

    fn begin(&self, name: &str, total: Option<u64>) -> Box<dyn Transfer> {
        let bar = match total {
            Some(total) => ProgressBar::new(total)
                .with_style(style("{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {eta} left")),
            None => ProgressBar::new_spinner().with_style(style("{spinner} {msg} {elapsed}")),
        };
        bar.set_message(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Box::new(Bar { bar, started: false })
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

struct Bar {
    bar: ProgressBar,
    started: bool,
}

impl Transfer for Bar {
    fn reached(&mut self, bytes: u64) {
        if !self.started {
            // What was here already must not count towards the speed.
            self.bar.reset_eta();
            self.started = true;
        }
        self.bar.set_position(bytes);
    }

    fn finished(self: Box<Self>) {
        self.bar.finish();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if !self.bar.is_finished() {
            self.bar.abandon();
        }
    }
}

/// Plain lines: one when a transfer begins, one now and then, one at its end.
#[derive(Debug)]
pub struct Lines<W> {
    out: Arc<Mutex<W>>,
    interval: Duration,
}

impl<W: Write + Send + Debug + 'static> Lines<W> {
    /// Lines to `out`, those in between at most one per `interval`.
    pub fn new(out: W, interval: Duration) -> Self {
        Self { out: Arc::new(Mutex::new(out)), interval }
    }
}

impl<W: Write + Send + Debug + 'static> Progress for Lines<W> {
    fn note(&self, line: &str) {
        write_line(&self.out, line);
    }

    fn begin(&self, name: &str, total: Option<u64>) -> Box<dyn Transfer> {
        match total {
            Some(total) => write_line(&self.out, &format!("fetching {name}, {}", HumanBytes(total))),
            None => write_line(&self.out, &format!("fetching {name}")),
        }
        let now = Instant::now();
        Box::new(LineTransfer { out: self.out.clone(), interval: self.interval, name: name.to_owned(), total, began: now, last_line: now })
    }
}

struct LineTransfer<W> {
    out: Arc<Mutex<W>>,
    interval: Duration,
    name: String,
    total: Option<u64>,
    began: Instant,
    last_line: Instant,
}

impl<W: Write + Send> Transfer for LineTransfer<W> {
    fn reached(&mut self, bytes: u64) {
        if self.last_line.elapsed() < self.interval {
            return;
        }
        self.last_line = Instant::now();
        let line = match self.total {
            Some(total) if total > 0 => {
                format!("{}: {} of {} ({} %)", self.name, HumanBytes(bytes), HumanBytes(total), bytes.min(total) * 100 / total)
            }
            _ => format!("{}: {}", self.name, HumanBytes(bytes)),
        };
        write_line(&self.out, &line);
    }

    fn finished(self: Box<Self>) {
        write_line(&self.out, &format!("fetched {} in {:.1} s", self.name, self.began.elapsed().as_secs_f64()));
    }
}

fn write_line<W: Write>(out: &Mutex<W>, line: &str) {
    let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = writeln!(out, "{line}"); // nobody can be told that stderr is gone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_the_size_the_share_and_the_end() {
        let lines = Lines::new(Vec::<u8>::new(), Duration::ZERO);
        let mut transfer = lines.begin("model.safetensors", Some(4096));
        transfer.reached(1024);
        transfer.finished();
        let text = String::from_utf8(lines.out.lock().expect("unpoisoned").clone()).expect("UTF-8");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["fetching model.safetensors, 4.00 KiB", "model.safetensors: 1.00 KiB of 4.00 KiB (25 %)"]);
        assert!(lines[2].starts_with("fetched model.safetensors in "), "{text}");
    }

    #[test]
    fn lines_in_between_keep_their_distance() {
        let lines = Lines::new(Vec::<u8>::new(), Duration::from_secs(3600));
        let mut transfer = lines.begin("a", None);
        (0..100).for_each(|bytes| transfer.reached(bytes));
        drop(transfer);
        assert_eq!(lines.out.lock().expect("unpoisoned").as_slice(), b"fetching a\n");
    }
}

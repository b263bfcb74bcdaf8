//! What the operating system tells the daemon: to end, or to read its configuration anew.

use std::fs;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the daemon heeds.
pub(crate) struct Signals {
    interrupts: Signal,
    terminations: Signal,
    /// `None` where whoever started the daemon has seen to it that it isn't disturbed by them, as nohup does.
    hangups: Option<Signal>,
    has_terminal: bool,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// To end.
    End,
    /// To read the configuration anew.
    Reload,
}

impl Signals {
    /// Heeds them from now on.
    ///
    /// # Errors
    /// The operating system doesn't let it.
    pub fn new() -> io::Result<Self> {
        let hangups = if ignores_hangups() { None } else { Some(signal(SignalKind::hangup())?) };
        let (interrupts, terminations) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupts, terminations, hangups, has_terminal: terminal_is_there() })
    }

    /// The next one.
    pub async fn next(&mut self) -> Told {
        let hangup = async {
            match &mut self.hangups {
                Some(hangups) => hangups.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupts.recv() => Told::End,
            _ = self.terminations.recv() => Told::End,
            // A terminal that is closed says the same as somebody who wants the configuration read, and means another thing.
            _ = hangup => if self.has_terminal && !terminal_is_there() { Told::End } else { Told::Reload },
        }
    }

    /// The next one that asks to end.
    pub async fn end(&mut self) {
        while self.next().await != Told::End {}
    }
}

/// Whether this process has a terminal that can still be opened.
fn terminal_is_there() -> bool {
    fs::File::open("/dev/tty").is_ok()
}

/// Whether SIGHUP was to be ignored when this process began.
fn ignores_hangups() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    // The signal's number is 1, and the mask begins with that.
    ignored.is_some_and(|mask| mask & 1 != 0)
}

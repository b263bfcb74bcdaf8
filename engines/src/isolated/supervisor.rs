//! The thread that starts an engine's process, waits for its end, and starts it anew.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::io::BufReader;
use tokio::net::unix::OwnedReadHalf;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use super::link::{self, Frame, Link};
use super::messages::{Start, Tell};
use super::restarts::{self, MOST, Restarts, WITHIN};
use super::shared::{Alive, Phase, Shared};
use super::{Isolation, frame, log};
use crate::error::EngineError;
use crate::lock::lock;

/// How long a process may tell nothing while it is waited for, at least, and twice that at most; it tells of each step. One that is stuck would keep
/// the turn to compute from all other engines.
const STUCK_AFTER: Duration = Duration::from_secs(300);
/// Between two looks whether the engine is still wanted, while a dead process's last messages are being read.
const LOOKS_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What a process is started with.
pub(super) struct Supervisor {
    pub shared: Arc<Shared>,
    pub isolation: Isolation,
    pub start: Start,
    pub restarts: Arc<Mutex<Restarts>>,
    /// Where the socket is read and written.
    pub runtime: Handle,
}

impl Supervisor {
    /// The body of the thread: until the engine is dropped, or didn't open the first time.
    ///
    /// Linux ends a child with the thread that started it, so this one outlives each process.
    pub fn run(&self) {
        let mut reason = String::new();
        while self.shared.is_wanted() && self.wait_for_turn(&reason) {
            match self.live() {
                Ok(ended) => reason = ended,
                Err(error) => reason = format!("the process of engine `{}` can't be started: {error}", self.shared.name),
            }
            if !self.shared.is_wanted() {
                break;
            }
            if let Some(refusal) = self.shared.take_refusal() {
                // At the first time whoever opens the engine is told, and there is nothing to be started anew.
                if self.shared.report_opening(Err(refusal.clone())) {
                    break;
                }
                reason = refusal.to_string();
            }
            lock(&self.restarts).note(Instant::now());
            if self.shared.report_opening(Err(EngineError::Unavailable(reason.clone()))) {
                break;
            }
            self.shared.count_restart();
            tracing::error!(engine = self.shared.name, "{reason}; it is started anew");
        }
        self.shared.set_phase(Phase::Stopped);
    }

    /// Waits until the process may be started; `false` if it shall not be.
    fn wait_for_turn(&self, reason: &str) -> bool {
        loop {
            let next = lock(&self.restarts).next(Instant::now());
            let (restarts::Start::At(then) | restarts::Start::NotBefore(then)) = next;
            if let restarts::Start::NotBefore(_) = next {
                let seconds = WITHIN.as_secs();
                let failed = format!(
                    "{}the process of engine `{}` has ended more than {MOST} times in {seconds} s; it is started again when that is no longer so",
                    if reason.is_empty() { String::new() } else { format!("{reason}; ") },
                    self.shared.name
                );
                if self.shared.report_opening(Err(EngineError::Unavailable(failed.clone()))) {
                    return false;
                }
                self.shared.set_phase(Phase::Failed(failed.clone()));
                tracing::error!(engine = self.shared.name, "{failed}");
            }
            if !self.shared.sleep_until(then) {
                return false;
            }
            if let restarts::Start::At(_) = next {
                self.shared.set_phase(Phase::Starting);
                return true;
            }
        }
    }

    /// Starts a process and waits for its end. Returns why it ended.
    fn live(&self) -> io::Result<String> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        // Whatever can fail does so before there is a process that would be left behind.
        let socket = ours.try_clone()?;
        let mut child = self.spawn(theirs)?;
        let pid = Pid::from_child(&child);
        let (tell_end, end) = oneshot::channel();
        let (drained, all_read) = channel();
        self.shared.set_alive(Some(Alive { pid, socket }));
        let (link, unwritten) = Link::new(self.start.clone());
        let connected = self.connect(ours, unwritten, Reader { shared: self.shared.clone(), link, drained, end });
        if connected.is_err() {
            self.shared.kill();
        }
        let last_words = child.stderr.take().map(|stderr| log::follow(stderr, &self.shared.name)).unwrap_or_default();
        // Until its parent has asked for its status, its number is given to no other process.
        while let Err(Errno::INTR) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
        self.shared.set_alive(None);
        let status = child.wait();
        connected?;
        let reason = self.reason(status?, &last_words);
        // What it told before its end counts. An engine that is being dropped may hold up the runtime that reads.
        while self.shared.is_wanted() && all_read.recv_timeout(LOOKS_AGAIN_AFTER) == Err(RecvTimeoutError::Timeout) {}
        let error = if self.shared.is_wanted() {
            // First, so that whoever hears of the end finds the next beginning.
            self.shared.set_phase(Phase::Starting);
            EngineError::failed(reason.clone())
        } else {
            EngineError::Stopped
        };
        if tell_end.send(error).is_err() {
            // Nobody reads the socket any more: the runtime has ended, and with it all that could ask.
            self.shared.stop();
        }
        Ok(reason)
    }

    fn spawn(&self, socket: UnixStream) -> io::Result<Child> {
        let mut command = Command::new(&self.isolation.program);
        if let Some(name) = &self.isolation.shown_as {
            command.arg0(name);
        }
        command
            .args(&self.isolation.arguments)
            .stdin(OwnedFd::from(socket))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A terminal interrupts the processes of its foreground group, and the daemon still needs this one then.
            .process_group(0)
            // A failed assertion of ggml would otherwise start a debugger to show where.
            .env("GGML_NO_BACKTRACE", "1")
            .spawn()
    }

    fn connect(&self, socket: UnixStream, unwritten: UnboundedReceiver<Frame>, reader: Reader) -> io::Result<()> {
        let _inside = self.runtime.enter();
        let (read, write) = tokio::net::UnixStream::from_std(socket)?.into_split();
        self.runtime.spawn(link::write(write, unwritten));
        self.runtime.spawn(reader.run(read));
        Ok(())
    }

    fn reason(&self, status: ExitStatus, last_words: &str) -> String {
        let how = match (status.signal(), status.code()) {
            (Some(signal), _) => format!("was ended by signal {signal}{}", name_of(signal)),
            (None, code) => format!("ended with status {}", code.unwrap_or_default()),
        };
        let said = if last_words.is_empty() { String::new() } else { format!(", after it had said: {last_words}") };
        let limit = self.start.memory_limit.map(|bytes| format!(" (its memory_limit is {bytes} bytes)")).unwrap_or_default();
        format!("the process of engine `{}` {how}{limit}{said}", self.shared.name)
    }
}

/// Reads what a process tells, to its end, and ends all that still waits for it.
struct Reader {
    shared: Arc<Shared>,
    link: Arc<Link>,
    /// Dropped when all has been read.
    drained: Sender<()>,
    /// Why it ended.
    end: oneshot::Receiver<EngineError>,
}

impl Reader {
    async fn run(self, socket: OwnedReadHalf) {
        let Self { shared, link, drained, end } = self;
        let mut socket = BufReader::with_capacity(1 << 16, socket);
        let mut frame = Vec::new();
        let error = loop {
            let told = frame::read(&mut socket, &mut frame);
            let outcome = match before_it_is_stuck(told, STUCK_AFTER, || link.is_waited_for()).await {
                Ok(tell) => take(tell, &shared, &link),
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                break error;
            }
        };
        match error.kind() {
            io::ErrorKind::InvalidData => tracing::error!(engine = shared.name, %error, "the engine's process can't be understood"),
            io::ErrorKind::TimedOut => tracing::error!(engine = shared.name, %error, "the engine's process is stuck and is ended"),
            _ => {}
        }
        // Whatever it still does is of no use.
        if shared.is_wanted() {
            shared.kill();
        }
        drop(drained);
        link.end(&end.await.unwrap_or(EngineError::Stopped));
    }
}

/// What comes next, unless that takes too long while somebody waits for it. An idle process may be silent for ever.
async fn before_it_is_stuck<T>(
    next: impl Future<Output = io::Result<T>>,
    patience: Duration,
    is_waited_for: impl Fn() -> bool,
) -> io::Result<T> {
    tokio::pin!(next);
    let mut waited = false;
    loop {
        tokio::select! {
            next = &mut next => return next,
            // Whoever asked may have done so a moment ago.
            () = tokio::time::sleep(patience) => {
                if std::mem::replace(&mut waited, is_waited_for()) && waited {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "it has told nothing for too long, and is waited for"));
                }
            }
        }
    }
}

fn take(tell: Tell, shared: &Shared, link: &Arc<Link>) -> io::Result<()> {
    match tell {
        Tell::Serving { info, health } => shared.serve(info, health, link),
        Tell::Refused(error) => shared.refuse(error),
        Tell::Health(health) => shared.set_health(health),
        Tell::Answer { id, answer } => return link.answered(id, answer),
        Tell::Events { id, events } => link.told(id, events),
    }
    Ok(())
}

/// What a signal is called that ends processes on its own.
fn name_of(signal: i32) -> &'static str {
    match signal {
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL, which the kernel sends, too, when memory runs out)",
        11 => " (SIGSEGV)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_process_is_stuck_when_it_is_silent_and_waited_for() {
        let patience = Duration::from_secs(10);
        let silent = || std::future::pending::<io::Result<()>>();
        let stuck = before_it_is_stuck(silent(), patience, || true).await;
        assert_eq!(stuck.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let idle = before_it_is_stuck(silent(), patience, || false);
        assert!(tokio::time::timeout(Duration::from_secs(3600), idle).await.is_err(), "it may be silent for ever");
        // Asked now and then, and answered each time.
        let asked = Cell::new(0);
        let sometimes = before_it_is_stuck(silent(), patience, || {
            asked.set(asked.get() + 1);
            asked.get() % 2 == 0
        });
        assert!(tokio::time::timeout(Duration::from_secs(3600), sometimes).await.is_err());
        let late = async {
            tokio::time::sleep(patience * 3 / 2).await;
            Ok(7)
        };
        assert_eq!(before_it_is_stuck(late, patience, || true).await.unwrap(), 7);
    }
}

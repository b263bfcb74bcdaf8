//! What an isolated engine and its supervisor both see.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::{oneshot, watch};

use super::link::Link;
use crate::error::{EngineError, Result};
use crate::lock::lock;
use crate::meter::Measured;
use crate::text_engine::{EngineInfo, Health, State};

/// How far the process is.
#[derive(Clone)]
pub(super) enum Phase {
    /// It is about to be started, or loads.
    Starting,
    /// It answers.
    Running(Arc<Link>),
    /// It has ended too often, for this reason; in a while it is started again.
    Failed(String),
    /// The engine is being dropped.
    Stopped,
}

/// A process that has not been waited for, so that its number is its own.
pub(super) struct Alive {
    pub pid: Pid,
    /// To hang up by.
    pub socket: UnixStream,
}

pub(super) struct Shared {
    pub name: String,
    phase: watch::Sender<Phase>,
    /// What it said of itself when it was last opened.
    told: Mutex<Option<(Arc<EngineInfo>, Health)>>,
    alive: Mutex<Option<Alive>>,
    refusal: Mutex<Option<EngineError>>,
    /// `None` once whoever opens the engine has been told.
    opening: Mutex<Option<oneshot::Sender<Result<()>>>>,
    wanted: Mutex<bool>,
    changed: Condvar,
    restarts: AtomicU64,
}

impl Shared {
    pub fn new(name: String, opening: oneshot::Sender<Result<()>>) -> Self {
        Self {
            name,
            phase: watch::Sender::new(Phase::Starting),
            told: Mutex::default(),
            alive: Mutex::default(),
            refusal: Mutex::default(),
            opening: Mutex::new(Some(opening)),
            wanted: Mutex::new(true),
            changed: Condvar::new(),
            restarts: AtomicU64::new(0),
        }
    }

    pub fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub fn set_phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// The engine is open.
    pub fn serve(&self, info: EngineInfo, health: Health, link: &Arc<Link>) {
        *lock(&self.told) = Some((Arc::new(info), health));
        self.phase.send_if_modified(|phase| {
            // It isn't while the engine is being dropped.
            let is_awaited = matches!(phase, Phase::Starting);
            if is_awaited {
                *phase = Phase::Running(link.clone());
            }
            is_awaited
        });
        self.report_opening(Ok(()));
    }

    /// The process is started anew.
    pub fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub fn refuse(&self, error: EngineError) {
        *lock(&self.refusal) = Some(error);
    }

    pub fn take_refusal(&self) -> Option<EngineError> {
        lock(&self.refusal).take()
    }

    /// Tells whoever opens the engine how that went; `false` if they know already.
    pub fn report_opening(&self, outcome: Result<()>) -> bool {
        match lock(&self.opening).take() {
            // Whoever opened it may have left.
            Some(opening) => {
                let _ = opening.send(outcome);
                true
            }
            None => false,
        }
    }

    pub fn info(&self) -> Arc<EngineInfo> {
        let told = lock(&self.told);
        let (info, _) = told.as_ref().expect("an engine is handed out once it has said what it is");
        info.clone()
    }

    pub fn set_health(&self, new: Health) {
        if let Some((_, health)) = &mut *lock(&self.told) {
            *health = new;
        }
    }

    pub fn health(&self) -> Health {
        let told = lock(&self.told).as_ref().map(|(_, health)| health.clone());
        let slots = told.as_ref().map_or(0, |health| health.slots);
        let restarts = self.restarts.load(Ordering::Relaxed);
        let idle = |state| Health { state, active: 0, queued: 0, slots, measured: Measured::default(), restarts };
        match &*self.phase.borrow() {
            Phase::Starting => idle(State::Loading),
            Phase::Running(_) => told.map_or(idle(State::Ready), |told| Health { restarts, ..told }),
            Phase::Failed(reason) => idle(State::Failed(reason.clone())),
            Phase::Stopped => idle(State::Failed("the engine has been stopped".into())),
        }
    }

    pub fn set_alive(&self, alive: Option<Alive>) {
        *lock(&self.alive) = alive;
        if !self.is_wanted() {
            self.hang_up();
        }
    }

    /// Ends the process at once.
    pub fn kill(&self) {
        if let Some(Alive { pid, .. }) = &*lock(&self.alive) {
            let _ = kill_process(*pid, Signal::KILL);
        }
    }

    /// Asks the process to end, and starts no other one.
    pub fn stop(&self) {
        *lock(&self.wanted) = false;
        self.changed.notify_all();
        self.hang_up();
    }

    fn hang_up(&self) {
        if let Some(Alive { socket, .. }) = &*lock(&self.alive) {
            let _ = socket.shutdown(std::net::Shutdown::Write);
        }
    }

    pub fn is_wanted(&self) -> bool {
        *lock(&self.wanted)
    }

    /// Sleeps until then; `false` as soon as the process isn't wanted any more.
    pub fn sleep_until(&self, then: Instant) -> bool {
        let mut wanted = lock(&self.wanted);
        while *wanted {
            let left = then.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return true;
            }
            wanted = self.changed.wait_timeout(wanted, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }
}

//! Masks computed beside the forward pass, on a thread of their own.
//!
//! Which tokens a grammar allows next is known as soon as the token before is chosen, and needed after the step. A grammar's matcher goes to
//! the thread before the step and comes back after it; in between nobody else has it.

use std::sync::mpsc::{Receiver, Sender, channel};

use crate::decoding::constraint::Matcher;

/// The thread and the ways to it and back. It sleeps between the steps and ends with its engine.
pub(super) struct Masks {
    there: Sender<(usize, Box<Matcher>)>,
    back: Receiver<(usize, Box<Matcher>)>,
    away: usize,
}

impl Masks {
    /// `None` where no thread can be had; masks are computed when they are needed then.
    pub fn start() -> Option<Self> {
        let (there, arriving) = channel::<(usize, Box<Matcher>)>();
        let (leaving, back) = channel();
        let work = move || {
            for (place, mut matcher) in arriving {
                // What is wrong with it is told when the mask is needed.
                let _ = matcher.prepare();
                if leaving.send((place, matcher)).is_err() {
                    return;
                }
            }
        };
        match std::thread::Builder::new().name("masks".into()).spawn(work) {
            Ok(_) => Some(Self { there, back, away: 0 }),
            Err(error) => {
                tracing::warn!(%error, "no thread for masks");
                None
            }
        }
    }

    /// Sends one away; it comes back with its place. Returned at once where the thread is gone.
    pub fn send(&mut self, place: usize, matcher: Box<Matcher>) -> Option<Box<Matcher>> {
        match self.there.send((place, matcher)) {
            Ok(()) => {
                self.away += 1;
                None
            }
            Err(unsent) => Some(unsent.0.1),
        }
    }

    /// All that were sent away, as they come back.
    pub fn returned(&mut self) -> impl Iterator<Item = (usize, Box<Matcher>)> + '_ {
        std::iter::from_fn(|| {
            self.away = self.away.checked_sub(1)?;
            self.back.recv().ok()
        })
    }
}

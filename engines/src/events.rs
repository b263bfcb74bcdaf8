//! An answer's events on their way from whoever computes them to whoever reads them, each with the moment at which it came.
//!
//! A reader may be slow, or read one answer after the other; times are those of the computing all the same.

use std::time::Instant;

use futures_core::Stream;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::error::Result;
use crate::generation::TextEvent;

/// An event, or the error that ends the answer, and when it came.
#[derive(Debug)]
pub struct Timed {
    /// When whoever computes had it.
    pub at: Instant,
    /// What came.
    pub event: Result<TextEvent>,
}

impl Timed {
    /// Comes now.
    pub fn now(event: Result<TextEvent>) -> Self {
        Self { at: Instant::now(), event }
    }
}

/// Where an answer's events are put.
#[derive(Debug)]
pub struct EventSender(mpsc::Sender<Box<Timed>>);

/// A way for so many events that wait to be read.
///
/// The channel keeps room for 32 at least, and mostly for twice as many: boxed they take 0.5 KiB of each answer under way, and as they are 8 KiB.
pub fn channel(capacity: usize) -> (EventSender, impl Stream<Item = Timed> + Send + 'static) {
    let (sender, receiver) = mpsc::channel(capacity.clamp(1, tokio::sync::Semaphore::MAX_PERMITS));
    (EventSender(sender), ReceiverStream::new(receiver).map(|event| *event))
}

impl EventSender {
    /// Puts an event, if there is room for it; a reader that is gone needs none.
    pub fn try_send(&self, event: Result<TextEvent>) {
        let _ = self.0.try_send(Box::new(Timed::now(event)));
    }

    /// Puts an event once there is room for it. `false`: the reader is gone.
    pub async fn send(&self, event: Result<TextEvent>) -> bool {
        self.0.send(Box::new(Timed::now(event))).await.is_ok()
    }

    /// Whether the reader is gone.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Waits until the reader is gone.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

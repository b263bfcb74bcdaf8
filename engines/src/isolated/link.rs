//! The daemon's end of the socket: calls that go out, answers and events that come back for them.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures_util::stream::{self, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::frame::framed;
use super::messages::{Answer, Ask, Call, Start};
use crate::error::{EngineError, Result};
use crate::events::Timed;
use crate::generation::{Beginning, Generation, TextEvent};
use crate::request::{GenerateRequest, TokenId};
use crate::text_engine::LogitRows;

/// Bytes of calls that wait until the process reads them. One that is stuck reads none, however many come for it.
const UNREAD_BYTES: usize = 64 << 20;

/// The way to one process, from its start to its end.
pub(super) struct Link {
    /// Calls take [`room`](Self::room); besides them there is at most a cancellation for each.
    frames: mpsc::UnboundedSender<Frame>,
    /// Bytes that calls may still take.
    room: Arc<Semaphore>,
    expected: Mutex<Expected>,
    numbers: AtomicU64,
}

#[derive(Default)]
struct Expected {
    calls: HashMap<u64, Expecting>,
    /// Nothing comes any more, for this reason.
    over: Option<EngineError>,
}

/// A message for the process, until it is written.
pub(super) struct Frame {
    bytes: Vec<u8>,
    /// What a call takes of the link's room.
    _room: Option<OwnedSemaphorePermit>,
}

/// Who waits under a number.
enum Expecting {
    Generations(oneshot::Sender<Result<Vec<Generation>>>),
    Answer(oneshot::Sender<Result<Answer>>),
    Events(mpsc::Sender<Batch>),
    /// Nobody at the moment: a reader of logits looks at those it has.
    Pausing,
}

/// Events that came together, and when.
struct Batch {
    at: Instant,
    events: Vec<Result<TextEvent>>,
}

impl Link {
    /// A link, and the frames to be written to its socket.
    pub fn new(start: Start) -> (Arc<Self>, mpsc::UnboundedReceiver<Frame>) {
        let (frames, unwritten) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(UNREAD_BYTES));
        let link = Self { frames, room, expected: Mutex::default(), numbers: AtomicU64::new(0) };
        link.send(&Ask::Start(start));
        (Arc::new(link), unwritten)
    }

    /// Asks for one answer.
    pub async fn ask(&self, call: Call) -> Result<Answer> {
        let (sender, answer) = oneshot::channel();
        let id = self.call(call, 1, Expecting::Answer(sender))?;
        self.wait(id, 1, answer).await
    }

    /// Asks for generations.
    pub async fn begin(&self, request: GenerateRequest, count: usize) -> Result<Vec<Generation>> {
        let (sender, answer) = oneshot::channel();
        let id = self.call(Call::Choices { request, count }, count, Expecting::Generations(sender))?;
        self.wait(id, count, answer).await
    }

    /// Asks for logits, which come as they are taken.
    pub async fn read(self: &Arc<Self>, tokens: Vec<TokenId>) -> Result<LogitRows> {
        let (sender, answer) = oneshot::channel();
        let id = self.call(Call::Logits(tokens), 1, Expecting::Answer(sender))?;
        match self.wait(id, 1, answer).await? {
            Answer::Readable => {}
            other => return Err(unexpected(&other)),
        }
        let reading = Leaving { link: self.clone(), id };
        Ok(Box::pin(stream::try_unfold(reading, |reading| async move {
            let (sender, answer) = oneshot::channel();
            reading.link.expect(reading.id, Expecting::Answer(sender))?;
            reading.link.send(&Ask::More { id: reading.id });
            match answer.await.unwrap_or(Err(EngineError::Stopped))? {
                Answer::Rows(rows) => Ok(rows.map(|rows| (rows, reading))),
                other => Err(unexpected(&other)),
            }
        })))
    }

    /// Hands an answer to whoever waits for it.
    ///
    /// # Errors
    /// `InvalidData` for one that isn't of the kind that is waited for.
    pub fn answered(self: &Arc<Self>, id: u64, answer: Result<Answer>) -> io::Result<()> {
        let waiting = {
            let mut expected = self.expected();
            let waiting = expected.calls.remove(&id);
            if waiting.is_some() && matches!(answer, Ok(Answer::Readable | Answer::Rows(Some(_)))) {
                expected.calls.insert(id, Expecting::Pausing);
            }
            waiting
        };
        match (waiting, answer) {
            // Cancelled meanwhile.
            (None, _) => {}
            (Some(Expecting::Answer(sender)), answer) => drop(sender.send(answer)),
            (Some(Expecting::Generations(sender)), Ok(Answer::Begun(beginnings))) => {
                let generations = (id..).zip(beginnings).map(|(id, beginning)| self.generation(id, beginning)).collect();
                // Whoever asked may have left; dropping them cancels them.
                drop(sender.send(Ok(generations)));
            }
            (Some(Expecting::Generations(sender)), Err(error)) => drop(sender.send(Err(error))),
            (Some(_), answer) => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{answer:?} was not asked for"))),
        }
        Ok(())
    }

    fn generation(self: &Arc<Self>, id: u64, beginning: Beginning) -> Generation {
        // A batch holds one event at least, so this holds all there can be, as the engine's own channel does: one for each token, the
        // flush, the end, and one for each step that reads some of the prompt.
        let room = beginning.max_tokens.saturating_add(beginning.prompt_tokens.len() + 3).min(Semaphore::MAX_PERMITS);
        let (sender, batches) = mpsc::channel(room);
        self.expected().calls.insert(id, Expecting::Events(sender));
        let reader = (batches, Leaving { link: self.clone(), id });
        let batches = stream::unfold(reader, |(mut batches, leaving)| async move { Some((batches.recv().await?, (batches, leaving))) });
        let timed = |Batch { at, events }| stream::iter(events.into_iter().map(move |event| Timed { at, event }));
        Generation::timed(beginning, batches.flat_map(timed))
    }

    /// Hands events to the reader of a generation, if it is still there.
    pub fn told(&self, id: u64, events: Vec<Result<TextEvent>>) {
        let is_end = matches!(events.last(), Some(Err(_) | Ok(TextEvent::Finished(_))));
        let mut expected = self.expected();
        let Some(Expecting::Events(sender)) = expected.calls.get(&id) else { return };
        let fits = sender.try_send(Batch { at: Instant::now(), events }).is_ok();
        if is_end || !fits {
            expected.calls.remove(&id);
        }
        if !fits {
            self.send(&Ask::Cancel { first: id, count: 1 });
        }
    }

    /// Whether the process has ended, and with it all calls.
    pub fn is_over(&self) -> bool {
        self.expected().over.is_some()
    }

    /// Whether there are generations that the process has not come to the end of: it tells of each of their steps. Of an embedding it tells
    /// when all of its texts are done, however many they are.
    pub fn is_waited_for(&self) -> bool {
        self.expected().calls.values().any(|call| matches!(call, Expecting::Generations(_) | Expecting::Events(_)))
    }

    /// Ends all calls with an error, those that are still to be made too.
    pub fn end(&self, error: &EngineError) {
        let waiting = {
            let mut expected = self.expected();
            expected.over = Some(error.clone());
            std::mem::take(&mut expected.calls)
        };
        for expecting in waiting.into_values() {
            // Whoever waited may have left.
            match expecting {
                Expecting::Generations(sender) => drop(sender.send(Err(error.clone()))),
                Expecting::Answer(sender) => drop(sender.send(Err(error.clone()))),
                Expecting::Events(sender) => drop(sender.try_send(Batch { at: Instant::now(), events: vec![Err(error.clone())] })),
                Expecting::Pausing => {}
            }
        }
    }

    async fn wait<T>(&self, id: u64, count: usize, answer: oneshot::Receiver<Result<T>>) -> Result<T> {
        let mut waiting = Waiting { link: self, id, count, over: false };
        let answer = answer.await;
        waiting.over = true;
        answer.unwrap_or(Err(EngineError::Stopped))
    }

    /// Sends a call that takes so many numbers, and returns the first of them.
    fn call(&self, call: Call, count: usize, expecting: Expecting) -> Result<u64> {
        let id = self.numbers.fetch_add(count.max(1) as u64, Ordering::Relaxed);
        let bytes = framed(&Ask::Call { id, call });
        let wanted = bytes.len().min(UNREAD_BYTES) as u32;
        let waiting = || self.expected().calls.len();
        let room = self.room.clone().try_acquire_many_owned(wanted).map_err(|_| EngineError::Busy { waiting: waiting() })?;
        self.expect(id, expecting)?;
        // A link without a writer is about to be ended.
        let _ = self.frames.send(Frame { bytes, _room: Some(room) });
        Ok(id)
    }

    fn expect(&self, id: u64, expecting: Expecting) -> Result<()> {
        let mut expected = self.expected();
        match &expected.over {
            Some(error) => Err(error.clone()),
            None => {
                expected.calls.insert(id, expecting);
                Ok(())
            }
        }
    }

    fn expected(&self) -> MutexGuard<'_, Expected> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what is part of a call, or comes before all of them.
    fn send(&self, ask: &Ask) {
        // A link without a writer is about to be ended.
        let _ = self.frames.send(Frame { bytes: framed(ask), _room: None });
    }
}

/// Writes frames as they come, as many at once as there are.
pub(super) async fn write(mut socket: OwnedWriteHalf, mut frames: mpsc::UnboundedReceiver<Frame>) {
    let mut batch = Vec::new();
    while frames.recv_many(&mut batch, 64).await > 0 {
        let bytes = batch.iter().map(|frame: &Frame| &frame.bytes[..]).collect::<Vec<_>>().concat();
        // Whoever reads the answers learns of the end, too.
        if socket.write_all(&bytes).await.is_err() {
            return;
        }
        // Until here they take room.
        batch.clear();
    }
}

pub(super) fn unexpected(answer: &Answer) -> EngineError {
    EngineError::failed(format!("the engine's process answered {answer:?} to something else"))
}

/// A call without an answer; dropped before, it is cancelled.
struct Waiting<'a> {
    link: &'a Link,
    id: u64,
    count: usize,
    over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.link.expected().calls.remove(&self.id);
            self.link.send(&Ask::Cancel { first: self.id, count: self.count });
        }
    }
}

/// A reader of a generation, or of logits. When it leaves before the end, the work is cancelled.
struct Leaving {
    link: Arc<Link>,
    id: u64,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let unfinished = self.link.expected().calls.remove(&self.id).is_some();
        if unfinished {
            self.link.send(&Ask::Cancel { first: self.id, count: 1 });
        }
    }
}

//! An engine's process: it opens the engine that it is told to, and answers for it until the daemon hangs up.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use rustix::process::{Resource, Rlimit, Signal, getpid, kill_process, setrlimit};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::frame::{self, framed};
use super::messages::{Answer, Ask, Call, Start, Tell};
use crate::error::{EngineError, Result};
use crate::generation::Generation;
use crate::registry::{Engines, Opening};
use crate::text_engine::{Health, LogitRows, State, TextEngine};
use crate::turn;

/// Frames that may wait to be written. What comes then waits in the engine's own channels, which hold all of it.
const UNWRITTEN: usize = 256;
/// Between two looks at how the engine is, while it is busy and tells nothing.
const LOOKS_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// How long an engine may take to end once the daemon has hung up.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Is an engine's process, started as [`super::Isolation`] says, to its end.
///
/// # Errors
/// It wasn't started so.
pub fn serve(engines: &Engines) -> io::Result<ExitCode> {
    let socket = inherited()?;
    // Closed by the end of the process alone: the daemon takes its closing for that.
    let _open = socket.try_clone()?;
    of_the_daemon_alone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(match runtime.block_on(live(engines, socket)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the engine's process ends");
            ExitCode::FAILURE
        }
    })
}

/// The socket, which comes as standard input.
fn inherited() -> io::Result<std::os::unix::net::UnixStream> {
    let input: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let socket = std::os::unix::net::UnixStream::from(input);
    socket.peer_addr().map_err(|_| io::Error::other("an engine's process is started by its daemon alone"))?;
    // Nobody else may read from it.
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Ends with the daemon, and not before: it is the daemon that is asked to end, and it still needs its engines then.
fn of_the_daemon_alone() {
    #[cfg(target_os = "linux")]
    {
        // The socket tells of the daemon's death, too, but not to a process that is stopped.
        if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
            tracing::debug!(%error, "nothing but the socket will tell of the daemon's death");
        }
        // It was started as /proc/self/exe, and `exe` would say nothing.
        let name = std::env::args_os().next().map(std::path::PathBuf::from);
        if let Some(name) = name.as_deref().and_then(std::path::Path::file_name) {
            let _ = std::fs::write("/proc/self/comm", name.as_encoded_bytes());
        }
    }
}

async fn live(engines: &Engines, socket: std::os::unix::net::UnixStream) -> io::Result<()> {
    // Caught and ignored. A terminal's interrupt doesn't come here, but a service manager may signal every process of a service.
    let ignored = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let _ignored = ignored.map(signal);
    let (reader, mut writer) = UnixStream::from_std(socket)?.into_split();
    let mut reader = BufReader::new(reader);
    let mut frame = Vec::new();
    let Ask::Start(start) = frame::read(&mut reader, &mut frame).await? else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the first message names no engine"));
    };
    let opened = tokio::select! {
        opened = open(engines, start) => opened,
        // Nothing is asked before the engine is open, so this is the end, and half a model is no reason to wait.
        _ = frame::read::<Ask>(&mut reader, &mut frame) => return Ok(kill_process(getpid(), Signal::KILL)?),
    };
    let engine = match opened {
        Ok(engine) => engine,
        Err(error) => return writer.write_all(&framed(&Tell::Refused(error))).await,
    };
    let health = engine.health();
    writer.write_all(&framed(&Tell::Serving { info: engine.info().as_ref().clone(), health: health.clone() })).await?;
    let (frames, unwritten) = mpsc::channel(UNWRITTEN);
    let server = Arc::new(Server { engine: engine.clone(), frames, tasks: Mutex::default() });
    let outcome = tokio::select! {
        outcome = read(&server, &mut reader, &mut frame) => outcome,
        outcome = write(&*engine, health, writer, unwritten) => outcome,
    };
    std::thread::spawn(|| {
        std::thread::sleep(ENDS_WITHIN);
        let _ = kill_process(getpid(), Signal::KILL);
    });
    server.tasks().drain().for_each(|(_, task)| task.handle.abort());
    outcome
}

async fn open(engines: &Engines, start: Start) -> Result<Arc<dyn TextEngine>> {
    let Start { backend, table, name, base, memory_limit, turn } = start;
    if let Some(limit) = memory_limit {
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        setrlimit(Resource::Data, limit).map_err(|error| EngineError::Unavailable(format!("`memory_limit` can't be set: {error}")))?;
    }
    if !turn.is_empty()
        && let Err(error) = turn::join(&turn)
    {
        tracing::warn!(%error, "the engine takes no turns with those of other processes");
    }
    let unreadable = |error: figment::Error| EngineError::Unavailable(error.to_string());
    let table = figment::value::Value::serialize(table).map_err(unreadable)?;
    let absent = || EngineError::Unavailable(format!("there is no backend `{backend}`"));
    let prepared = engines.prepare(&backend, &table).ok_or_else(absent)?.map_err(unreadable)?;
    prepared.open(&Opening { name, base }).await
}

/// Takes what is asked, until the daemon hangs up.
async fn read(server: &Arc<Server>, reader: &mut BufReader<OwnedReadHalf>, frame: &mut Vec<u8>) -> io::Result<()> {
    loop {
        match frame::read(reader, frame).await {
            Ok(Ask::Call { id, call }) => server.call(id, call),
            Ok(Ask::More { id }) => server.more(id),
            Ok(Ask::Cancel { first, count }) => server.cancel(first, count),
            Ok(Ask::Start(_)) => return Err(io::Error::new(io::ErrorKind::InvalidData, "an engine is named a second time")),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
            Err(_) => return Ok(()),
        }
    }
}

/// Writes frames as they come, all there are at once, and with them how the engine is when that has changed.
async fn write(
    engine: &dyn TextEngine,
    mut told: Health,
    mut socket: OwnedWriteHalf,
    mut unwritten: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let (mut batch, mut bytes, mut told_at) = (Vec::new(), Vec::new(), Instant::now());
    loop {
        let is_busy = told.active + told.queued > 0;
        tokio::select! {
            _ = unwritten.recv_many(&mut batch, UNWRITTEN) => {}
            () = tokio::time::sleep(LOOKS_AGAIN_AFTER), if is_busy => {}
        }
        bytes.clear();
        let health = engine.health();
        // What was measured changes with each step; it isn't worth a frame each time.
        let is_another = (&health.state, health.active, health.queued) != (&told.state, told.active, told.queued);
        if is_another || health.measured != told.measured && told_at.elapsed() >= LOOKS_AGAIN_AFTER {
            bytes.extend(framed(&Tell::Health(health.clone())));
            (told, told_at) = (health, Instant::now());
        }
        batch.drain(..).for_each(|frame| bytes.extend(frame));
        if !bytes.is_empty() {
            socket.write_all(&bytes).await?;
        }
        if let State::Failed(reason) = told.state {
            return Err(io::Error::other(reason));
        }
    }
}

struct Server {
    engine: Arc<dyn TextEngine>,
    frames: mpsc::Sender<Vec<u8>>,
    tasks: Mutex<HashMap<u64, Task>>,
}

/// What is done under a number.
struct Task {
    handle: AbortHandle,
    /// Of logits that are being read: their next rows are wanted.
    more: Option<mpsc::Sender<()>>,
}

impl Server {
    fn call(self: &Arc<Self>, id: u64, call: Call) {
        let (more, wanted) = match call {
            Call::Logits(_) => {
                let (more, wanted) = mpsc::channel(1);
                (Some(more), Some(wanted))
            }
            _ => (None, None),
        };
        let server = self.clone();
        self.run(id, more, async move {
            // Whoever waits must hear of it.
            let answer = match AssertUnwindSafe(server.answer(call)).catch_unwind().await {
                Ok(answer) => answer,
                Err(_) => Err(EngineError::failed("the engine panicked")),
            };
            match answer {
                Ok(Answered::With(answer)) => server.tell(&Tell::Answer { id, answer: Ok(answer) }).await,
                Ok(Answered::Generations(generations)) => server.begin(id, generations).await,
                Ok(Answered::Logits(rows)) => server.logits(id, rows, wanted).await,
                Err(error) => server.tell(&Tell::Answer { id, answer: Err(error) }).await,
            }
        });
    }

    async fn answer(&self, call: Call) -> Result<Answered> {
        let engine = &self.engine;
        Ok(Answered::With(match call {
            Call::Choices { request, count } => return engine.choices(request, count).await.map(Answered::Generations),
            Call::Logits(tokens) => return engine.logits(&tokens).await.map(Answered::Logits),
            Call::Score { prompt, alternatives } => Answer::Scored(engine.score(&prompt, alternatives).await?),
            Call::TokenBytes(tokens) => Answer::Bytes(engine.token_bytes(&tokens).await?),
            Call::PromptPrefix => Answer::Tokens(engine.prompt_prefix().await?),
            Call::Tokenize(text) => Answer::Tokens(engine.tokenize(&text).await?),
            Call::Detokenize(tokens) => Answer::Text(engine.detokenize(&tokens).await?),
            Call::Embed(texts) => Answer::Embedded(engine.embed(&texts).await?),
            Call::Render(request) => Answer::Rendered(engine.render(&request).await?),
        }))
    }

    /// Tells that generations have begun, then what each of them tells.
    async fn begin(self: &Arc<Self>, id: u64, generations: Vec<Generation>) {
        let beginnings = generations.iter().map(|generation| generation.beginning().clone()).collect();
        self.tell(&Tell::Answer { id, answer: Ok(Answer::Begun(beginnings)) }).await;
        for (id, generation) in (id..).zip(generations) {
            let server = self.clone();
            self.run(id, None, async move { server.forward(id, generation).await });
        }
    }

    async fn forward(&self, id: u64, generation: Generation) {
        if AssertUnwindSafe(self.forward_all(id, generation)).catch_unwind().await.is_err() {
            self.tell(&Tell::Events { id, events: vec![Err(EngineError::failed("the engine panicked"))] }).await;
        }
    }

    async fn forward_all(&self, id: u64, mut generation: Generation) {
        while let Some(event) = generation.next().await {
            let mut events = vec![event];
            // Those of one token are ready together, so there are no more batches than the engine's channel has room for events.
            while let Some(Some(event)) = generation.next().now_or_never() {
                events.push(event);
            }
            self.tell(&Tell::Events { id, events }).await;
        }
    }

    async fn logits(&self, id: u64, mut rows: LogitRows, wanted: Option<mpsc::Receiver<()>>) {
        self.tell(&Tell::Answer { id, answer: Ok(Answer::Readable) }).await;
        let Some(mut wanted) = wanted else { return };
        while wanted.recv().await.is_some() {
            let rows = rows.next().await.transpose();
            let is_last = !matches!(rows, Ok(Some(_)));
            self.tell(&Tell::Answer { id, answer: rows.map(Answer::Rows) }).await;
            if is_last {
                return;
            }
        }
    }

    fn more(&self, id: u64) {
        if let Some(more) = self.tasks().get(&id).and_then(|task| task.more.as_ref()) {
            // Nobody asks for more than one at a time.
            let _ = more.try_send(());
        }
    }

    /// Ends what is done under these numbers; dropping it is what cancels it.
    fn cancel(&self, first: u64, count: usize) {
        let numbers = first..first.saturating_add(count as u64);
        let cancelled = self.tasks().extract_if(|id, _| numbers.contains(id)).collect::<Vec<_>>();
        cancelled.iter().for_each(|(_, task)| task.handle.abort());
    }

    fn run(self: &Arc<Self>, id: u64, more: Option<mpsc::Sender<()>>, work: impl Future<Output = ()> + Send + 'static) {
        let server = self.clone();
        let mut tasks = self.tasks();
        let task = tokio::spawn(async move {
            work.await;
            // The number may have passed on to a task that this one has started.
            let mut tasks = server.tasks();
            if tasks.get(&id).is_some_and(|task| task.handle.id() == tokio::task::id()) {
                tasks.remove(&id);
            }
        });
        tasks.insert(id, Task { handle: task.abort_handle(), more });
    }

    async fn tell(&self, tell: &Tell) {
        // The process is ending if nobody writes.
        let _ = self.frames.send(framed(tell)).await;
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<u64, Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a call returned, and what still has to be told of it.
enum Answered {
    With(Answer),
    Generations(Vec<Generation>),
    Logits(LogitRows),
}

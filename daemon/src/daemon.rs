//! The daemon's life: everything opened, served, and closed in order.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use minivault_engines::isolated::LOG_TARGET;
use minivault_engines::{Engines, TextEngine};
use minivault_journal::{Journal, Recording};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::arguments::{Arguments, Command};
use crate::config::{self, Listen, Loaded, LogSettings, Settings};
use crate::engine_process;
use crate::engine_table::EngineTable;
use crate::eval;
use crate::listener::Listener;
use crate::routes::{App, Limits, router};
use crate::server::{Times, serve};

/// Runs the daemon with these backends, as the command line and the configuration say, to its end.
///
/// This is all that a binary needs: `fn main() -> ExitCode { minivault_daemon::run(Engines::builtin()) }`.
#[allow(clippy::needless_pass_by_value)] // It takes what it serves with.
pub fn run(engines: Engines) -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Command::Engine { .. }) = arguments.command {
        return engine_process::run(&engines);
    }
    // What an engine's process wrote has passed its own filter.
    let filter = diagnostics().add_directive(format!("{LOG_TARGET}=trace").parse().expect("a target and a level are a directive"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("minivaultd: the runtime can't be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(obey(&engines, arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("minivaultd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is told on stderr.
pub(crate) fn diagnostics() -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into())
}

async fn obey(engines: &Engines, arguments: Arguments) -> anyhow::Result<()> {
    let source = arguments.source().context("the working directory can't be told")?;
    let Loaded { settings, report } = config::load(engines, source)?;
    match arguments.command {
        Some(Command::Config) => print!("{report}"),
        Some(Command::Pull { engine }) => {
            let table = EngineTable::new(settings.engine, settings.engines);
            for path in table.fetch(engine.as_deref()).await? {
                println!("{}", path.display());
            }
        }
        Some(Command::Eval(arguments)) => eval::run(engine_process::apart(settings.engines)?, &arguments).await?,
        // It is another program's beginning.
        Some(Command::Engine { .. }) => {}
        None => live(settings).await?,
    }
    Ok(())
}

async fn live(settings: Settings) -> anyhow::Result<()> {
    let Settings { engine, server, log, generation, engines, aliases } = settings;
    // What can fail at once fails before a model is loaded.
    let mut signals = Signals { interrupts: signal(SignalKind::interrupt())?, terminations: signal(SignalKind::terminate())? };
    let listener = Listener::bind(&server.listen)
        .await
        .map_err(|error| anyhow::anyhow!("{error}; choose another address with --listen or server.listen"))?;
    let kept = in_words(&log);
    let journal = Arc::new(Journal::open(&log.path, &log.options)?);
    let engines = Arc::new(EngineTable::new(engine, engine_process::apart(engines)?).with_aliases(aliases));
    let limits = Limits { body: server.body_limit, prompt: server.max_prompt_bytes };
    let app = App::new(engines.clone(), journal.clone(), generation, limits).with_log_off_allowed(log.allow_off);
    let (version, default) = (env!("CARGO_PKG_VERSION"), engines.default_name());
    if engines.default_is_starting() {
        eprintln!("MiniVault {version} listens on {listener} and loads `{default}` …");
    } else {
        eprintln!("MiniVault {version} listens on {listener}; `{default}` loads when it is first asked.");
    }

    let address = listener.to_string();
    let (gone, fails) = tokio::sync::oneshot::channel();
    let opening = tokio::spawn({
        let engines = engines.clone();
        async move {
            tokio::spawn({
                let engines = engines.clone();
                async move { engines.open_others().await }
            });
            let opened = if engines.default_is_starting() { engines.open_default().await.map(drop) } else { Ok(()) };
            match opened {
                Ok(()) => greet(&engines, &server.listen, &address, &kept),
                // Nobody listens any more when the daemon was told to stop meanwhile.
                Err(error) => drop(gone.send(error)),
            }
        }
    });
    let mut failure = None;
    #[allow(clippy::async_yields_async)] // Told to end, it says what would tell it to hurry.
    let shutdown = async {
        let failed = async {
            match fails.await {
                Ok(error) => error,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = signals.next() => {}
            error = failed => failure = Some(error),
        }
        app.drain();
        // A second signal says that there is no more time.
        async move { signals.next().await }
    };
    let times = Times { headers: server.header_timeout, grace: server.grace };
    serve(listener, router(app.clone()), times, shutdown).await;
    opening.abort();
    // Engines first: what still runs ends and is logged. Then the log, whole to its last line.
    tokio::task::spawn_blocking(move || {
        engines.close();
        journal.close();
    })
    .await?;
    match failure {
        Some(error) => Err(anyhow::anyhow!("{error}")),
        None => {
            let dropped = match app.journal.dropped() {
                0 => String::new(),
                dropped => format!(", {dropped} could not be"),
            };
            eprintln!("MiniVault has ended; {} interactions were logged{dropped}.", app.journal.written());
            Ok(())
        }
    }
}

/// What asks the daemon to end.
struct Signals {
    interrupts: Signal,
    terminations: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupts.recv() => {}
            _ = self.terminations.recv() => {}
        }
    }
}

/// The first lines at start.
fn greet(engines: &EngineTable, listen: &Listen, address: &str, log: &str) {
    use crate::engine_table::Phase;
    let default = engines.default_name();
    match engines.default_phase() {
        Phase::Ready(engine) => introduce(&*engine),
        Phase::Replaced { by, reason } => {
            eprintln!("\n  `{default}` can't be had, so `{}` answers in its place:", by.info().name);
            reason.lines().for_each(|line| eprintln!("    {line}"));
            introduce(&*by);
        }
        // It loads when it is first asked.
        Phase::Idle => eprintln!("\n  engine       {default}"),
        _ => return,
    }
    eprintln!("  log          {log}");
    let target = match listen {
        Listen::Tcp(_) => address.to_owned(),
        Listen::Unix(path) => format!("--unix-socket {} http://localhost", path.display()),
    };
    eprintln!("\nReady. Try:\n  curl -X POST {target}/generate -H 'Content-Type: application/json' -d '{{\"prompt\":\"Hello\"}}'\n");
}

/// Where interactions are kept, and what of them.
fn in_words(log: &LogSettings) -> String {
    let path = log.path.display();
    let what = match log.options.recording {
        Recording::Full => " (record = \"full\")".to_owned(),
        Recording::Hash => " (record = \"hash\": hashes in place of texts)".to_owned(),
        Recording::Meta => " (record = \"meta\": no texts)".to_owned(),
        Recording::Off => return "off: no interaction is recorded".to_owned(),
    };
    let redacted = match log.options.redact.len() {
        0 => String::new(),
        count => format!(", what matches one of {count} patterns is blackened"),
    };
    let off = if log.allow_off { ", requests may ask to be left out" } else { "" };
    format!("{path}{what}{redacted}{off}")
}

fn introduce(engine: &dyn TextEngine) {
    let (info, slots) = (engine.info(), engine.health().slots);
    eprintln!("\n  engine       {} ({})", info.name, info.backend);
    eprintln!("  model        {}", info.model);
    eprintln!("  from         {}", info.source);
    match info.context_length {
        0 => eprintln!("  context      not told, {slots} requests side by side"),
        context => eprintln!("  context      {context} tokens, {slots} requests side by side"),
    }
    eprintln!("  determinism  {}", info.determinism.as_str());
}

//! The daemon's life: everything opened, served, and closed in order.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use listenfd::ListenFd;
use minivault_engines::Engines;
use minivault_journal::Journal;
use tokio::sync::mpsc;

use crate::arguments::{Arguments, Command};
use crate::config::{self, ConfigError, Loaded, ServerSettings, Settings, Source};
use crate::diagnostics::DiagnosticsSettings;
use crate::doctor;
use crate::door::listener::Listener;
use crate::door::server::serve;
use crate::door::tls::Tls;
use crate::engine_process;
use crate::engine_table::EngineTable;
use crate::eval;
use crate::init;
use crate::introduction::Introduction;
use crate::manuals;
use crate::reload::{Asker, Reload, Renewable, Start};
use crate::routes::{App, Configured};
use crate::signals::{Signals, Told};
use crate::supervisor;

/// How long answers that are cut off have to say so.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Requests to read the configuration anew that wait for each other.
const RELOADS: usize = 8;
/// How long everything may take to close once there is no more time; with the time above it stays under two seconds.
const PATIENCE_IN_A_HURRY: Duration = Duration::from_millis(1300);

/// Runs the daemon with these backends, as the command line and the configuration say, to its end.
///
/// This is all that a binary needs: `fn main() -> ExitCode { minivault_daemon::run(Engines::builtin()) }`.
#[allow(clippy::needless_pass_by_value)] // It takes what it serves with.
pub fn run(engines: Engines) -> ExitCode {
    // It changes the environment, so it comes before there are threads.
    let inherited = ListenFd::from_env();
    let arguments = Arguments::parse();
    if let Some(Command::Engine { filter, .. }) = &arguments.command {
        return engine_process::run(&engines, filter);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("minivaultd: the runtime can't be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(obey(&Arc::new(engines), arguments, inherited));
    // What is still being fetched or loaded is not waited for.
    runtime.shutdown_timeout(PATIENCE_IN_A_HURRY);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match error.downcast_ref::<ConfigError>() {
                // Whoever sits there sees the line; a journal, or whatever reads a pipe, wants a line for each mistake.
                Some(error) if std::io::stderr().is_terminal() => eprint!("{}", error.drawn()),
                _ => eprintln!("minivaultd: {error:#}"),
            }
            ExitCode::FAILURE
        }
    }
}

async fn obey(engines: &Arc<Engines>, arguments: Arguments, inherited: ListenFd) -> anyhow::Result<()> {
    match &arguments.command {
        Some(Command::Completions { shell }) => return Ok(manuals::completions(*shell)?),
        Some(Command::Man { folder }) => {
            return manuals::man(folder).with_context(|| format!("man pages can't be written into {}", folder.display()));
        }
        Some(Command::Init { file }) => {
            if let Some(flag) = arguments.first_override() {
                anyhow::bail!(
                    "init writes every key with its default, so {flag} says nothing to it; say it when the daemon starts, or change the file"
                );
            }
            return init::run(file);
        }
        _ => {}
    }
    let source = arguments.source().context("the working directory can't be told")?;
    let loaded = config::load(engines, source.clone());
    if let Some(Command::Doctor) = arguments.command {
        // What the daemon would say of itself stands in the findings, unless more of it is wanted.
        let wanted = loaded.as_ref().ok().map(|loaded| &loaded.settings.diagnostics).filter(|settings| settings.asks_for_more());
        let _diagnostics = wanted.map(DiagnosticsSettings::start).transpose()?;
        return doctor::run(loaded).await;
    }
    let loaded = loaded?;
    if let Some(Command::Config) = arguments.command {
        print!("{}", loaded.report);
        return Ok(());
    }
    let _diagnostics = loaded.settings.diagnostics.start()?;
    let settings = loaded.settings;
    match arguments.command {
        Some(Command::Pull { engine }) => {
            let table = EngineTable::new(settings.engine, settings.engines);
            for path in table.fetch(engine.as_deref()).await? {
                println!("{}", path.display());
            }
        }
        // These have been done above; an engine's process is another program.
        Some(
            Command::Completions { .. }
            | Command::Config
            | Command::Doctor
            | Command::Engine { .. }
            | Command::Init { .. }
            | Command::Man { .. },
        ) => {}
        Some(Command::Eval(arguments)) => {
            eval::run(engine_process::apart(settings.engines, &settings.diagnostics.effective_filter())?, &arguments).await?;
        }
        None => live(engines.clone(), source, Loaded { settings, report: loaded.report }, inherited).await?,
    }
    Ok(())
}

async fn live(backends: Arc<Engines>, source: Source, loaded: Loaded, inherited: ListenFd) -> anyhow::Result<()> {
    let Loaded { settings, report } = loaded;
    let Settings { engine, mut server, log, diagnostics, generation, engines, aliases } = settings;
    // What can fail at once fails before a model is loaded.
    let mut signals = Signals::new()?;
    let tls = server.tls.as_ref().map(Tls::new).transpose()?;
    let listeners = listen(&mut server, inherited, tls.clone()).await?;
    let journal = Arc::new(Journal::open(&log.path, &log.options)?);
    let filter = diagnostics.effective_filter();
    let engines = Arc::new(EngineTable::new(engine, engine_process::apart(engines, &filter)?).with_aliases(aliases));
    let (reloads, reloading) = mpsc::channel(RELOADS);
    let app = App::new(engines.clone(), journal.clone(), Configured::new(&server, generation, &log)).reloaded_by(reloads);
    let (version, default) = (env!("CARGO_PKG_VERSION"), engines.default_name());
    let addresses: Vec<String> = listeners.iter().map(Listener::to_string).collect();
    let everywhere = addresses.join(" and ");
    if engines.default_is_starting() {
        say!("MiniVault {version} listens on {everywhere} and loads `{default}` …");
    } else {
        say!("MiniVault {version} listens on {everywhere}; `{default}` loads when it is first asked.");
    }
    let introduction = Introduction::new(&server, &addresses[0], &log);
    let (gone, fails) = tokio::sync::oneshot::channel();
    let opening = tokio::spawn({
        let engines = engines.clone();
        async move {
            tokio::spawn({
                let engines = engines.clone();
                async move { engines.open_others().await }
            });
            let opening = async { if engines.default_is_starting() { engines.open_default().await.map(drop) } else { Ok(()) } };
            let opened = tokio::select! {
                opened = opening => opened,
                // It never ends.
                () = supervisor::be_patient() => Ok(()),
            };
            match opened {
                Ok(()) => {
                    introduction.say(&engines);
                    supervisor::ready();
                }
                // Nobody listens any more when the daemon was told to stop meanwhile.
                Err(error) => drop(gone.send(error)),
            }
        }
    });
    let alive = tokio::spawn(supervisor::stay_alive());
    let mut failure = None;
    let (terms, grace) = (server.terms, server.grace);
    let remote = listeners.iter().find(|listener| listener.is_remote()).map(Listener::to_string);
    let start = Start { engines: backends, source, report, server, filter, app: app.clone(), remote, tls };
    let (mut renewable, routes) = Renewable::new(start);
    let stop = async {
        let failed = async {
            match fails.await {
                Ok(error) => error,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::pin!(failed);
        // Dropped when this ends: whoever still waits for a new configuration is told that there will be none.
        let mut reloading = reloading;
        loop {
            tokio::select! {
                told = signals.next() => match told {
                    Told::End => break,
                    Told::Reload => renewable.read(Asker::Signal),
                },
                Some(Reload(answer)) = reloading.recv(), if !renewable.is_reading() => renewable.read(Asker::Request(answer)),
                () = renewable.take_what_was_read(), if renewable.is_reading() => {}
                error = &mut failed => break failure = Some(error),
            }
        }
        supervisor::stopping();
        app.drain();
    };
    let mut ending = serve(listeners, routes, terms, stop).await;
    // A second signal says that there is no more time.
    let (hurry, hurried) = tokio::sync::oneshot::channel();
    tokio::spawn({
        let journal = journal.clone();
        async move {
            signals.end().await;
            leave_anyway(journal);
            // Whoever waited may have come to the end meanwhile.
            let _ = hurry.send(());
        }
    });
    let in_time = tokio::select! {
        in_time = ending.before(tokio::time::sleep(grace)) => in_time,
        _ = hurried => false,
    };
    if !in_time {
        tracing::warn!("there is no more time; running answers are cut off");
        app.end();
        ending.before(tokio::time::sleep(LAST_WORDS)).await;
    }
    ending.cut_off().await;
    opening.abort();
    alive.abort();
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
            say!("MiniVault has ended; {} interactions were logged{dropped}.", app.journal.written());
            Ok(())
        }
    }
}

/// Ends the process in time although something may still hold it up, as a model does that is being loaded, or a disk.
fn leave_anyway(journal: Arc<Journal>) {
    std::thread::spawn(move || {
        std::thread::sleep(PATIENCE_IN_A_HURRY);
        let (closed, whole) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            journal.close();
            closed.send(())
        });
        let whole = whole.recv_timeout(LAST_WORDS).is_ok();
        say!("MiniVault was told to end at once, and has{}.", if whole { "" } else { "; the log wasn't closed" });
        std::process::exit(1);
    });
}

/// Listens on all addresses, or takes the sockets that somebody already listens on, if that is safe.
async fn listen(server: &mut ServerSettings, mut inherited: ListenFd, tls: Option<Tls>) -> anyhow::Result<Vec<Listener>> {
    let mut listeners = Listener::inherited(&mut inherited)?;
    if listeners.is_empty() {
        for address in &server.listen {
            let listener = Listener::bind(address).await;
            listeners.push(listener.map_err(|error| anyhow::anyhow!("{error}; choose another address with --listen or server.listen"))?);
        }
    } else {
        server.listen = listeners.iter().map(Listener::address).collect();
    }
    let safe = !server.keys.is_empty() || server.allow_keyless;
    if let Some((_, address)) = listeners.iter().zip(&server.listen).find(|(listener, _)| listener.is_remote() && !safe) {
        anyhow::bail!(
            "other machines can reach {address}, and there is no API key: set server.keys (MINIVAULTD_SERVER__KEYS in the environment), \
             or let everybody ask with --allow-keyless or server.allow_keyless"
        );
    }
    Ok(listeners.into_iter().map(|listener| listener.with_tls(tls.clone())).collect())
}

//! The configuration, read anew while the daemon lives: on SIGHUP, and on `POST /admin/reload`.
//!
//! Each request is answered by the routes of its own beginning, so no answer under way notices: it has the limits, the key and the defaults
//! that counted then. Certificates are read again, too. What a configuration can't change under a living daemon (its sockets, its log) is told,
//! and waits for the next start.

use std::sync::Arc;

use axum::Router;
use minivault_engines::Engines;
use minivault_wire::status::ReloadAnswer;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::{self, ConfigError, Loaded, Report, ServerSettings, Settings, Source};
use crate::door::Door;
use crate::door::keys::Keyring;
use crate::door::tls::Tls;
use crate::engine_process;
use crate::error::ApiError;
use crate::routes::{App, Configured, router};

/// Somebody waits for the configuration to be read anew.
pub(crate) struct Reload(pub Answer);

/// Where what has become of it is told.
type Answer = oneshot::Sender<Result<ReloadAnswer, ApiError>>;

/// Keys whose values count from the start on, and those below them.
const UNTIL_THE_END: [&str; 10] = [
    "server.listen",
    "server.tls",
    "server.max_connections",
    "server.max_headers",
    "server.max_header_bytes",
    "server.header_timeout",
    "server.write_timeout",
    "server.grace",
    "log",
    "diagnostics",
];
/// One of them that does change.
const ALL_THE_SAME: &str = "log.allow_off";

/// Has the configuration read anew by whoever takes these.
///
/// # Errors
/// It can't be used, or nobody takes them any more.
pub(crate) async fn ask(reloads: &mpsc::Sender<Reload>) -> Result<ReloadAnswer, ApiError> {
    let (answer, answered) = oneshot::channel();
    reloads.send(Reload(answer)).await.map_err(|_| ApiError::draining())?;
    answered.await.map_err(|_| ApiError::draining())?
}

/// What a daemon has been started with.
pub(crate) struct Start {
    /// The backends.
    pub engines: Arc<Engines>,
    /// Where the configuration is read from.
    pub source: Source,
    /// The configuration that counts, key by key.
    pub report: Report,
    /// What counts of the server's settings; it listens there.
    pub server: ServerSettings,
    /// What engines' processes say.
    pub filter: String,
    /// What requests are answered with.
    pub app: App,
    /// An address at which other machines can ask, if there is one.
    pub remote: Option<String>,
    /// What connections are encrypted with, if they are.
    pub tls: Option<Tls>,
}

/// A daemon that can take another configuration.
pub(crate) struct Renewable {
    /// What counts now.
    current: Start,
    keyring: Keyring,
    routes: watch::Sender<Router>,
    /// The configuration is being read, for somebody.
    reading: Option<(Asker, JoinHandle<Result<Loaded, ConfigError>>)>,
    /// A signal has come meanwhile: the file may have changed behind the reader.
    again: bool,
}

/// Who wants the configuration read.
pub(crate) enum Asker {
    /// Whoever sent SIGHUP, and hears of it on standard error.
    Signal,
    /// Whoever waits for an answer.
    Request(Answer),
}

impl Renewable {
    /// The daemon, and its routes, which change with the configuration.
    pub fn new(start: Start) -> (Self, watch::Receiver<Router>) {
        let keyring = Keyring::new(start.server.keys.clone());
        let (routes, current) = watch::channel(router(start.app.clone(), Door::new(&start.server, keyring.clone())));
        (Self { current: start, keyring, routes, reading: None, again: false }, current)
    }

    /// Whether the configuration is being read.
    pub fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Begins to read the configuration.
    pub fn read(&mut self, asker: Asker) {
        let engines = &self.current.app.engines;
        if engines.default_is_starting() {
            self.tell(asker, Err(ApiError::loading(&engines.default_name())));
        } else if self.is_reading() {
            self.again = true;
        } else {
            // A file may be slow to come, as on a network, and requests mustn't wait for it.
            let (engines, source) = (self.current.engines.clone(), self.current.source.clone());
            self.reading = Some((asker, tokio::task::spawn_blocking(move || config::load(&engines, source))));
        }
    }

    /// Waits for what is being read, takes it and tells whoever wanted it. Nothing is lost where this is dropped before its end.
    pub async fn take_what_was_read(&mut self) {
        let Some((_, reading)) = &mut self.reading else { return };
        let loaded = reading.await;
        let Some((asker, _)) = self.reading.take() else { return };
        let loaded = loaded.map_err(|error| error.to_string()).and_then(|loaded| loaded.map_err(|error| error.to_string()));
        let taken = loaded.and_then(|loaded| self.take(loaded)).map_err(ApiError::misconfigured);
        self.tell(asker, taken);
        if std::mem::take(&mut self.again) {
            self.read(Asker::Signal);
        }
    }

    fn tell(&self, asker: Asker, outcome: Result<ReloadAnswer, ApiError>) {
        match &outcome {
            Ok(ReloadAnswer { changed, needs_restart }) => {
                let told = |keys: &[String]| if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
                let later = if needs_restart.is_empty() { String::new() } else { format!("; at the next start: {}", told(needs_restart)) };
                say!("MiniVault has read its configuration anew. Changed: {}{later}.", told(changed));
            }
            Err(error) => say!("MiniVault hasn't taken a new configuration, so the old one counts:\n{}", error.message()),
        }
        if let Asker::Request(answer) = asker {
            // Whoever asked may have left.
            let _ = answer.send(outcome);
        }
    }

    /// Takes a configuration whole, or nothing of it.
    fn take(&mut self, Loaded { settings, report }: Loaded) -> Result<ReloadAnswer, String> {
        let current = &mut self.current;
        let Settings { engine, server, log, generation, engines, aliases, .. } = settings;
        if let (Some(address), true, false) = (&current.remote, server.keys.is_empty(), server.allow_keyless) {
            return Err(format!("other machines can reach {address}, and there would be no API key any more (server.keys)"));
        }
        let engines = engine_process::apart(engines, &current.filter).map_err(|error| error.to_string())?;
        // Other files are for the next start.
        if let Some(tls) = current.tls.as_ref().filter(|_| server.tls == current.server.tls) {
            tls.renew().map_err(|error| error.to_string())?;
        }
        let (needs_restart, mut changed): (Vec<_>, Vec<_>) = current.report.differences(&report).into_iter().partition(|key| stays(key));
        if server.keys != current.server.keys && !changed.iter().any(|key| is_below(key, "server.keys")) {
            // Its name is the same, and what it holds is not.
            changed.push("server.keys_file".into());
        }
        let ServerSettings { listen, tls, terms, grace, .. } = current.server.clone();
        current.server = ServerSettings { listen, tls, terms, grace, ..server };
        current.report.take(report, |key| !stays(key));
        current.app.engines.renew(engine, engines, aliases);
        current.app = current.app.renewed(Configured::new(&current.server, generation, &log));
        self.keyring = self.keyring.renewed(current.server.keys.clone());
        drop(self.routes.send_replace(router(current.app.clone(), Door::new(&current.server, self.keyring.clone()))));
        Ok(ReloadAnswer { changed, needs_restart })
    }
}

/// Whether a key's value counts for as long as the daemon lives.
fn stays(key: &str) -> bool {
    key != ALL_THE_SAME && UNTIL_THE_END.iter().any(|above| is_below(key, above))
}

/// Whether a key is this one, or one of the table of this name.
fn is_below(key: &str, above: &str) -> bool {
    key.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_only_begins_alike_is_another_key() {
        assert!(stays("server.tls.cert") && stays("log.path") && !stays("server.listening") && !stays("logs.path"));
        assert!(!stays("log.allow_off") && !stays("engines.a.model"));
    }
}

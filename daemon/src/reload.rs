//! The configuration, read anew while the daemon lives: on SIGHUP, and on `POST /admin/reload`.
//!
//! Each request is answered by the routes of its own beginning, so nothing under way notices: they hold the limits, the keys and the defaults
//! that counted then. Certificates are read again, too. What a configuration can't change under a living daemon (its sockets, its log) is told, and waits for the next start.

use std::collections::BTreeMap;

use axum::Router;
use minivault_engines::Engines;
use minivault_wire::status::ReloadAnswer;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::{self, Loaded, Report, ServerSettings, Settings, Source};
use crate::door::Door;
use crate::door::keys::Keyring;
use crate::door::tls::Tls;
use crate::engine_process;
use crate::error::ApiError;
use crate::routes::{App, Limits, Tells, router};

/// Somebody waits for the configuration to be read anew.
pub(crate) struct Reload(oneshot::Sender<Result<ReloadAnswer, ApiError>>);

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

/// A daemon that can take another configuration.
pub(crate) struct Renewable<'a> {
    /// The backends.
    engines: &'a Engines,
    /// Where the configuration is read from.
    source: Source,
    /// The configuration that counts, key by key.
    report: Report,
    /// What counts of the server's settings; it listens there.
    server: ServerSettings,
    /// What engines' processes say.
    filter: String,
    keyring: Keyring,
    app: App,
    routes: watch::Sender<Router>,
    /// An address at which other machines can ask, if there is one.
    remote: Option<String>,
    /// What connections are encrypted with, if they are.
    tls: Option<Tls>,
}

/// What a daemon has been started with.
pub(crate) struct Start<'a> {
    /// See [`Renewable`].
    pub engines: &'a Engines,
    /// See [`Renewable`].
    pub source: Source,
    /// See [`Renewable`].
    pub report: Report,
    /// See [`Renewable`].
    pub server: ServerSettings,
    /// See [`Renewable`].
    pub filter: String,
    /// See [`Renewable`].
    pub app: App,
    /// See [`Renewable`].
    pub remote: Option<String>,
    /// See [`Renewable`].
    pub tls: Option<Tls>,
}

impl<'a> Renewable<'a> {
    /// The daemon, and its routes, which change with the configuration.
    pub fn new(start: Start<'a>) -> (Self, watch::Receiver<Router>) {
        let Start { engines, source, report, server, filter, app, remote, tls } = start;
        let keyring = Keyring::new(server.keys.clone());
        let (routes, current) = watch::channel(router(app.clone(), Door::new(&server).opened_by(keyring.clone())));
        (Self { engines, source, report, server, filter, keyring, app, routes, remote, tls }, current)
    }

    /// Reads the configuration, and tells whoever waits for that.
    pub fn answer(&mut self, Reload(answer): Reload) {
        // Whoever asked may have left.
        let _ = answer.send(self.reload());
    }

    /// Reads the configuration and takes what has changed.
    ///
    /// # Errors
    /// It can't be used, and the old one still counts; or the daemon is still starting.
    pub fn reload(&mut self) -> Result<ReloadAnswer, ApiError> {
        if self.app.engines.default_is_starting() {
            return Err(ApiError::loading(&self.app.engines.default_name()));
        }
        let outcome = self.take();
        match &outcome {
            Ok(ReloadAnswer { changed, needs_restart }) => {
                let told = |keys: &[String]| if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
                let later = if needs_restart.is_empty() { String::new() } else { format!("; at the next start: {}", told(needs_restart)) };
                eprintln!("MiniVault has read its configuration anew. Changed: {}{later}.", told(changed));
            }
            Err(reasons) => eprintln!("MiniVault has read its configuration anew and can't use it, so the old one counts:\n{reasons}"),
        }
        outcome.map_err(ApiError::misconfigured)
    }

    fn take(&mut self) -> Result<ReloadAnswer, String> {
        let Loaded { settings, report } = config::load(self.engines, self.source.clone()).map_err(|error| error.to_string())?;
        let Settings { engine, server, log, generation, engines, aliases, .. } = settings;
        if let (Some(address), true, false) = (&self.remote, server.keys.is_empty(), server.allow_keyless) {
            return Err(format!("other machines can reach {address}, and there would be no API key any more (server.keys)"));
        }
        let engines = engine_process::apart(engines, &self.filter).map_err(|error| error.to_string())?;
        if let Some(tls) = &self.tls {
            tls.renew().map_err(|error| error.to_string())?;
        }
        let mut answer = differences(&self.report, &report);
        if server.keys != self.server.keys && !answer.changed.iter().any(|key| is_below(key, "server.keys")) {
            answer.changed.push("server.keys".into());
        }
        let ServerSettings { listen, tls, terms, grace, .. } = self.server.clone();
        self.server = ServerSettings { listen, tls, terms, grace, ..server };
        self.keyring = self.keyring.renewed(self.server.keys.clone());
        self.app.engines.renew(engine, engines, aliases);
        let app = self.app.renewed(generation, Limits::of(&self.server)).with_log_off_allowed(log.allow_off);
        self.app = app.telling(Tells::of(&self.server)).with_page(self.server.page);
        drop(self.routes.send_replace(router(self.app.clone(), Door::new(&self.server).opened_by(self.keyring.clone()))));
        let kept = std::mem::take(&mut self.report.entries).into_iter().filter(|entry| stays(&entry.key));
        self.report.entries = report.entries.into_iter().filter(|entry| !stays(&entry.key)).chain(kept).collect();
        Ok(answer)
    }
}

/// The keys that two configurations have different values of.
fn differences(old: &Report, new: &Report) -> ReloadAnswer {
    let values = |report: &Report| -> BTreeMap<String, String> {
        report.entries.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
    };
    let (old, new) = (values(old), values(new));
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).filter(|&key| old.get(key) != new.get(key)).collect();
    keys.sort_unstable();
    keys.dedup();
    let (needs_restart, changed) = keys.into_iter().cloned().partition(|key| stays(key));
    ReloadAnswer { changed, needs_restart }
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
    use crate::config::Entry;

    fn report(entries: &[(&str, &str)]) -> Report {
        let entry = |(key, value): &(&str, &str)| Entry { key: (*key).into(), value: (*value).into(), origin: "default".into() };
        Report { entries: entries.iter().map(entry).collect() }
    }

    #[test]
    fn keys_that_came_went_and_changed_are_told_apart_by_when_they_count() {
        let old = report(&[
            ("server.listen", "a"),
            ("server.body_limit", "1"),
            ("engines.a.model", "x"),
            ("log.path", "p"),
            ("log.allow_off", "f"),
        ]);
        let new = report(&[
            ("server.listen", "b"),
            ("server.body_limit", "1"),
            ("engines.b.model", "x"),
            ("log.path", "p"),
            ("log.allow_off", "t"),
        ]);
        let answer = differences(&old, &new);
        assert_eq!(answer.changed, ["engines.a.model", "engines.b.model", "log.allow_off"]);
        assert_eq!(answer.needs_restart, ["server.listen"]);
    }

    #[test]
    fn a_name_that_only_begins_alike_is_another_key() {
        assert!(stays("server.tls.cert") && stays("log.path") && !stays("server.listening") && !stays("logs.path"));
    }
}

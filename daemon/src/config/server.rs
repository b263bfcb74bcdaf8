//! `[server]`: where it listens, who may ask, and how much at once.

use std::path::Path;
use std::time::Duration;

use figment::value::{Dict, Value};
use serde::Deserialize;

use super::check::{Checker, plain, section};
use super::keys::{self, KeysTable};
use super::listen::{Listen, check_host};
use super::settings::{ServerSettings, TlsFiles};
use super::words::Words;
use crate::body::Pace;
use crate::door::headers::Limits;
use crate::door::origins::Origin;
use crate::door::server::Terms;
use crate::patience::Deadlines;

/// Bytes that a body or a prompt may have at most: what a request holds in memory.
const MOST_BYTES: usize = 1 << 30;
/// Connections that may be open at once, at most; a process seldom may have more files.
const MOST_CONNECTIONS: usize = 1 << 20;
/// Headers of a request, at most.
const MOST_HEADERS: usize = 1 << 10;
/// Bytes of them, at most: twice that is still read, and held.
const MOST_HEADER_BYTES: usize = 128 << 10;

/// `[server]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerTable {
    listen: Words,
    hosts: Words,
    origins: Words,
    keys: KeysTable,
    keys_file: String,
    allow_keyless: bool,
    tls: TlsTable,
    max_connections: usize,
    max_headers: usize,
    max_header_bytes: usize,
    header_timeout: f64,
    body_limit: usize,
    body_timeout: f64,
    body_rate: usize,
    write_timeout: f64,
    max_prompt_bytes: usize,
    max_answer_tokens: usize,
    first_token_timeout: f64,
    request_timeout: f64,
    grace: f64,
    slots: bool,
    verbose: bool,
    page: bool,
}

/// `server.tls` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsTable {
    cert: String,
    key: String,
}

/// Checks `[server]`.
pub(super) fn check(checker: &mut Checker<'_>, table: &mut Dict) -> Option<ServerSettings> {
    let table = section(table, "server")?;
    let path = |key: &str| ["server".to_owned(), key.to_owned()];
    let read: ServerTable = checker.read(&["server".to_owned()], table, &[])?;
    let listen = listen(checker, table, &read.listen.0);
    let hosts = each(checker, table, "hosts", &read.hosts.0, |name| check_host(name).map(|()| name.to_owned()));
    let origins = each(checker, table, "origins", &read.origins.0, Origin::parse);
    let keys = keys::check(checker, table, read.keys, &read.keys_file);
    let body_limit = checker.between(&path("body_limit"), table, read.body_limit, MOST_BYTES);
    let max_prompt_bytes = checker.between(&path("max_prompt_bytes"), table, read.max_prompt_bytes, MOST_BYTES);
    let head = checker.wait(&path("header_timeout"), table, read.header_timeout);
    let write = checker.wait(&path("write_timeout"), table, read.write_timeout);
    let connections = checker.between(&path("max_connections"), table, read.max_connections, MOST_CONNECTIONS);
    let count = checker.between(&path("max_headers"), table, read.max_headers, MOST_HEADERS);
    let bytes = checker.between(&path("max_header_bytes"), table, read.max_header_bytes, MOST_HEADER_BYTES);
    let start = checker.wait(&path("body_timeout"), table, read.body_timeout);
    let bytes_per_second = checker.between(&path("body_rate"), table, read.body_rate, MOST_BYTES);
    let max_answer_tokens = checker.between(&path("max_answer_tokens"), table, read.max_answer_tokens, usize::MAX);
    let first_token = checker.span(&path("first_token_timeout"), table, read.first_token_timeout);
    let request = checker.span(&path("request_timeout"), table, read.request_timeout);
    let limited = |time: Duration| (!time.is_zero()).then_some(time);
    let grace = checker.span(&path("grace"), table, read.grace);
    let tls = tls(checker, table, &read.tls);
    Some(ServerSettings {
        listen: listen?,
        hosts: hosts?,
        origins: origins?,
        keys: keys?,
        allow_keyless: read.allow_keyless,
        body_limit: body_limit?,
        pace: Pace { start: start?, bytes_per_second: bytes_per_second? },
        max_answer_tokens: max_answer_tokens?,
        deadlines: Deadlines { first_token: limited(first_token?), request: limited(request?) },
        grace: grace?,
        max_prompt_bytes: max_prompt_bytes?,
        terms: Terms { head: head?, write: write?, connections: connections?, headers: Limits { count: count?, bytes: bytes? } },
        tls: tls?,
        slots: read.slots,
        verbose: read.verbose,
        page: read.page,
    })
}

/// The files of TLS: both, or neither.
fn tls(checker: &mut Checker<'_>, table: &mut Dict, TlsTable { cert, key }: &TlsTable) -> Option<Option<TlsFiles>> {
    if cert.is_empty() && key.is_empty() {
        return Some(None);
    }
    let table = section(table, "tls")?;
    if let Some(missing) = [("cert", cert), ("key", key)].into_iter().find_map(|(name, path)| path.is_empty().then_some(name)) {
        let path = ["server", "tls", missing].map(str::to_owned);
        checker.refuse(&path, table.get(missing)?, "TLS takes both, a certificate and its key");
        return None;
    }
    Some(Some(TlsFiles { cert: resolved(checker, table, "cert", cert)?, key: resolved(checker, table, "key", key)? }))
}

fn listen(checker: &mut Checker<'_>, table: &mut Dict, written: &[String]) -> Option<Vec<Listen>> {
    let base = checker.merged.base(table.get("listen")?).to_owned();
    let listen = each(checker, table, "listen", written, |address| Listen::parse(address, &base))?;
    let value = table.get_mut("listen")?;
    if listen.is_empty() {
        checker.refuse(&["server".to_owned(), "listen".to_owned()], value, "it must name at least one address");
        return None;
    }
    // The report shows paths as they are meant.
    let tag = value.tag();
    let shown = |listen: &Listen| Value::String(tag, listen.to_string());
    *value = match &listen[..] {
        [one] if value.as_str().is_some() => shown(one),
        several => Value::Array(tag, several.iter().map(shown).collect()),
    };
    Some(listen)
}

/// Each word of a list, read. The first one that can't be read is told.
fn each<T>(
    checker: &mut Checker<'_>,
    table: &Dict,
    key: &str,
    words: &[String],
    read: impl Fn(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    match words.iter().map(|word| read(word).map_err(|complaint| (word, complaint))).collect() {
        Ok(all) => Some(all),
        Err((word, complaint)) => {
            let value = table.get(key)?;
            // Of several the one that is meant has to be named.
            let complaint = if value.as_str().is_some() { complaint } else { format!("{word:?}: {complaint}") };
            checker.refuse(&["server".to_owned(), key.to_owned()], value, &complaint);
            None
        }
    }
}

/// A path in a table of the server's, resolved; the report shows it so.
pub(super) fn resolved(checker: &Checker<'_>, table: &mut Dict, key: &str, written: &str) -> Option<std::path::PathBuf> {
    let value = table.get_mut(key)?;
    let resolved = plain(&checker.merged.base(value).join(Path::new(written)));
    *value = Value::String(value.tag(), resolved.display().to_string());
    Some(resolved)
}

//! `[server]`: where it listens, who may ask, and how much at once.

use std::path::Path;

use figment::value::{Dict, Value};
use serde::Deserialize;

use super::check::{Checker, plain, section};
use super::keys::{self, KeysTable};
use super::listen::{Listen, check_host};
use super::settings::ServerSettings;
use super::words::Words;
use crate::door::origins::Origin;

/// Bytes that a body or a prompt may have at most: what a request holds in memory.
const MOST_BYTES: usize = 1 << 30;

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
    body_limit: usize,
    max_prompt_bytes: usize,
    header_timeout: f64,
    grace: f64,
    slots: bool,
    verbose: bool,
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
    let header_timeout = checker.wait(&path("header_timeout"), table, read.header_timeout);
    let grace = checker.span(&path("grace"), table, read.grace);
    Some(ServerSettings {
        listen: listen?,
        hosts: hosts?,
        origins: origins?,
        keys: keys?,
        allow_keyless: read.allow_keyless,
        body_limit: body_limit?,
        grace: grace?,
        header_timeout: header_timeout?,
        max_prompt_bytes: max_prompt_bytes?,
        slots: read.slots,
        verbose: read.verbose,
    })
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

/// A path of `[server]`, resolved; the report shows it so.
pub(super) fn resolved(checker: &Checker<'_>, table: &mut Dict, key: &str, written: &str) -> Option<std::path::PathBuf> {
    let value = table.get_mut(key)?;
    let resolved = plain(&checker.merged.base(value).join(Path::new(written)));
    *value = Value::String(value.tag(), resolved.display().to_string());
    Some(resolved)
}

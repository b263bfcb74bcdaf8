//! `[diagnostics]`: what the daemon says of itself.

use figment::value::Dict;
use serde::Deserialize;

use super::check::{Checker, section};
use crate::diagnostics::{self, DiagnosticsSettings, Format};

/// `[diagnostics]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DiagnosticsTable {
    filter: String,
    format: Format,
    otlp: String,
}

/// Checks `[diagnostics]`.
pub(super) fn check(checker: &mut Checker<'_>, table: &mut Dict) -> Option<DiagnosticsSettings> {
    let table = section(table, "diagnostics")?;
    let path = |key: &str| ["diagnostics".to_owned(), key.to_owned()];
    let DiagnosticsTable { filter, format, otlp } = checker.read(&["diagnostics".to_owned()], table, &[])?;
    if let Err(complaint) = diagnostics::check(&filter) {
        checker.refuse(&path("filter"), table.get("filter")?, &format!("it must be a filter as of RUST_LOG: {complaint}"));
        return None;
    }
    let otlp = (!otlp.is_empty()).then_some(otlp);
    if let Some(collector) = &otlp {
        let complaint = if !cfg!(feature = "otlp") {
            "this minivaultd was built without the feature `otlp`"
        } else if !["http://", "https://"].iter().any(|scheme| collector.starts_with(scheme)) {
            "it must be the address of a collector, as http://127.0.0.1:4318"
        } else {
            return Some(DiagnosticsSettings { filter, format, otlp });
        };
        checker.refuse(&path("otlp"), table.get("otlp")?, complaint);
        return None;
    }
    Some(DiagnosticsSettings { filter, format, otlp })
}

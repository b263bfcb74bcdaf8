//! Engines that aren't tried: whether what their tables name is on disk.

use std::path::Path;

use figment::value::Value;

use super::Finding;
use crate::config::EngineSettings;
use crate::nearest::nearest;

/// Looks for an engine's model where its table names a path; one from the hub or a package may be fetched when it is needed.
pub(super) fn finding(name: &str, engine: &EngineSettings) -> Option<Finding> {
    let model = engine.table.get("model").and_then(Value::as_str).filter(|model| model.starts_with(['/', '.']))?;
    let path = engine.opening.base.join(model);
    if path.exists() {
        return None;
    }
    let seen = format!("`{name}` can't be loaded: {} isn't there", path.display());
    let advice =
        neighbour(&path).map_or_else(|| format!("set engines.{name}.model to what is there"), |near| format!("did you mean `{near}`?"));
    Some(Finding::bad("engine", seen, advice))
}

/// A name beside it that is like its own.
fn neighbour(path: &Path) -> Option<String> {
    let names: Vec<String> = path.parent()?.read_dir().ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    nearest(path.file_name()?.to_str()?, names.iter().map(String::as_str)).map(str::to_owned)
}

//! `[aliases]`: other names that requests may call the engines by.

use std::collections::{BTreeMap, BTreeSet};

use figment::value::{Dict, Value};

use super::check::Checker;
use super::engine_tables::no_table;

/// Checks that every alias is a name of its own and stands for an engine.
pub(super) fn check(checker: &mut Checker<'_>, table: &mut Dict) -> BTreeMap<String, String> {
    let engines = table.get("engines").and_then(Value::as_dict);
    let engines: BTreeSet<String> = engines.into_iter().flat_map(Dict::keys).cloned().collect();
    let Some(Value::Dict(_, table)) = table.get_mut("aliases") else { return BTreeMap::new() };
    let section = ["aliases".to_owned()];
    let Some(aliases) = checker.read::<BTreeMap<String, String>>(&section, table, &[]) else { return BTreeMap::new() };
    for (alias, engine) in &aliases {
        let Some(value) = table.get(alias) else { continue };
        let path = [section[0].clone(), alias.clone()];
        if engines.contains(alias) {
            checker.refuse(&path, value, &format!("`{alias}` is the name of an engine, so nothing else can be called that"));
        } else if !engines.contains(engine) {
            checker.refuse(&path, value, &no_table(engine, &engines));
        }
    }
    aliases
}

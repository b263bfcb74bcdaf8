//! `minivault profiles`: the daemons that have a name.

use serde_json::json;

use crate::arguments::Report;
use crate::failure::Failure;
use crate::output::Output;
use crate::profiles::{self, KeySource};
use crate::table::columns;

/// Prints the list; a key is told by its place only.
pub fn run(arguments: &Report, chosen: Option<&str>, output: &mut Output) -> Result<(), Failure> {
    let (path, profiles) = profiles::all()?;
    if arguments.json {
        let list = profiles.iter().map(|profile| {
            let key = profile.key.as_ref().map(KeySource::describe);
            json!({"name": profile.name, "url": profile.url.as_str(), "key": key})
        });
        return output.line(&json!(list.collect::<Vec<_>>()).to_string());
    }
    if profiles.is_empty() {
        output.note(&format!("no profiles in {}", path.display()));
        return Ok(());
    }
    let mut rows = vec![["NAME", "URL", "KEY"].map(str::to_owned).to_vec()];
    rows.extend(profiles.iter().map(|profile| {
        let mark = if chosen == Some(profile.name.as_str()) { " *" } else { "" };
        let key = profile.key.as_ref().map_or("-".into(), KeySource::describe);
        vec![format!("{}{mark}", profile.name), profile.url.to_string(), key]
    }));
    columns(&rows).iter().try_for_each(|line| output.line(line))
}

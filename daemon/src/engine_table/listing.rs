//! All engines at one moment, and what they are called.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::entry::{Entry, Phase};
use crate::error::ApiError;

/// What the configuration says of engines.
#[derive(Clone)]
pub(super) struct Listing {
    pub default: String,
    pub entries: BTreeMap<String, Arc<Entry>>,
    pub aliases: BTreeMap<String, String>,
}

/// What is told of an engine.
pub struct Entrant {
    entry: Arc<Entry>,
    /// How far it is.
    pub phase: Phase,
}

impl Listing {
    /// The engine that is meant by what a request calls its model: the default one where it names none.
    ///
    /// # Errors
    /// No engine is called that.
    pub fn resolve(&self, name: Option<&str>) -> Result<&Arc<Entry>, ApiError> {
        let name = name.unwrap_or(&self.default);
        let alias = || self.aliases.get(name).or_else(|| self.aliases.get("*"));
        self.entries.get(name).or_else(|| self.entries.get(alias()?)).ok_or_else(|| {
            let entrants = self.entrants();
            let names = entrants.iter().map(Entrant::name).chain(self.aliases.keys().map(String::as_str));
            ApiError::unknown_model(name, &names.collect::<Vec<_>>())
        })
    }

    /// All names of an engine: its own, then others that stand for it alone.
    pub fn names_of(&self, engine: &str) -> Vec<String> {
        let others = self.aliases.iter().filter(|(alias, target)| *target == engine && *alias != "*");
        std::iter::once(engine.to_owned()).chain(others.map(|(alias, _)| alias.clone())).collect()
    }

    /// The engine that answers when a request names none.
    pub fn default(&self) -> Option<&Arc<Entry>> {
        self.entries.get(&self.default)
    }

    /// All engines, the default one first.
    pub fn entrants(&self) -> Vec<Entrant> {
        let entrant = |entry: &Arc<Entry>| Entrant { entry: entry.clone(), phase: entry.phase.borrow().clone() };
        let mut entrants: Vec<_> = self.entries.values().map(entrant).collect();
        entrants.sort_by_key(|entrant| entrant.name() != self.default);
        entrants
    }

    /// The engine that stands in for one.
    pub fn fallback(&self, entry: &Entry) -> Option<&Arc<Entry>> {
        self.entries.get(entry.fallback.as_ref()?)
    }

    /// An engine, and those that stand in for it one after the other.
    pub fn with_fallbacks<'a>(&'a self, entry: &'a Arc<Entry>) -> impl Iterator<Item = &'a Arc<Entry>> {
        std::iter::successors(Some(entry), |entry| self.fallback(entry))
    }
}

impl Entrant {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.entry.name
    }

    /// Its backend.
    pub fn backend(&self) -> &str {
        &self.entry.backend
    }

    /// Words that the configuration describes it with.
    pub fn tags(&self) -> &[String] {
        &self.entry.tags
    }
}

//! For the tests of engines: a scripted model, and the conformance kit that every engine passes.

pub mod conformance;
mod gate;
pub mod oracles;
mod schemas;
mod scripted;

pub use gate::Gate;
pub use schemas::random_schema;
pub use scripted::{Fault, SCRIPT, Script, ScriptedBackend, ScriptedConfig, ScriptedLoader, ScriptedModel, ScriptedVocabulary, StepRecord};

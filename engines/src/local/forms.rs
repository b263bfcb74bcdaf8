//! The form that an answer must have, from its request: what the grammar compiles to, and how calls of tools are read.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Semaphore;

use crate::chat::ToolForm;
use crate::chat::tools::{self, ToolCallReader};
use crate::decoding::constraint::{COMPILED_WITHIN, Grammars, Matcher};
use crate::error::{EngineError, Result};
use crate::generation::Beginning;
use crate::model::Vocabulary;
use crate::request::{Constraint, ToolChoice};

/// Grammars that are compiled at once.
const COMPILED_AT_ONCE: usize = 2;

/// What an engine knows of forms.
pub(super) struct Forms {
    grammars: Arc<Grammars>,
    compilers: Arc<Semaphore>,
}

/// The calls that an answer may have.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    form: ToolForm,
    names: Vec<String>,
    prescribed: bool,
}

impl Forms {
    pub fn new(vocabulary: Arc<dyn Vocabulary>) -> Self {
        Self { grammars: Arc::new(Grammars::new(vocabulary)), compilers: Arc::new(Semaphore::new(COMPILED_AT_ONCE)) }
    }

    /// The matcher of an answer at its beginning, and how calls in it are to be read. `tool_form` is how the model writes calls of these
    /// tools, if it has been told of them.
    pub async fn of_answer(
        &self,
        constraint: Option<Constraint>,
        tool_form: Option<ToolForm>,
        tools: &[Value],
        choice: &ToolChoice,
    ) -> Result<(Option<Matcher>, Option<Calls>)> {
        let Some(form) = tool_form else {
            let matcher = match constraint {
                None => None,
                Some(constraint) => Some(self.matcher(constraint).await?),
            };
            return Ok((matcher, None));
        };
        if let Some(constraint) = constraint {
            let message = "the form of an answer can't be prescribed while the model may call tools";
            return Err(EngineError::invalid(constraint.param(), message));
        }
        let matcher = match tools::prescribed(tools, choice, form) {
            None => None,
            Some(call) => Some(self.matcher(call).await.map_err(|error| error.about("tools"))?),
        };
        let calls = Calls { form, names: tools::names(tools), prescribed: matcher.is_some() };
        Ok((matcher, Some(calls)))
    }

    async fn matcher(&self, constraint: Constraint) -> Result<Matcher> {
        if let Some(matcher) = self.grammars.recall(&constraint) {
            return Ok(matcher);
        }
        let (param, noun) = (constraint.param(), constraint.noun());
        let grammars = self.grammars.clone();
        // The permit goes with the work: what takes too long goes on to its end and holds it.
        let permit = self.compilers.clone().acquire_owned().await.map_err(|_| EngineError::Stopped)?;
        let work = move || {
            let _permit = permit;
            grammars.compile(&constraint)
        };
        match tokio::time::timeout(COMPILED_WITHIN, tokio::task::spawn_blocking(work)).await {
            Ok(matcher) => matcher.map_err(EngineError::failed)?,
            Err(_) => {
                let message = format!("the {noun} takes more than {} s to compile, which is the limit", COMPILED_WITHIN.as_secs());
                Err(EngineError::invalid(param, message))
            }
        }
    }
}

impl Calls {
    /// A reader for one answer; the names of its calls come from its prompt and seed.
    pub fn reader(&self, beginning: &Beginning) -> ToolCallReader {
        let origin = format!("{} {}", beginning.seed, beginning.prompt_text);
        ToolCallReader::new(self.form, self.names.clone(), self.prescribed, origin.as_bytes())
    }
}

//! llama.cpp tells why it failed only in its log, so the log is listened to while a model is loaded.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, Subscriber};
use tracing::{Dispatch, Event, Level, Metadata, dispatcher};

/// The target under which `llama-cpp-2` passes llama.cpp's log on.
const TARGET: &str = "llama-cpp-2";

/// Does some work and returns its result with the first error that llama.cpp logged meanwhile on this thread; the first one is
/// nearest to the cause. Whoever else listens to the log hears all of it as before.
pub fn listening<T>(work: impl FnOnce() -> T) -> (T, Option<String>) {
    let first = Arc::new(Mutex::new(None));
    let listener = Listener { outer: dispatcher::get_default(Dispatch::clone), first: first.clone() };
    let result = dispatcher::with_default(&Dispatch::new(listener), work);
    // The listener made every callsite ask anew each time; without it they may remember their answer again.
    tracing::callsite::rebuild_interest_cache();
    let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
    (result, first)
}

/// Passes everything on and keeps the first error.
struct Listener {
    outer: Dispatch,
    first: Arc<Mutex<Option<String>>>,
}

impl Listener {
    fn listens_to(metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && metadata.target() == TARGET
    }
}

impl Subscriber for Listener {
    fn register_callsite(&self, _metadata: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        Self::listens_to(metadata) || self.outer.enabled(metadata)
    }

    fn event(&self, event: &Event<'_>) {
        if Self::listens_to(event.metadata()) {
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            if first.is_none() {
                event.record(&mut Message(&mut first));
            }
        }
        if self.outer.enabled(event.metadata()) {
            self.outer.event(event);
        }
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        self.outer.new_span(attributes)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.outer.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.outer.record_follows_from(span, follows);
    }

    fn enter(&self, span: &Id) {
        self.outer.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.outer.exit(span);
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.outer.clone_span(span)
    }

    fn try_close(&self, span: Id) -> bool {
        self.outer.try_close(span)
    }
}

/// Takes an event's message.
struct Message<'a>(&'a mut Option<String>);

impl Visit for Message<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            *self.0 = Some(value.trim().to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            *self.0 = Some(format!("{value:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_kept_and_the_result_returned() {
        let (result, first) = listening(|| {
            tracing::error!(target: "elsewhere", "not this one");
            tracing::warn!(target: TARGET, "nor this one");
            tracing::error!(target: TARGET, "unknown model architecture: 'gtp2'");
            tracing::error!(target: TARGET, "failed to load model");
            7
        });
        assert_eq!((result, first.as_deref()), (7, Some("unknown model architecture: 'gtp2'")));
        tracing::error!(target: TARGET, "nobody listens any more");
        assert_eq!(listening(|| ()).1, None);
    }
}

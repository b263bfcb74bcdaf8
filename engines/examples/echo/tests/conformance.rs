//! The engine keeps what every engine promises.
#![allow(clippy::unwrap_used)]

use minivault_echo::{Echo, EchoConfig};
use minivault_engines::testkit::conformance::{Subject, check};
use minivault_engines::{Backend, Opening};

#[tokio::test]
async fn echo_passes_the_conformance_kit() {
    let open = || async {
        let opening = Opening { name: "parrot".into(), ..Opening::default() };
        Echo.open(&opening, &EchoConfig { slots: 3, queue: 5, pace: 0 }).await
    };
    let others = ["Zwölf Boxkämpfer", "🥊🇩🇪", "another"].map(str::to_owned).to_vec();
    check(&Subject {
        open: Box::new(move || Box::pin(open())),
        prompt: "Hello, wörld! ".into(),
        others,
        capacity: Some(8),
        variants: Vec::new(),
        reuses_prefixes: false,
        // It says the prompt again from its end on.
        knows_tokens_alone: false,
    })
    .await;
}

//! Refusals that routes have in common, said once: with an example of each code at every route the document would be three times as long.

use std::collections::BTreeMap;

use utoipa::openapi::{OpenApi, Ref, RefOr, Response};

/// Moves each refusal into the document's components and leaves a reference in its place; equal ones are one there.
pub(super) fn share(document: &mut OpenApi) {
    let mut shared: BTreeMap<String, RefOr<Response>> = BTreeMap::new();
    for item in document.paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            for (status, response) in &mut operation.responses.responses {
                if !status.starts_with(['4', '5']) {
                    continue;
                }
                let names = std::iter::once(format!("Refused{status}")).chain((2..).map(|other| format!("Refused{status}-{other}")));
                for name in names {
                    let there = shared.entry(name.clone()).or_insert_with(|| response.clone());
                    if there == response {
                        *response = RefOr::Ref(Ref::from_response_name(name));
                        break;
                    }
                }
            }
        }
    }
    document.components.get_or_insert_default().responses = shared;
}

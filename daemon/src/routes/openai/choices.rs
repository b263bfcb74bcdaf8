//! Several answers to one request, whole or as they go on.

use futures_util::stream::{Stream, select_all};
use minivault_engines::Usage;

use crate::error::ApiError;
use crate::interaction::{Answer, Interaction, Next};

/// All answers whole, in their order.
///
/// # Errors
/// As soon as one fails; the others are cancelled.
pub(super) async fn collect(interactions: &mut [Interaction]) -> Result<Vec<Answer>, ApiError> {
    collect_watched(interactions, |_| {}).await
}

/// The same, while somebody watches them come, one after the other.
///
/// # Errors
/// As soon as one fails; the others are cancelled.
pub(super) async fn collect_watched(interactions: &mut [Interaction], mut watch: impl FnMut(&Next)) -> Result<Vec<Answer>, ApiError> {
    let mut answers = Vec::with_capacity(interactions.len());
    // The engine never waits for a reader, so they all go on meanwhile.
    for interaction in interactions {
        answers.push(interaction.collect_watched(&mut watch).await?);
    }
    Ok(answers)
}

/// What comes next of each, with its place, as it comes. After an error of one nothing is to be taken any more.
pub(super) fn events(interactions: Vec<Interaction>) -> impl Stream<Item = (usize, Result<Next, ApiError>)> + Send {
    select_all(interactions.into_iter().enumerate().map(|(index, interaction)| Box::pin(events_of(index, interaction))))
}

fn events_of(index: usize, mut interaction: Interaction) -> impl Stream<Item = (usize, Result<Next, ApiError>)> + Send {
    async_stream::stream! {
        loop {
            let next = interaction.next().await;
            let goes_on = !matches!(next, Ok(Next::Finished(_)) | Err(_));
            yield (index, next);
            if !goes_on {
                return;
            }
        }
    }
}

/// Keeps count of the answers of a stream: what each took, once it has ended.
pub(super) struct Ends(Vec<Option<Usage>>);

impl Ends {
    /// None of so many answers has ended.
    pub fn new(answers: usize) -> Self {
        Self(vec![None; answers])
    }

    /// One has ended. Returns what all took, once it was the last.
    pub fn note(&mut self, index: usize, usage: Usage) -> Option<Vec<Usage>> {
        self.0[index] = Some(usage);
        self.0.iter().copied().collect()
    }
}

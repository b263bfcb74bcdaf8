//! Tokens, counted as OpenAI does.

use minivault_engines::Usage;
use minivault_wire::usage::{OpenAiUsage, PromptTokensDetails};

/// The sum over the answers of a request, in their order. There are `choices` to each prompt, which is counted once.
pub(super) fn sum(usages: impl IntoIterator<Item = Usage>, choices: usize) -> OpenAiUsage {
    let mut sum = OpenAiUsage::default();
    for (index, Usage { prompt_tokens, completion_tokens, cached_tokens }) in usages.into_iter().enumerate() {
        if index % choices == 0 {
            sum.prompt_tokens += prompt_tokens;
            let PromptTokensDetails { cached_tokens: cached } = &mut sum.prompt_tokens_details;
            *cached += cached_tokens;
        }
        sum.completion_tokens += completion_tokens;
    }
    sum.total_tokens = sum.prompt_tokens + sum.completion_tokens;
    sum
}

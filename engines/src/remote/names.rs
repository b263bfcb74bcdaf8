//! The tokens that an upstream has told of.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::request::TokenId;

/// Tokens that are remembered; a vocabulary has fewer.
const MOST: usize = 1 << 20;

/// Tokens by their ids, as far as they have been seen.
///
/// OpenAI's API tells tokens as texts and bytes, and only llama-server adds their ids. A token without one gets an id of this engine's
/// own, counted down from the highest number, where no vocabulary reaches.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    bytes: HashMap<TokenId, Vec<u8>>,
    own: HashMap<Vec<u8>, TokenId>,
}

impl Names {
    /// The id of a token with these bytes: the one that the server told, or one of this engine's own.
    pub fn id(&self, told: Option<TokenId>, bytes: &[u8]) -> TokenId {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.bytes.len() >= MOST {
            *known = Known::default();
        }
        if let Some(id) = told {
            known.bytes.entry(id).or_insert_with(|| bytes.to_vec());
            return id;
        }
        if let Some(id) = known.own.get(bytes) {
            return *id;
        }
        let id = TokenId::MAX - TokenId::try_from(known.own.len()).unwrap_or(0);
        known.own.insert(bytes.to_vec(), id);
        known.bytes.insert(id, bytes.to_vec());
        id
    }

    /// The bytes of a token that was told of.
    pub fn bytes(&self, id: TokenId) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).bytes.get(&id).cloned()
    }
}

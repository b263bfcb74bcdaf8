//! Bytes of all kinds.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// Bytes alone, and seeds with some of their bytes changed, taken out or put in.
pub fn anything(seeds: Vec<Vec<u8>>) -> BoxedStrategy<Vec<u8>> {
    let bytes = prop_oneof![vec(any::<u8>(), 0..80), vec(any::<u8>(), 0..500)];
    if seeds.is_empty() {
        return bytes.boxed();
    }
    let change = (any::<Index>(), 0_usize..6, vec(any::<u8>(), 0..6));
    let changed = (any::<Index>(), vec(change, 0..6)).prop_map(move |(seed, changes)| {
        let mut bytes = seed.get(&seeds).clone();
        for (place, removed, put) in changes {
            let place = place.index(bytes.len() + 1);
            let end = (place + removed).min(bytes.len());
            bytes.splice(place..end, put);
        }
        bytes
    });
    prop_oneof![3 => bytes, 1 => changed].boxed()
}

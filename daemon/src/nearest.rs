//! What was probably meant.

/// The candidate that was probably meant. One wrong character in three is still taken for a slip.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |candidate: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase());
    let near = |candidate: &&str| distance(candidate) <= candidate.chars().count().max(name.chars().count()) / 3;
    candidates.into_iter().filter(near).min_by_key(|candidate| distance(candidate))
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let keys = ["listen", "grace", "body_limit", "max_tokens"];
        for (written, meant) in
            [("lisen", Some("listen")), ("LISTEN", Some("listen")), ("max-tokens", Some("max_tokens")), ("port", None), ("x", None)]
        {
            assert_eq!(nearest(written, keys), meant, "{written}");
        }
    }
}

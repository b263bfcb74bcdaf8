//! What was probably meant.

/// The word that was probably meant. One wrong character in three is still taken for a slip.
pub fn nearest<'a>(typed: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |word: &str| strsim::damerau_levenshtein(&typed.to_lowercase(), &word.to_lowercase());
    let is_near = |word: &&str| distance(word) <= word.chars().count().max(typed.chars().count()) / 3;
    words.into_iter().filter(is_near).min_by_key(|word| distance(word))
}

/// `did you mean x?`; what else there is to say where nothing was probably meant.
pub fn did_you_mean<'a>(typed: &str, words: impl IntoIterator<Item = &'a str>, or: &str) -> String {
    nearest(typed, words).map_or_else(|| or.to_owned(), |word| format!("did you mean {word}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let words = ["/model", "/set", "/save"];
        for (typed, meant) in
            [("/modle", Some("/model")), ("/Model", Some("/model")), ("/sav", Some("/save")), ("/sing", None), ("/", None)]
        {
            assert_eq!(nearest(typed, words), meant, "{typed}");
        }
        assert_eq!(did_you_mean("/modle", words, "no"), "did you mean /model?");
        assert_eq!(did_you_mean("/sing", words, "no"), "no");
    }
}

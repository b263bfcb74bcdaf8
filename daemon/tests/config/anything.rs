//! Files that nobody would write: they are refused with their place, or read; nothing panics.

use proptest::prelude::*;

use crate::kit::Setup;

const COMMITTED: &str = include_str!("../../../config.toml");

proptest! {
    #[test]
    fn anything_at_all(text in "(\\[|\\]|=|\"|#|\n|server|engines|listen|keys|[a-z.]|\\PC){0,60}") {
        let _ = Setup::file(&text).try_load();
    }

    #[test]
    fn the_committed_file_with_a_piece_of_it_changed(place in any::<prop::sample::Index>(), length in 0_usize..20, piece in "(-1|0|\"|\\[|\\]|=|true|\n|[a-z]|\\PC){0,5}") {
        let lines: Vec<&str> = COMMITTED.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        let text = lines.join("\n");
        let start = (0..=place.index(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        let end = (start..=(start + length).min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        if let Err(error) = Setup::file(&format!("{}{piece}{}", &text[..start], &text[end..])).try_load() {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

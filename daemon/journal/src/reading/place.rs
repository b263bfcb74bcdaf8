//! Where a line stands in the log, as a number that grows from line to line: what pages are asked for by.

/// Before it there is no line.
const UNNUMBERED: i64 = -(1 << 53);

/// A line's `seq`; a line without one, of the Python original, has a negative place made of where it begins in its file. Such lines stand
/// before all others, in one file. In JSON every place is a number that JavaScript, too, reads exactly.
pub type Place = i64;

/// The place of the line with this number.
pub(super) fn numbered(seq: u64) -> Place {
    Place::try_from(seq).unwrap_or(Place::MAX)
}

/// The place of a line without a number that begins so many bytes behind its file's beginning.
pub(super) fn unnumbered(offset: u64) -> Place {
    UNNUMBERED.saturating_add_unsigned(offset).min(-1)
}

/// The place of the first line of a sealed file, whose name tells 0 where that line has no number.
pub(super) fn first(first_seq: u64) -> Place {
    if first_seq == 0 { UNNUMBERED } else { numbered(first_seq) }
}

/// How many bytes of a file with such lines stand before this place; `None`: it is that of a line with a number.
pub(super) fn offset(place: Place) -> Option<u64> {
    (place < 0).then(|| place.abs_diff(UNNUMBERED)).map(|offset| if place < UNNUMBERED { 0 } else { offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_grow_from_line_to_line_and_tell_where_they_are() {
        let places = [first(0), unnumbered(1), unnumbered(1 << 40), first(1), numbered(2), numbered(u64::MAX)];
        assert!(places.is_sorted_by(|one, other| one < other), "{places:?}");
        assert_eq!(places.map(offset), [Some(0), Some(1), Some(1 << 40), None, None, None]);
        assert_eq!(offset(Place::MIN), Some(0));
    }
}

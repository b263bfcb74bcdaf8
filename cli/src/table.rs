//! Columns and bars of characters.

/// Characters of the longest bar, where there is room for it.
const BAR: usize = 24;
/// A bar shorter than that tells nothing.
const SHORTEST_BAR: usize = 8;

/// Columns between two columns of a table.
const GAP: usize = 2;

/// Milliseconds in a cell; a dash where nothing was measured.
pub fn ms(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.1} ms"))
}

/// The rows' columns that a terminal has room for, in their order; of `by_importance` the first is always among them. Without a `width` all are.
pub fn fitting(rows: &[Vec<String>], by_importance: &[usize], width: Option<usize>) -> Vec<usize> {
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column)).map(|cell| cell.chars().count());
    let room = width.unwrap_or(usize::MAX);
    let mut used = 0;
    let fits = |column: &usize| {
        used += cells(*column).max().unwrap_or(0) + if used == 0 { 0 } else { GAP };
        *column == by_importance[0] || used <= room
    };
    let mut columns: Vec<usize> = by_importance.iter().copied().take_while(fits).collect();
    columns.sort_unstable();
    columns
}

/// The same rows with those columns only.
pub fn fitted(rows: &[Vec<String>], by_importance: &[usize], width: Option<usize>) -> Vec<Vec<String>> {
    let columns = fitting(rows, by_importance, width);
    let row = |row: &Vec<String>| columns.iter().filter_map(|&column| row.get(column).cloned()).collect();
    rows.iter().map(row).collect()
}

/// Rows whose cells line up: the first column to the left, the numbers after it to the right.
pub fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 => format!("{cell:width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// The same under a row of headings, with a bar behind each row whose longest one is for `most`. Where a terminal's `width` has no room for
/// bars there are none.
pub fn with_bars(rows: &[Vec<String>], values: impl IntoIterator<Item = f64>, most: f64, width: Option<usize>) -> Vec<String> {
    let lines = columns(rows);
    let widest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let room = width.map_or(BAR, |width| width.saturating_sub(widest + 2).min(BAR));
    if room < SHORTEST_BAR {
        return lines;
    }
    let bars = [String::new()].into_iter().chain(values.into_iter().map(|value| bar(value, most, room)));
    lines.into_iter().zip(bars).map(|(line, bar)| format!("{line:widest$}  {bar}").trim_end().to_owned()).collect()
}

/// Anything above nothing shows.
fn bar(value: f64, most: f64, longest: usize) -> String {
    let share = if most > 0.0 { (value / most).clamp(0.0, 1.0) } else { 0.0 };
    "█".repeat((share * longest as f64).ceil() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_under_each_other() {
        let row = |cells: &[&str]| cells.iter().map(ToString::to_string).collect::<Vec<_>>();
        let lines = columns(&[row(&["", "TOKENS/S"]), row(&["one", "12.0"]), row(&["a"])]);
        assert_eq!(lines, ["     TOKENS/S", "one      12.0", "a"]);
    }

    #[test]
    fn a_narrow_terminal_loses_the_least_important_columns_first() {
        let rows = [vec!["NAME".to_owned(), "NUMBER".to_owned(), "LAST".to_owned()]];
        let check = |width, expected: &[usize]| assert_eq!(fitting(&rows, &[0, 2, 1], width), expected, "{width:?}");
        check(None, &[0, 1, 2]);
        check(Some(18), &[0, 1, 2]);
        check(Some(17), &[0, 2]);
        check(Some(9), &[0]);
        check(Some(1), &[0]);
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let length = |value, most| bar(value, most, 24).chars().count();
        assert_eq!([length(6.0, 24.0), length(24.0, 24.0), length(0.01, 24.0), length(0.0, 24.0), length(1.0, 0.0)], [6, 24, 1, 0, 0]);
    }

    #[test]
    fn bars_have_the_room_that_a_terminal_leaves_them() {
        let rows = [vec!["NAME".to_owned()], vec!["one".to_owned()]];
        let check = |width, length: usize| {
            let lines = with_bars(&rows, [1.0], 1.0, width);
            assert_eq!(lines, ["NAME".to_owned(), format!("one   {}", "█".repeat(length)).trim_end().to_owned()]);
        };
        check(None, 24);
        check(Some(200), 24);
        check(Some(16), 10);
        check(Some(12), 0);
    }
}

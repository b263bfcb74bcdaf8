//! Columns and bars of characters.

/// Characters of the longest bar.
const BAR: usize = 24;

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

/// A bar for a value where the longest one is for `most`; anything above nothing shows.
pub fn bar(value: f64, most: f64) -> String {
    let share = if most > 0.0 { (value / most).clamp(0.0, 1.0) } else { 0.0 };
    "█".repeat((share * BAR as f64).ceil() as usize)
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
    fn bars_are_as_long_as_their_values() {
        assert_eq!((bar(6.0, 24.0).chars().count(), bar(24.0, 24.0).chars().count()), (6, 24));
        assert_eq!((bar(0.01, 24.0).chars().count(), bar(0.0, 24.0), bar(1.0, 0.0)), (1, String::new(), String::new()));
    }
}

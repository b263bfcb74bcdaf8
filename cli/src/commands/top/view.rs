//! A daemon's history on a screen: a table of its engines with a gauge for the slots of each, and the curve of its throughput.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Borders, Cell, LineGauge, Paragraph, RenderDirection, Row, Sparkline, Table, Wrap};

use super::history::{HEADINGS, History};
use crate::output::printable;

/// Columns between two columns of the table.
const GAP: u16 = 2;
/// The columns by their places in [`HEADINGS`], those first that a narrow terminal loses last.
const BY_IMPORTANCE: [usize; HEADINGS.len()] = [0, 2, 7, 6, 1, 3, 4, 5];
/// A gauge shorter than that tells nothing, and a longer one than the other nothing more.
const GAUGE: (u16, u16) = (8, 40);
/// Lines of a curve that is worth a frame.
const CURVE: u16 = 3;

/// How things look: in colours, or as a terminal without them has it.
#[derive(Clone, Copy)]
pub struct Look {
    pub styled: bool,
}

impl Look {
    fn of(self, style: Style) -> Style {
        if self.styled { style } else { Style::new() }
    }

    fn strong(self) -> Style {
        self.of(Style::new().add_modifier(Modifier::BOLD))
    }

    fn faint(self) -> Style {
        self.of(Style::new().add_modifier(Modifier::DIM))
    }

    fn filled(self) -> Style {
        self.of(Style::new().fg(Color::Cyan))
    }

    fn state(self, state: &str) -> Style {
        self.of(match state {
            "ready" => Style::new().fg(Color::Green),
            "loading" => Style::new().fg(Color::Yellow),
            "failed" => Style::new().fg(Color::Red),
            _ => Style::new(),
        })
    }
}

/// Draws as much of it as there is room for.
pub fn draw(frame: &mut Frame<'_>, history: &History, look: Look) {
    let area = frame.area();
    let lines = u16::try_from(history.rows().len()).unwrap_or(u16::MAX).saturating_add(1);
    // On a low terminal the table comes before its frame, and before the words at the bottom.
    let edges = if area.height >= lines.saturating_add(1 + 2 + CURVE + 2 + 1) { 2 } else { 0 };
    let foot = u16::from(area.height > lines.saturating_add(1));
    let table = Constraint::Length(lines.saturating_add(edges).min(area.height.saturating_sub(1 + foot)));
    let [head, table, curve, foot] =
        Layout::vertical([Constraint::Length(1), table, Constraint::Fill(1), Constraint::Length(foot)]).areas(area);
    frame.render_widget(Line::styled(printable(&history.title()).into_owned(), look.strong()), head);
    frame.render_widget(Line::styled("q leaves", look.faint()), foot);
    let frames = if edges > 0 { Borders::ALL } else { Borders::NONE };
    if let Some(why) = &history.lost {
        // What was seen before tells nothing of now.
        let why = Paragraph::new(Text::raw(printable(why).into_owned())).wrap(Wrap { trim: false });
        frame.render_widget(why, table.union(curve));
        return;
    }
    engines(frame, history, look, table, Block::new().borders(frames));
    throughput(frame, history, look, curve, Block::new().borders(frames));
}

/// The table, and behind it the gauges.
fn engines(frame: &mut Frame<'_>, history: &History, look: Look, area: Rect, block: Block<'_>) {
    let inner = block.inner(area);
    frame.render_widget(block.border_style(look.faint()), area);
    let rows = history.rows();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| Line::raw(row.cells[column].as_str()).width());
        let widest = cells.chain([HEADINGS[column].len()]).max().unwrap_or(0);
        u16::try_from(widest).unwrap_or(u16::MAX)
    };
    let columns = fitting(width, inner.width);
    let aligned = |column: usize, text: &str| {
        let alignment = if column < 2 { Alignment::Left } else { Alignment::Right };
        Text::from(printable(text).into_owned()).alignment(alignment)
    };
    let header = Row::new(columns.iter().map(|&column| aligned(column, HEADINGS[column]))).style(look.strong());
    let cells = rows.iter().map(|row| {
        Row::new(columns.iter().map(|&column| {
            let style = if column == 1 { look.state(&row.state) } else { Style::new() };
            Cell::new(aligned(column, &row.cells[column])).style(style)
        }))
    });
    let widths: Vec<u16> = columns.iter().map(|&column| width(column)).collect();
    let used = widths.iter().fold(0_u16, |sum, width| sum.saturating_add(*width + GAP));
    frame.render_widget(Table::new(cells, widths).column_spacing(GAP).header(header), inner);
    let room = inner.width.saturating_sub(used).min(GAUGE.1);
    if room < GAUGE.0 {
        return;
    }
    // The widget puts a blank in front of itself, which is one of the gap's.
    for (row, line) in rows.iter().zip(inner.top() + 1..inner.bottom()) {
        let Some(busy) = row.busy else { continue };
        let gauge = LineGauge::default().ratio(busy).label("").filled_symbol("█").unfilled_symbol("░");
        let gauge = gauge.filled_style(look.filled()).unfilled_style(look.faint());
        frame.render_widget(gauge, Rect::new(inner.left() + used - 1, line, room + 1, 1));
    }
}

/// Tokens per second, the newest to the right.
fn throughput(frame: &mut Frame<'_>, history: &History, look: Look, area: Rect, block: Block<'_>) {
    let room = usize::from(block.inner(area).width);
    let shown: Vec<f64> = history.throughput.iter().rev().take(room).copied().collect();
    let most = shown.iter().copied().fold(0.0, f64::max);
    // Whole numbers are all that the widget takes; tenths are what the title shows.
    let tenths = |value: f64| (value.max(0.0) * 10.0).round() as u64;
    let title = format!("tokens/s, second by second, {most:.1} at most");
    let curve = Sparkline::default()
        .block(block.title(title).border_style(look.faint()))
        .data(shown.iter().map(|&value| tenths(value)))
        .max(tenths(most).max(1))
        .direction(RenderDirection::RightToLeft)
        .style(look.filled());
    // A title alone would be a curve of which nothing is seen.
    if area.height > 1 {
        frame.render_widget(curve, area);
    }
}

/// The columns that a terminal has room for, in their order; the first one always.
fn fitting(width: impl Fn(usize) -> u16, room: u16) -> Vec<usize> {
    let mut used = 0_u16;
    let fits = |column: &usize| {
        used = used.saturating_add(width(*column)).saturating_add(if *column == BY_IMPORTANCE[0] { 0 } else { GAP });
        *column == BY_IMPORTANCE[0] || used <= room
    };
    let mut columns: Vec<usize> = BY_IMPORTANCE.into_iter().take_while(fits).collect();
    columns.sort_unstable();
    columns
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;

    use super::super::history::tests::{counts, sample};
    use super::super::sample::Counts;
    use super::*;

    fn history() -> History {
        let start = Instant::now();
        let mut history = History::new("http://d".into(), sample(start, 0, 0, Counts::default()));
        for (second, tokens) in [(1, 10.0), (2, 15.0), (3, 35.0)] {
            history.add(sample(start, second, 2, counts(tokens)));
        }
        history
    }

    fn drawn(history: &History, (width, height): (u16, u16), styled: bool) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, history, Look { styled })).unwrap();
        terminal.backend().buffer().clone()
    }

    #[track_caller]
    fn check(history: &History, size: (u16, u16), expected: &[&str]) {
        let buffer = drawn(history, size, true);
        let line = |cells: &[ratatui::buffer::Cell]| cells.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned();
        let lines: Vec<String> = buffer.content.chunks(size.0.into()).map(line).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_table_gauges_and_a_curve_fill_a_terminal() {
        check(
            &history(),
            (96, 12),
            &[
                "minivaultd at http://d: 20.0 tokens/s",
                &format!("┌{}┐", "─".repeat(94)),
                "│ENGINE  STATE  TOKENS/S  FIRST TOKEN  BETWEEN TOKENS  ANSWERS  WAITING  SLOTS                 │",
                "│a       ready      11.7     200.0 ms         10.0 ms        1        1    2/4  ███████░░░░░░░░│",
                &format!("└{}┘", "─".repeat(94)),
                &format!("┌tokens/s, second by second, 20.0 at most{}┐", "─".repeat(54)),
                &format!("│{:>94}│", "█"),
                &format!("│{:>94}│", "█"),
                &format!("│{:>94}│", "█ █"),
                &format!("│{:>94}│", "███"),
                &format!("└{}┘", "─".repeat(94)),
                "q leaves",
            ],
        );
    }

    #[test]
    fn a_small_terminal_keeps_what_matters_most() {
        check(
            &history(),
            (44, 6),
            &[
                "minivaultd at http://d: 20.0 tokens/s",
                "ENGINE  STATE  TOKENS/S  WAITING  SLOTS",
                "a       ready      11.7        1    2/4",
                "tokens/s, second by second, 20.0 at most",
                &format!("{:>44}", "▄▂█"),
                "q leaves",
            ],
        );
        check(&history(), (20, 3), &["minivaultd at http:/", "ENGINE  TOKENS/S", "a           11.7"]);
        check(&history(), (5, 1), &["miniv"]);
    }

    #[test]
    fn a_lost_daemon_is_all_that_is_told() {
        let mut history = history();
        history.lost("no daemon answers\nStart it with \u{1b}[2J".into());
        check(&history, (30, 6), &["minivaultd at http://d: 20.0 t", "no daemon answers", "Start it with \u{fffd}[2J", "", "", "q leaves"]);
        history.add(sample(Instant::now(), 9, 0, counts(50.0)));
        assert!(history.lost.is_none());
    }

    #[test]
    fn without_styles_no_cell_has_one() {
        let plain = |buffer: &Buffer| {
            buffer.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset && cell.modifier.is_empty())
        };
        assert!(plain(&drawn(&history(), (96, 12), false)));
        assert!(!plain(&drawn(&history(), (96, 12), true)));
    }
}

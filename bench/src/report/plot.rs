//! Bars, drawn by hand: a chart is a list of rectangles, and no library knows more about these.

use std::fmt::Write as _;

use crate::case::Dtype;
use crate::row::Row;

const WIDTH: f64 = 860.0;
/// Where bars begin, and how long the longest is.
const LEFT: f64 = 330.0;
const LONGEST: f64 = 440.0;
const BAR: f64 = 15.0;
const COLOURS: [&str; 5] = ["#d1495b", "#30638e", "#edae49", "#66a182", "#8d96a3"];

/// Bars that belong together, under one label.
struct Cluster {
    label: String,
    bars: Vec<(String, f64)>,
}

/// Tokens per second without HTTP.
pub(super) fn engine(rows: &[Row]) -> String {
    let shown = |row: &&Row| ["decode", "prefill"].contains(&row.group.as_str()) && row.summary.unit == "tokens/s";
    bars("Engines, tokens per second (longer is better)", &clusters(rows.iter().filter(shown)))
}

/// Tokens per second over HTTP.
pub(super) fn http(rows: &[Row]) -> String {
    let shown = |row: &&Row| ["http", "smollm2", "original"].contains(&row.group.as_str()) && row.summary.unit == "tokens/s";
    bars("Over HTTP, tokens per second of all clients together (longer is better)", &clusters(rows.iter().filter(shown)))
}

/// Rows of the same name become one cluster, ours first. The peers' own names of dtypes are left out, so that colours stay the same.
fn clusters<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<Cluster> {
    let mut clusters: Vec<Cluster> = Vec::new();
    for row in rows {
        let summary = &row.summary;
        if clusters.last().is_none_or(|cluster| cluster.label != summary.what) {
            let ours = summary.ours.map(|ours| ("MiniVault".to_owned(), ours));
            clusters.push(Cluster { label: summary.what.clone(), bars: ours.into_iter().collect() });
        }
        if let (Some(cluster), Some(theirs)) = (clusters.last_mut(), summary.theirs) {
            let words = summary
                .peer
                .split(' ')
                .filter(|word| !Dtype::ALL.iter().any(|dtype| [dtype.of_llama(), dtype.of_ctranslate2()].contains(word)));
            cluster.bars.push((words.collect::<Vec<_>>().join(" "), theirs));
        }
    }
    clusters
}

fn bars(title: &str, clusters: &[Cluster]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in clusters.iter().flat_map(|cluster| &cluster.bars) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let colour = |name: &str| COLOURS[names.iter().position(|other| *other == name).unwrap_or_default() % COLOURS.len()];
    let mut drawing = Drawing::new(title);
    for (place, name) in names.iter().enumerate() {
        let x = 12.0 + place as f64 * 165.0;
        drawing.bar(x, drawing.height, 11.0, colour(name));
        drawing.text(x + 16.0, drawing.height + 11.0, "start", name);
    }
    drawing.height += 26.0;
    for cluster in clusters {
        // Each cluster has a scale of its own: a prefill would make every decode a dot.
        let longest = cluster.bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        drawing.text(LEFT - 10.0, drawing.height + 11.0, "end", cluster.label.trim_start_matches("GPT-2 "));
        for (name, value) in &cluster.bars {
            let length = LONGEST * value / longest;
            drawing.bar(LEFT, drawing.height, length, colour(name));
            drawing.text(LEFT + length + 5.0, drawing.height + 11.0, "start", &format!("{value:.0}"));
            drawing.height += BAR;
        }
        drawing.height += 8.0;
    }
    drawing.svg()
}

/// Every row that has a goal: its ratio as a bar, its goal as a line across it.
pub(super) fn ratios(rows: &[Row]) -> String {
    // Doubling is everywhere as long: 0.5 at the left, 64 at the right.
    let length = |ratio: f64| LONGEST * (ratio.clamp(0.5, 64.0).log2() + 1.0) / 7.0;
    let mut drawing = Drawing::new("Ratios to peers (bars, logarithmic; right of the thin line MiniVault is better) and goals (marks)");
    let top = drawing.height;
    for row in rows {
        let (Some(ratio), Some(goal)) = (row.summary.ratio, row.summary.goal) else { continue };
        let y = drawing.height;
        let label = format!("{} : {}", row.summary.what.trim_start_matches("GPT-2 "), row.summary.peer);
        drawing.text(LEFT + 230.0, y + 11.0, "end", &label);
        drawing.bar(LEFT + 240.0, y, length(ratio) * 0.5, COLOURS[if ratio >= goal { 3 } else { 0 }]);
        drawing.line(LEFT + 240.0 + length(goal) * 0.5, y - 1.0, y + BAR - 1.0, 2.0);
        drawing.text(LEFT + 245.0 + length(ratio.max(goal)) * 0.5, y + 11.0, "start", &format!("{ratio:.2}"));
        drawing.height += BAR + 4.0;
    }
    drawing.line(LEFT + 240.0 + length(1.0) * 0.5, top, drawing.height, 0.5);
    drawing.svg()
}

struct Drawing {
    shapes: String,
    height: f64,
}

impl Drawing {
    fn new(title: &str) -> Self {
        let mut drawing = Self { shapes: String::new(), height: 34.0 };
        let _ = write!(drawing.shapes, r#"<text x="12" y="20" font-weight="bold">{}</text>"#, escaped(title));
        drawing
    }

    fn bar(&mut self, x: f64, y: f64, length: f64, colour: &str) {
        let height = BAR - 3.0;
        let _ = write!(self.shapes, r#"<rect x="{x:.1}" y="{y:.1}" width="{length:.1}" height="{height}" fill="{colour}"/>"#);
    }

    fn line(&mut self, x: f64, from: f64, to: f64, width: f64) {
        let _ = write!(self.shapes, r#"<line x1="{x:.1}" x2="{x:.1}" y1="{from:.1}" y2="{to:.1}" stroke="black" stroke-width="{width}"/>"#);
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let _ = write!(self.shapes, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#, escaped(text));
    }

    fn svg(self) -> String {
        let height = self.height + 10.0;
        // A ground of its own: GitHub shows it on white and on black.
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"sans-serif\" font-size=\"11\"><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>{}</svg>",
            self.shapes
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

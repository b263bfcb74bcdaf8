//! What was measured, written down: for programs (`summary.json`, and `rounds.json` with every value), for people (`table.md`, SVG plots).

mod plot;
mod table;

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::arguments::Group;
use crate::bandwidth::Memory;
use crate::row::Row;

/// Where the README's part begins and ends.
const BEGIN: &str = "<!-- make bench: begin -->";
const END: &str = "<!-- make bench: end -->";
/// The committed copies.
const RESULTS: &str = "bench/results";
const FILES: [&str; 5] = ["summary.json", "table.md", "ratios.svg", "engine.svg", "http.svg"];

/// All rows that are known.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Where they were measured.
    pub machine: Machine,
    /// When the last of them was.
    pub date: String,
    rows: Vec<Row>,
}

/// The machine, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Machine(String);

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Machine {
    /// Its processor, its memory, and how fast that is read: the best of five readings.
    pub fn look(memory: &Memory, threads: usize) -> Self {
        let line = |file: &str, name: &str| -> Option<String> {
            let text = std::fs::read_to_string(file).ok()?;
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let processor = line("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        let kilobytes = line("/proc/meminfo", "MemTotal").and_then(|total| total.strip_suffix(" kB")?.parse::<f64>().ok());
        let best = |threads| (0..5).map(|_| memory.read(threads)).fold(0.0, f64::max) / 1e9;
        let mut text = format!("{processor}, {threads} threads, {:.0} GiB", kilobytes.unwrap_or_default() / f64::from(1 << 20));
        text += &format!(" read at {:.1} GB/s by one thread", best(1));
        if threads > 1 {
            text += &format!(", {:.1} GB/s by {threads}", best(threads));
        }
        Self(text)
    }
}

impl Report {
    /// The last one written to a folder.
    ///
    /// # Errors
    /// There is none, or an older version's.
    pub fn read(folder: &Path) -> Result<Self> {
        let file = folder.join("rounds.json");
        let text = std::fs::read(&file).with_context(|| format!("{}; `make bench` writes it", file.display()))?;
        serde_json::from_slice(&text).with_context(|| file.display().to_string())
    }

    /// Takes rows in, each instead of an older one of the same name.
    pub fn replace(&mut self, rows: Vec<Row>) {
        let same = |one: &Row, other: &Row| one.summary.what == other.summary.what && one.summary.peer == other.summary.peer;
        self.rows.retain(|old| !rows.iter().any(|new| same(old, new)));
        self.rows.extend(rows);
        let order = |row: &Row| Group::ALL.iter().position(|group| group.name() == row.group);
        self.rows.sort_by_key(order);
        self.date = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    }

    /// Writes all forms of it to a folder.
    ///
    /// # Errors
    /// The folder can't be written to.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let summaries: Vec<_> = self.rows.iter().map(|row| &row.summary).collect();
        let summary = json!({"machine": self.machine, "date": self.date, "rows": summaries});
        let files = [
            ("rounds.json", serde_json::to_string_pretty(self)?),
            ("summary.json", serde_json::to_string_pretty(&summary)?),
            ("table.md", table::page(self)),
            ("ratios.svg", plot::ratios(&self.rows)),
            ("engine.svg", plot::engine(&self.rows)),
            ("http.svg", plot::http(&self.rows)),
        ];
        for (name, text) in files {
            std::fs::write(folder.join(name), text + "\n").with_context(|| folder.join(name).display().to_string())?;
        }
        Ok(())
    }

    /// Writes the copies that are committed, and the README's part.
    ///
    /// # Errors
    /// The repository can't be written to, or its README has lost its marks.
    pub fn publish(&self, repository: &Path) -> Result<()> {
        let results = repository.join(RESULTS);
        std::fs::create_dir_all(&results)?;
        self.write(&results)?;
        std::fs::remove_file(results.join("rounds.json"))?;
        let readme = repository.join("README.md");
        let text = std::fs::read_to_string(&readme)?;
        let (before, rest) = text.split_once(BEGIN).context("README.md has lost the mark where the results begin")?;
        let (_, after) = rest.split_once(END).context("README.md has lost the mark where the results end")?;
        std::fs::write(&readme, format!("{before}{BEGIN}\n{}\n{END}{after}", table::readme(self, RESULTS)))?;
        println!("written: README.md, and in {RESULTS}: {}", FILES.join(", "));
        Ok(())
    }
}

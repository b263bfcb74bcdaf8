//! `make bench`: MiniVault measured beside its peers, on one machine, in one run, turn by turn.
//!
//! `bench/install.sh` builds and installs the peers and makes the weights; this measures. [`arguments`] is what can be asked for,
//! [`groups`] are the rows with their goals. A group lets [`contestant`]s (engines, each in a process of its own; ours is [`engine`])
//! or [`server`]s (asked by [`load`]) take their [`turns`], and makes [`row`]s of what they reached; [`report`] writes them down.
//! [`text`] has the prompts, [`bandwidth`] the memory's speed, [`places`] where everything lies,
//! [`quiet`] whether the machine was left alone.

mod arguments;
mod bandwidth;
mod case;
mod contestant;
mod engine;
mod groups;
mod load;
mod places;
mod quiet;
mod report;
mod row;
mod server;
mod text;
mod turns;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;

use arguments::{Arguments, Command, Measure};
use bandwidth::Memory;
use groups::Bench;
use places::Places;
use report::{Machine, Report};
use text::Words;

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Worker { model, dtype, threads } => engine::work(&model, dtype, threads),
        Command::Spin => loop {
            std::hint::spin_loop();
        },
        Command::Publish { folder } => Report::read(&folder)?.publish(&repository()),
        // One thread: what reads the streams should take as little as possible of what the servers need.
        Command::Measure(asked) => tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(asked)),
    }
}

async fn measure(asked: Measure) -> Result<()> {
    // Fails only if there is one already, which then serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = std::path::absolute(&asked.folder)?;
    let places = Places { minivaultd: places::existing(&asked.minivaultd)?, peers: repository().join("bench/peers"), folder };
    std::fs::create_dir_all(places.run())?;
    let memory = Memory::new().context("1.5 GiB to measure the memory's bandwidth")?;
    let mut report = if asked.is_part() { Report::read(&places.folder).unwrap_or_default() } else { Report::default() };
    let bench = Bench { words: Words::read(&places)?, places, asked, memory };
    report.machine = Machine::look(&bench.memory, bench.asked.threads());
    eprintln!("{}", report.machine);

    let groups = bench.asked.groups();
    for (number, group) in groups.iter().enumerate() {
        eprintln!("\n[{}/{}] {}", number + 1, groups.len(), group.name());
        let begin = Instant::now();
        let before = quiet::other_work().await;
        let mut rows = bench.measure(*group).await.unwrap_or_else(|cause| {
            eprintln!("  not measured: {cause:#}");
            Vec::new()
        });
        if let Some(others) = before.or(quiet::other_work().await) {
            rows.iter_mut().for_each(|row| row.add_note(&others));
        }
        for row in &rows {
            println!("  {}", row.line());
        }
        // After each group, so that what breaks later takes nothing along.
        report.replace(rows);
        report.write(&bench.places.folder)?;
        eprintln!("  {:.0} s", begin.elapsed().as_secs_f64());
    }
    eprintln!("\nwritten to {}: summary.json, table.md, rounds.json, *.svg", bench.places.folder.display());
    Ok(())
}

fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

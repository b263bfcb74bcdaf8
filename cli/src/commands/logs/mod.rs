//! `minivault logs`: what was asked and answered.

mod list;
mod show;
pub mod source;
mod stats;
mod verify;

use crate::arguments::logs::{Logs, LogsCommand, Place};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use source::Source;

/// Does what comes after `logs`.
pub async fn run(client: &Client, arguments: Logs, output: &mut Output) -> Result<(), Failure> {
    let Logs { command, list } = arguments;
    let Some(command) = command else {
        let source = Source::new(client, list.place.dir.clone())?;
        return list::run(&source, &list, output).await;
    };
    if !list.names_only_a_place() {
        return Err(Failure::Usage("of what `logs` takes, only --dir may stand before a subcommand; the rest goes behind it".into()));
    }
    let source = |place: &Place| Source::new(client, place.dir.clone().or(list.place.dir));
    match command {
        LogsCommand::Show(show) => show::run(&source(&show.place)?, &show, output).await,
        LogsCommand::Stats(stats) => stats::run(&source(&stats.place)?, &stats, output).await,
        LogsCommand::Verify(verify) => verify::run(&source(&verify.place)?, &verify, output).await,
    }
}

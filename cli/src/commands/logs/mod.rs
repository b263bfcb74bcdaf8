//! `minivault logs`: what was asked and answered.

mod list;
mod show;
pub mod source;
mod stats;
mod verify;

use crate::arguments::logs::{Logs, LogsCommand};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use source::Source;

/// Does what comes after `logs`.
pub async fn run(client: &Client, arguments: Logs, output: &mut Output) -> Result<(), Failure> {
    match arguments.command {
        None => {
            let source = Source::new(client, arguments.list.place.dir.clone())?;
            list::run(&source, &arguments.list, output).await
        }
        Some(LogsCommand::Show(show)) => {
            let source = Source::new(client, show.place.dir.clone())?;
            show::run(&source, &show, output).await
        }
        Some(LogsCommand::Stats(stats)) => {
            let source = Source::new(client, stats.place.dir.clone())?;
            stats::run(&source, &stats, output).await
        }
        Some(LogsCommand::Verify(verify)) => {
            let source = Source::new(client, verify.place.dir.clone())?;
            verify::run(&source, &verify, output).await
        }
    }
}

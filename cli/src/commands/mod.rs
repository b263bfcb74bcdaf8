//! What each command does.

mod batch;
mod bench;
mod chat;
mod generate;
mod logs;
mod manuals;
mod menu;
mod models;
mod profiles;
mod replay;
mod status;
mod top;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, IsTerminal, Write};

use clap::CommandFactory;

use crate::arguments::{Arguments, Command};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;

/// Whether the command talks with a person, to whom Ctrl-C means "stop this answer" rather than "stop", or has a screen to give back.
pub fn converses(arguments: &Arguments) -> bool {
    match arguments.command {
        Some(Command::Chat(_)) => io::stdin().is_terminal(),
        Some(Command::Top) => top::is_live(),
        None => offers_menu(),
        Some(_) => false,
    }
}

/// Whether the command is of any use without a daemon.
pub fn asks_a_daemon(arguments: &Arguments) -> bool {
    !matches!(arguments.command, Some(Command::Profiles(_) | Command::Completions { .. } | Command::Man { .. }))
}

/// Does what the arguments ask for.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let client = Client::new(arguments.general.url, arguments.general.key.as_deref())?;
    let mut output = Output::new(arguments.general.quiet);
    match arguments.command {
        Some(Command::Generate(generate)) => generate::run(&client, *generate, &mut output).await,
        Some(Command::Chat(chat)) => chat::run(&client, *chat, &mut output).await,
        Some(Command::Batch(batch)) => batch::run(&client, *batch, &mut output).await,
        Some(Command::Bench(bench)) => bench::run(&client, *bench, &mut output).await,
        Some(Command::Top) => top::run(&client, &mut output).await,
        Some(Command::Models(report)) => models::run(&client, &report, &mut output).await,
        Some(Command::Logs(arguments)) => logs::run(&client, *arguments, &mut output).await,
        Some(Command::Replay(replay)) => replay::run(&client, &replay, &mut output).await,
        Some(Command::Profiles(report)) => profiles::run(&report, arguments.general.profile.as_deref(), &mut output),
        Some(Command::Completions { shell }) => manuals::completions(shell),
        Some(Command::Man { folder }) => manuals::man(&folder),
        Some(Command::Status(report)) => status::run(&client, &report, &mut output).await,
        None if offers_menu() => menu::run(&client, &mut output).await,
        None => {
            let _ = writeln!(io::stderr(), "{}", Arguments::command().render_help());
            Err(Failure::Usage("no command given, and no terminal to ask what to do".into()))
        }
    }
}

/// A seed of few enough digits to be typed again.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish() >> 32
}

fn offers_menu() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

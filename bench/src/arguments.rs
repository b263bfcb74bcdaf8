//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::case::Dtype;

/// MiniVault measured beside its peers, in one run, turn by turn.
#[derive(Debug, Parser)]
#[command(name = "minivault-bench", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure, print each row, and write summary.json, table.md and the plots
    Measure(Measure),
    /// Copy the last results to bench/results and into the README
    Publish {
        /// The folder of the benchmark
        #[arg(long, default_value = "target/bench")]
        folder: PathBuf,
    },
    /// Compute cases that come in on stdin
    #[command(hide = true)]
    Worker {
        /// The model's folder
        model: PathBuf,
        /// How its weights are kept
        dtype: Dtype,
        /// Threads that compute
        threads: usize,
    },
    /// Keep one processor busy
    #[command(hide = true)]
    Spin,
}

/// What to measure, and how often.
#[derive(Debug, Clone, Args)]
pub struct Measure {
    /// These groups of rows only
    #[arg(long, value_delimiter = ',', value_name = "GROUP,…")]
    pub only: Vec<Group>,

    /// These groups not
    #[arg(long, value_delimiter = ',', value_name = "GROUP,…")]
    pub without: Vec<Group>,

    /// Turns of each side
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: u16,

    /// Our weights, and what comes closest on the other side
    #[arg(long, value_delimiter = ',', default_value = "f32,bf16,q8", value_name = "DTYPE,…")]
    pub dtype: Vec<Dtype>,

    /// Numbers of sequences side by side, for `decode`
    #[arg(long, value_delimiter = ',', default_value = "1,4,8,16", value_name = "NUMBER,…")]
    pub sequences: Vec<usize>,

    /// Numbers of clients, for `http`, `smollm2` and `original`
    #[arg(long, value_delimiter = ',', default_value = "1,4,8,16", value_name = "NUMBER,…")]
    pub clients: Vec<usize>,

    /// Peers whose names contain one of these only; `none` leaves ours alone
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub peers: Vec<String>,

    /// Threads of each side [default: as many as this process may run at once]
    #[arg(long)]
    pub threads: Option<usize>,

    /// Three rounds of the rows that matter most: some five minutes
    #[arg(long)]
    pub quick: bool,

    /// The daemon to measure
    #[arg(long, default_value = "target/debug/minivaultd", value_name = "FILE")]
    pub minivaultd: PathBuf,

    /// Where the peers and models are, and where the results go
    #[arg(long, default_value = "target/bench")]
    pub folder: PathBuf,
}

/// Rows that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Group {
    /// Tokens after a short and after a long context, for several sequences
    Decode,
    /// A prompt of 512 tokens
    Prefill,
    /// SSE clients on GPT-2, against llama-server
    Http,
    /// SSE clients on SmolLM2, against llama-server
    Smollm2,
    /// SSE clients on GPT-2, against the Python original
    Original,
    /// A long prompt joins busy streams
    Join,
    /// The second turn of a chat
    Chat,
    /// Ready after start, and memory after the first answer
    Start,
    /// What quantised weights lose
    Kl,
    /// Speculation on repetitive text
    Speculation,
    /// The daemon against the engine alone
    Cost,
    /// One stream beside a busy process
    Busy,
}

impl Group {
    /// In the order in which they are measured.
    pub const ALL: [Self; 12] = [
        Self::Decode,
        Self::Prefill,
        Self::Http,
        Self::Smollm2,
        Self::Original,
        Self::Join,
        Self::Chat,
        Self::Start,
        Self::Kl,
        Self::Speculation,
        Self::Cost,
        Self::Busy,
    ];
    /// Those of `--quick`.
    pub const QUICK: [Self; 5] = [Self::Decode, Self::Prefill, Self::Http, Self::Join, Self::Start];

    /// As `--only` spells it.
    pub fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

impl Measure {
    /// The groups to measure, in order.
    pub fn groups(&self) -> Vec<Group> {
        let all: &[Group] = if self.quick { &Group::QUICK } else { &Group::ALL };
        let asked = |group: &&Group| (self.only.is_empty() || self.only.contains(group)) && !self.without.contains(group);
        (if self.only.is_empty() { all } else { &Group::ALL }).iter().filter(asked).copied().collect()
    }

    /// Whether the run leaves some rows out, so that older ones of other groups are worth keeping.
    pub fn is_part(&self) -> bool {
        !self.only.is_empty() || !self.without.is_empty()
    }

    /// Turns of each side.
    pub fn rounds(&self) -> usize {
        if self.quick { 3 } else { self.rounds.into() }
    }

    /// Whether a peer takes part.
    pub fn has_peer(&self, name: &str) -> bool {
        self.peers.is_empty() || self.peers.iter().any(|part| name.to_lowercase().contains(&part.to_lowercase()))
    }

    /// Threads of each side.
    pub fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn groups_are_chosen_and_left_out() {
        let groups = |line: &str| match Arguments::parse_from(line.split(' ')).command {
            Command::Measure(measure) => measure.groups(),
            _ => Vec::new(),
        };
        assert_eq!(groups("b measure"), Group::ALL);
        assert_eq!(groups("b measure --quick"), Group::QUICK);
        assert_eq!(groups("b measure --only http,decode"), [Group::Decode, Group::Http]);
        assert_eq!(groups("b measure --quick --only chat"), [Group::Chat]);
        assert_eq!(groups("b measure --without start,decode --quick"), [Group::Prefill, Group::Http, Group::Join]);
    }
}

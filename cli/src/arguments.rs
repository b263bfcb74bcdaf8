//! What can be typed after `minivault`.

pub mod logs;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use minivault_wire::Stop;
use minivault_wire::chat::{ChatBody, Message, StreamOptions};
use minivault_wire::native::GenerateBody;
use reqwest::Url;

const DEFAULT_URL: &str = "http://127.0.0.1:8000";

const EXAMPLES: &str = "\
Examples:
  minivault generate \"Once upon a time\"
  cat prompt.txt | minivault generate --max-tokens 200 --seed 7 > answer.txt
  minivault chat --system \"You are terse.\"
  minivault --url http://vault.local:8000 status

Exit status: 0 ok, 1 failed, 2 usage, 3 daemon not reachable, 4 not as it was recorded, 130 interrupted.";

const GENERATE_EXAMPLES: &str = "\
Examples:
  minivault generate \"Once upon a time\"
  minivault generate --temperature 0 --stop $'\\n' \"The capital of France is\"
  minivault generate --json \"Hello\" | jq -r .response
  git diff | minivault generate --model smollm2 -
  minivault generate --template review.txt --var language=Rust --file src/main.rs
  minivault generate --count 3 --seed 1 \"A name for a cat:\"

The answer goes to stdout byte for byte; a terminal also gets a line end and a remark on stderr.
From a pipe or a file, one line end after the prompt is taken off, so that `echo Hello |` means \"Hello\".
Of several answers each ends with a line end.
What is left out is decided by the daemon's configuration.";

const BATCH_EXAMPLES: &str = "\
Examples:
  minivault batch prompts.jsonl answers.jsonl --max-tokens 50 --seed 7
  jq -R . prompts.txt | minivault batch - answers.jsonl
  jq -r .answer.response answers.jsonl

A line of IN is a prompt as a JSON string, a body of /generate ({\"prompt\": …}) or of a chat ({\"messages\": …}), or a line of OpenAI's \
batches ({\"custom_id\": …, \"url\": …, \"body\": …}). Flags stand for what a line leaves out.

A line of OUT has the number of the line, the request, the flags that were added to it, and the answer, or the error where it was refused. \
What is in OUT is done: stopped midway, the same command goes on where it was. Where the daemon fails (5xx), or stays busy beyond \
--patience, a request stays open: the others go on, the exit status is 1, and the same command asks those that are open. Results that are \
there already stay, also those of other flags, which is said.";

const BENCH_EXAMPLES: &str = "\
Examples:
  minivault bench
  minivault bench --clients 8 --max-tokens 128 --model smollm2
  minivault bench --json | jq '.levels[].tokens_per_second'

The daemon that runs is asked over HTTP by 1, 2, 4, … clients at once, each with --requests one after the other. A prompt gets a number in \
front, so that none is in the daemon's cache. Tokens per second are all clients' together, as they arrive; between tokens is from one piece \
of text to the next. Each request is a line of the daemon's log.";

const PROFILES_HELP: &str = "\
They are in $XDG_CONFIG_HOME/minivault/profiles.toml (~/.config/minivault/profiles.toml):

  [laptop]
  url = \"http://laptop.local:8000\"
  key_env = \"LAPTOP_KEY\"      # or key_file = \"laptop.key\"

key = \"…\" is taken only from a file that nobody else may read. --profile NAME, or MINIVAULT_PROFILE, chooses one. What is typed goes before \
what the environment says, and --url before a profile that the environment names. MINIVAULT_API_KEY is not sent to a profile's daemon.";

const CHAT_EXAMPLES: &str = "\
Examples:
  minivault chat
  minivault chat --model smollm2 --system \"Answer in one sentence.\"
  printf 'My name is Ada.\\nWhat is my name?\\n' | minivault chat

Ctrl-C stops an answer; at the prompt it leaves, as Ctrl-D and /quit do. /help lists the commands: /model, /set, /system, /save, /retry, …
A message goes on after a line that ends with \\, and from \"\"\" to \"\"\".
Commands are heard from a terminal only: from a pipe each line is a message, whatever it begins with, and each answer ends with a line end.";

/// MiniVault at the terminal: asks the daemon, minivaultd, for text.
#[derive(Debug, Parser)]
#[command(name = "minivault", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Arguments {
    #[command(flatten)]
    pub general: General,
    /// Left out on a terminal, a menu asks what to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What every command understands.
#[derive(Debug, Args)]
pub struct General {
    /// Where the daemon listens
    #[arg(long, global = true, env = "MINIVAULT_URL", value_name = "URL", default_value = DEFAULT_URL, value_parser = daemon_url, display_order = 900)]
    pub url: Url,
    /// The daemon of this name in profiles.toml, instead of --url; `minivault profiles` lists them
    #[arg(long, global = true, env = "MINIVAULT_PROFILE", value_name = "NAME", display_order = 900)]
    pub profile: Option<String>,
    /// The API key, where the daemon asks for one; better in the environment, where other users don't see it
    #[arg(long, global = true, env = "MINIVAULT_API_KEY", hide_env_values = true, value_name = "KEY", display_order = 900)]
    pub key: Option<String>,
    /// Leave out remarks on stderr; errors are still told
    #[arg(short, long, global = true, display_order = 901)]
    pub quiet: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Continue a prompt
    #[command(after_help = GENERATE_EXAMPLES)]
    Generate(Box<Generate>),
    /// Talk, with everything said so far in mind
    #[command(after_help = CHAT_EXAMPLES)]
    Chat(Box<Chat>),
    /// Answer the requests of a file, each exactly once, in another file
    #[command(after_help = BATCH_EXAMPLES)]
    Batch(Box<Batch>),
    /// Measure the daemon: time to the first token, between tokens, tokens per second at 1 to N clients
    #[command(after_help = BENCH_EXAMPLES)]
    Bench(Box<Bench>),
    /// Show slots, queue, tokens per second and time to the first token of each engine, second by second; from a pipe, of one second
    Top,
    /// List the engines that can be asked; * marks the one that answers when none is named
    Models(Report),
    /// List what was asked and answered, count it, verify it
    #[command(after_help = logs::LOGS_EXAMPLES)]
    Logs(Box<logs::Logs>),
    /// Run interactions again and compare
    #[command(after_help = logs::REPLAY_EXAMPLES)]
    Replay(Box<logs::Replay>),
    /// Tell whether the daemon is there and ready; exits 0 if ready, 1 if not yet, 3 if not there
    Status(StatusReport),
    /// List the daemons that have a name; * marks the one that is asked
    #[command(after_help = PROFILES_HELP)]
    Profiles(Report),
    /// Print a script that completes this command line; `source <(minivault completions bash)`
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write man pages into a folder
    Man {
        /// The folder; it is made if it isn't there
        folder: PathBuf,
    },
}

/// `minivault generate`
#[derive(Debug, Args)]
pub struct Generate {
    /// The text to continue; `-`, or none with a pipe, reads it from stdin
    pub prompt: Option<String>,
    /// Read the text to continue from a file
    #[arg(short, long, value_name = "FILE", conflicts_with = "prompt")]
    pub file: Option<PathBuf>,
    /// Make the prompt of a template (Jinja): {{ input }} is the text given, if one is, the rest are --var's
    #[arg(long, value_name = "FILE")]
    pub template: Option<PathBuf>,
    /// A variable of the template; NAME=@FILE reads its value from a file; may be given several times
    #[arg(long = "var", value_name = "NAME=VALUE", requires = "template", value_parser = variable)]
    pub variables: Vec<(String, String)>,
    /// Ask so many times, one after the other; with --seed, each answer has the next seed
    #[arg(long, value_name = "N", default_value = "1")]
    pub count: NonZeroUsize,
    /// Print the answer when it is complete, not as it is written
    #[arg(long, conflicts_with = "stream")]
    pub no_stream: bool,
    /// Print the daemon's JSON answer on one line
    #[arg(long)]
    pub json: bool,
    /// With --json: one JSON object per line as the answer is written, the last one with the totals
    #[arg(long)]
    pub stream: bool,
    /// Put the prompt in front of the answer
    #[arg(long)]
    pub echo: bool,
    #[command(flatten)]
    pub sampling: Sampling,
}

/// `minivault batch`
#[derive(Debug, Args)]
pub struct Batch {
    /// A file with a request on each line; `-` reads stdin
    #[arg(value_name = "IN")]
    pub input: String,
    /// The file that gets a result on each line, in the same order; `-` writes stdout
    #[arg(value_name = "OUT")]
    pub output: String,
    /// Requests that are under way at once
    #[arg(short, long, value_name = "N", default_value = "8")]
    pub concurrency: NonZeroUsize,
    /// How long the daemon may go on saying that it can't answer now (429, 503)
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub patience: u64,
    #[command(flatten)]
    pub sampling: Sampling,
}

/// `minivault bench`
#[derive(Debug, Args)]
pub struct Bench {
    /// The text to continue
    #[arg(default_value = "Once upon a time there was a vault, and in it lived")]
    pub prompt: String,
    /// The most clients at once
    #[arg(short, long, value_name = "N", default_value = "4")]
    pub clients: NonZeroUsize,
    /// Requests of each client, one after the other
    #[arg(short, long, value_name = "N", default_value = "3")]
    pub requests: NonZeroUsize,
    /// Print JSON on one line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub sampling: Sampling,
}

/// `minivault chat`
#[derive(Debug, Args)]
pub struct Chat {
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    #[command(flatten)]
    pub sampling: Sampling,
}

/// `minivault models` and `minivault profiles`
#[derive(Debug, Args)]
pub struct Report {
    /// Print JSON on one line
    #[arg(long)]
    pub json: bool,
}

/// `minivault status`
#[derive(Debug, Args)]
pub struct StatusReport {
    #[command(flatten)]
    pub report: Report,
    /// Only whether it is there: a model may still be loading, and no API key is needed
    #[arg(long, conflicts_with = "json")]
    pub alive: bool,
}

/// How tokens are chosen. Whether a value makes sense is for the daemon to say, which names its limits.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Sampling")]
pub struct Sampling {
    /// The engine to ask, by its name in `minivault models`
    #[arg(short, long, value_name = "NAME")]
    pub model: Option<String>,
    /// The most tokens the answer may have
    #[arg(short = 'n', long, value_name = "N")]
    pub max_tokens: Option<usize>,
    /// 0 always takes the most likely token; higher is more varied
    #[arg(short, long, value_name = "T", value_parser = finite, allow_negative_numbers = true)]
    pub temperature: Option<f32>,
    /// Choose among the K most likely tokens only; 0 is off
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,
    /// Choose among the most likely tokens that together reach probability P
    #[arg(long, value_name = "P", value_parser = finite, allow_negative_numbers = true)]
    pub top_p: Option<f32>,
    /// Choose among tokens at least P times as likely as the most likely one
    #[arg(long, value_name = "P", value_parser = finite, allow_negative_numbers = true)]
    pub min_p: Option<f32>,
    /// Make what was said less likely to be said again; 1 is off
    #[arg(long, value_name = "R", value_parser = finite, allow_negative_numbers = true)]
    pub repetition_penalty: Option<f32>,
    /// The same seed gives the same answer
    #[arg(short, long, value_name = "N")]
    pub seed: Option<u64>,
    /// Insist on an answer that the same request and seed give again; refused by engines that promise nothing
    #[arg(long)]
    pub deterministic: bool,
    /// End the answer before this text; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub stop: Vec<String>,
}

impl Sampling {
    fn stop(&self) -> Option<Stop> {
        match self.stop.as_slice() {
            [] => None,
            [one] => Some(Stop::One(one.clone())),
            many => Some(Stop::Many(many.to_vec())),
        }
    }

    /// The body that asks for `prompt` to be continued.
    pub fn generate_body(&self, prompt: String) -> GenerateBody {
        GenerateBody {
            prompt,
            model: self.model.clone(),
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
            stop: self.stop(),
            deterministic: self.deterministic.then_some(true),
            echo: None,
        }
    }

    /// The body that asks for a streamed answer to `messages`.
    pub fn chat_body(&self, messages: Vec<Message>) -> ChatBody {
        ChatBody {
            messages,
            model: self.model.clone(),
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
            stop: self.stop(),
            deterministic: self.deterministic.then_some(true),
            stream: Some(true),
            stream_options: Some(StreamOptions { include_usage: true }),
            ..ChatBody::default()
        }
    }
}

/// A daemon's address, checked.
pub fn daemon_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; an example is {DEFAULT_URL}"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(format!("it must begin with http:// or https://; an example is {DEFAULT_URL}")),
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it must be NAME=VALUE".into()),
    }
}

/// JSON knows no NaN and no infinity; sent as null they would pass for "left out".
pub fn finite(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(number) if number.is_finite() => Ok(number),
        Ok(_) => Err("it must be a finite number".into()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn only_what_chooses_interactions_stands_under_that_heading() {
        let command = Arguments::command();
        for name in ["logs", "replay"] {
            let command = command.find_subcommand(name).unwrap();
            let heading = |argument| command.get_arguments().find(|known| known.get_id() == argument).unwrap().get_help_heading();
            assert_eq!((heading("json"), heading("grep")), (None, Some("Which interactions")), "{name}");
        }
    }

    #[test]
    fn numbers_that_json_cannot_carry_are_refused() {
        assert!(finite("nan").is_err() && finite("inf").is_err() && finite("1e99").is_err());
        assert_eq!(finite("-0.5"), Ok(-0.5));
    }

    #[test]
    fn one_stop_is_a_string_and_several_are_a_list() {
        let sampling = |stop: &[&str]| Sampling { stop: stop.iter().map(ToString::to_string).collect(), ..Sampling::default() };
        assert_eq!(sampling(&[]).stop(), None);
        assert_eq!(sampling(&["a"]).stop(), Some(Stop::One("a".into())));
        assert_eq!(sampling(&["a", "b"]).stop(), Some(Stop::Many(vec!["a".into(), "b".into()])));
    }
}

//! The command line of `minivaultd`.

use std::io;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{Overrides, Source};

/// Text generation over HTTP with models on this machine; every interaction is kept.
///
/// Without a command it serves until it is stopped by SIGTERM or Ctrl-C.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "minivaultd", version, after_help = CONFIGURATION)]
pub struct Arguments {
    /// Read this configuration file [default: config.toml in the working directory, if there is one]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// Listen on this address: HOST:PORT or unix:PATH; may be said several times
    #[arg(long, value_name = "ADDRESS", global = true)]
    pub listen: Vec<String>,

    /// Let other machines ask without an API key
    #[arg(long, global = true)]
    pub allow_keyless: bool,

    /// Answer with this engine when a request names none; the name of an [engines.NAME] table
    #[arg(long = "engine", id = "default_engine", value_name = "NAME", global = true)]
    pub engine: Option<String>,

    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What `minivaultd` does instead of serving.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Print the values in effect and where each of them comes from
    Config,
    /// Look at configuration, machine and model, and say of each what to do; exits 1 where something doesn't work
    Doctor,
    /// Write a configuration file with every key, its default and what it means
    Init {
        /// The file, which must not be there
        #[arg(default_value = "config.toml")]
        file: PathBuf,
    },
    /// Fetch an engine's model ahead of time
    Pull {
        /// The engine [default: the default engine, and its fallback where its model can't be had]
        engine: Option<String>,
    },
    /// Measure how well an engine predicts a text, and how far it is from a reference
    #[command(after_help = EVALUATION)]
    Eval(EvalArguments),
    /// Print a script that completes this command line; `source <(minivaultd completions bash)`
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write man pages into a folder
    Man {
        /// The folder; it is made if it isn't there
        folder: PathBuf,
    },
    /// Be an engine's process; the daemon starts it
    #[command(hide = true)]
    Engine {
        /// The engine, for lists of processes
        name: String,
        /// What it says of itself
        filter: String,
    },
}

/// What `minivaultd eval` is told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct EvalArguments {
    /// The engine; the name of an [engines.NAME] table
    pub engine: String,

    /// A file with the text; - reads standard input
    pub file: PathBuf,

    /// Compare with this engine [default: the engine's own model as exactly as its backend computes it]
    #[arg(long, value_name = "OTHER")]
    pub against: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    /// Read the text in windows of so many tokens, at least 2 [default: 512, or the context where that is shorter]
    #[arg(long, value_name = "TOKENS")]
    pub window: Option<usize>,

    /// Read no more than this of the text
    #[arg(long, value_name = "TOKENS")]
    pub limit: Option<usize>,
}

const CONFIGURATION: &str = "Built-in defaults, the configuration file, the environment and these flags override each other in this \
     order. A variable is named for its key: MINIVAULTD_SERVER__LISTEN is `listen` in [server].";

const EVALUATION: &str = "The text is cut into windows that don't overlap, and the tokens in the second half of each are scored, so that every \
     one of them has at least half a window before it. A rest that fills no window is left out.";

impl Arguments {
    /// Where the configuration is to be read from: what the flags say, and this process's environment and working directory.
    ///
    /// # Errors
    /// The working directory can't be told, for example because it has been removed.
    pub fn source(&self) -> io::Result<Source> {
        let overrides = Overrides { listen: self.listen.clone(), allow_keyless: self.allow_keyless, engine: self.engine.clone() };
        Source::of_process(self.config.clone(), overrides)
    }

    /// A flag that says something of the configuration, if there is one.
    pub fn first_override(&self) -> Option<&'static str> {
        let said = [
            ("--config", self.config.is_some()),
            ("--listen", !self.listen.is_empty()),
            ("--allow-keyless", self.allow_keyless),
            ("--engine", self.engine.is_some()),
        ];
        said.into_iter().find_map(|(flag, said)| said.then_some(flag))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, ErrorKind> {
        Arguments::try_parse_from(line.split_whitespace()).map_err(|error| error.kind())
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_arguments_serve_as_configured() {
        let expected = Arguments { config: None, listen: Vec::new(), allow_keyless: false, engine: None, command: None };
        assert_eq!(parse("minivaultd"), Ok(expected));
    }

    #[test]
    fn flags_may_stand_before_or_after_the_command() {
        let expected = Arguments {
            config: Some("a.toml".into()),
            listen: vec!["[::1]:80".into()],
            allow_keyless: false,
            engine: Some("mine".into()),
            command: Some(Command::Config),
        };
        assert_eq!(parse("minivaultd --config a.toml --listen [::1]:80 --engine mine config").as_ref(), Ok(&expected));
        assert_eq!(parse("minivaultd config --engine mine --config=a.toml --listen=[::1]:80").as_ref(), Ok(&expected));
    }

    #[test]
    fn pull_takes_an_engine_of_its_own() {
        let pull = |line: &str| parse(line).map(|arguments| (arguments.engine, arguments.command));
        assert_eq!(pull("minivaultd pull"), Ok((None, Some(Command::Pull { engine: None }))));
        let named = Some(Command::Pull { engine: Some("smollm2".into()) });
        assert_eq!(pull("minivaultd pull smollm2"), Ok((None, named.clone())));
        assert_eq!(pull("minivaultd pull smollm2 --engine mine"), Ok((Some("mine".into()), named)));
    }

    #[test]
    fn the_command_of_engines_is_not_shown() {
        let engine = Command::Engine { name: "mine".into(), filter: "warn".into() };
        assert_eq!(parse("minivaultd engine mine warn").map(|arguments| arguments.command), Ok(Some(engine)));
        assert!(!Arguments::command().render_long_help().to_string().contains("engine's process"));
    }

    #[test]
    fn eval_takes_an_engine_a_text_and_how() {
        let eval = |line: &str| parse(line).map(|arguments| arguments.command);
        let plain = EvalArguments { engine: "a".into(), file: "b.txt".into(), against: None, json: false, window: None, limit: None };
        assert_eq!(eval("minivaultd eval a b.txt"), Ok(Some(Command::Eval(plain.clone()))));
        let full = EvalArguments { against: Some("c".into()), json: true, window: Some(64), limit: Some(1000), ..plain };
        assert_eq!(eval("minivaultd eval --against c --json --window 64 a b.txt --limit 1000"), Ok(Some(Command::Eval(full))));
        assert_eq!(eval("minivaultd eval a"), Err(ErrorKind::MissingRequiredArgument));
        assert_eq!(eval("minivaultd eval a b --window x"), Err(ErrorKind::ValueValidation));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(parse("minivaultd --lisen 1"), Err(ErrorKind::UnknownArgument));
        assert_eq!(parse("minivaultd serve"), Err(ErrorKind::InvalidSubcommand));
        assert_eq!(parse("minivaultd --config"), Err(ErrorKind::InvalidValue));
        assert_eq!(parse("minivaultd -V"), Err(ErrorKind::DisplayVersion));
        assert_eq!(parse("minivaultd --help"), Err(ErrorKind::DisplayHelp));
    }

    #[test]
    fn flags_become_overrides() {
        let source = parse("minivaultd --config a.toml --engine mine").unwrap().source().unwrap();
        assert_eq!(source.file, Some(PathBuf::from("a.toml")));
        assert_eq!(source.overrides, Overrides { engine: Some("mine".into()), ..Overrides::default() });
        assert_eq!(source.working_directory, std::env::current_dir().unwrap());
    }
}

//! The daemon as a process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running daemon; it is killed when this is dropped.
pub struct Daemon {
    child: Child,
    pub address: String,
}

/// Lines of a daemon's configuration.
#[derive(Debug, Default, Clone, Copy)]
pub struct Lines<'a> {
    /// In `[server]`.
    pub server: &'a str,
    /// In `[log]`.
    pub log: &'a str,
    /// Tables of other engines.
    pub engines: &'a str,
}

impl Daemon {
    /// Starts on `log.jsonl` in this folder, with these lines in `[log]`, and waits until it is ready.
    pub fn start(folder: &Path, log: &str) -> Self {
        Self::start_with(folder, Lines { log, ..Lines::default() }, &[])
    }

    /// The same with lines elsewhere in its configuration, and with variables of its own.
    pub fn start_with(folder: &Path, Lines { server, log, engines }: Lines<'_>, variables: &[(&str, String)]) -> Self {
        let configuration = format!(
            "engine = \"scripted\"\n[server]\nlisten = \"127.0.0.1:0\"\n{server}[log]\npath = \"log.jsonl\"\n{log}[engines.scripted]\nbackend = \"scripted\"\n{engines}"
        );
        let file = folder.join("config.toml");
        std::fs::write(&file, configuration).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("--config").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MINIVAULTD_")) {
            command.env_remove(name);
        }
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut heard = Vec::new();
        let mut hear = |part: &str| loop {
            let line = said.next().unwrap_or_else(|| panic!("the daemon never said {part:?}: {heard:?}"));
            heard.push(line.clone());
            if line.contains(part) {
                return line;
            }
        };
        let first = hear("listens on");
        let address = first.split_whitespace().find_map(|word| word.strip_prefix("http://")).unwrap().to_owned();
        hear("Ready");
        // What else it says goes through, and a full pipe doesn't hold it up.
        std::thread::spawn(move || said.for_each(|line| eprintln!("  {line}")));
        Self { child, address }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub fn end(mut self) {
        let status = Command::new("kill").args(["-TERM", &self.id().to_string()]).status().unwrap();
        assert!(status.success());
        assert!(self.child.wait().unwrap().success(), "the daemon ends well");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

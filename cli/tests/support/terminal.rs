//! The CLI on a real pseudo-terminal.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::screen::Screen;
use super::{PATIENCE, cli};

pub const COLUMNS: u16 = 200;
pub const LINES: u16 = 24;

/// The CLI on a terminal of its own.
pub struct Terminal {
    pub child: Child,
    keyboard: File,
    pub screen: Receiver<Vec<u8>>,
    pub seen: String,
    pub home: tempfile::TempDir,
}

impl Terminal {
    pub fn running(url: &str, arguments: &[&str]) -> Self {
        Self::in_environment(url, arguments, &[])
    }

    pub fn in_environment(url: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        tcsetwinsize(&controller, size(COLUMNS, LINES)).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let user = || Stdio::from(OpenOptions::new().read(true).write(true).open(Path::new(name.to_str().unwrap())).unwrap());
        let mut cli = cli(arguments);
        let child = cli
            .command
            .env("MINIVAULT_URL", url)
            .envs(variables.iter().copied())
            .stdin(user())
            .stdout(user())
            .stderr(user())
            .spawn()
            .unwrap();
        // The command holds the terminal open; without it, the screen ends when the child does.
        let home = cli.home;
        drop(cli.command);
        let keyboard = File::from(controller);
        let mut reader = keyboard.try_clone().unwrap();
        let (sender, screen) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, keyboard, screen, seen: String::new(), home }
    }

    /// Waits until `text` is on the screen, and forgets what came before.
    #[track_caller]
    pub fn shows(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(place) = self.seen.find(text) {
                self.seen.drain(..place + text.len());
                return;
            }
            match self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("never shows {text:?} ({error}); shows {:?}", self.seen),
            }
        }
    }

    /// Waits until the screen is as it should be.
    #[track_caller]
    pub fn draws(&mut self, screen: &mut Screen, what: &str, is_there: impl Fn(&Screen) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_there(screen) {
            match self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => screen.take(&bytes),
                Err(error) => panic!("never {what} ({error}); the screen:\n{}", screen.text()),
            }
        }
    }

    /// Gives the window another size, and tells the program as a terminal does.
    pub fn resize(&self, columns: u16, lines: u16) {
        tcsetwinsize(&self.keyboard, size(columns, lines)).unwrap();
        kill_process(Pid::from_child(&self.child), Signal::WINCH).unwrap();
    }

    /// Whether it handles lines and shows what is typed, as a shell leaves it.
    pub fn is_as_it_was(&self) -> bool {
        let modes = tcgetattr(&self.keyboard).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    pub fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    #[track_caller]
    pub fn exits_with(&mut self, code: i32) {
        assert_eq!(self.child.wait().unwrap().code(), Some(code), "{:?}", self.seen);
    }
}

fn size(columns: u16, lines: u16) -> Winsize {
    Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

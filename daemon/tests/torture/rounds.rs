//! Killed at random moments under 16 clients.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::check::check;
use crate::client::Client;
use crate::daemon::Daemon;
use crate::random::Random;

const CLIENTS: usize = 16;
/// Rounds on one log: it passes through so many kills. More would only make it longer to read after each.
const ROUNDS_ON_A_LOG: usize = 20;
/// Milliseconds a daemon may live, at most.
const LONGEST_LIFE: u64 = 250;

/// So many rounds.
pub fn run(rounds: usize, random: &mut Random) {
    let begun = Instant::now();
    let (mut acknowledged_in_all, mut lines, mut files, mut torn, mut left) = (0, 0, 0, 0, rounds);
    while left > 0 {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log.jsonl");
        let sync = ["none", "interval", "always"][random.below(3) as usize];
        let options = format!("rotate_bytes = 65536\nsync = \"{sync}\"\n");
        let mut acknowledged = Vec::new();
        for _ in 0..left.min(ROUNDS_ON_A_LOG) {
            acknowledged.extend(round(Daemon::start(folder.path(), &options), random));
            check(&log, true).has_once(&acknowledged);
            left -= 1;
        }
        // Started once more, it puts in order what the last kill has left, and ends well.
        Daemon::start(folder.path(), &options).end();
        let found = check(&log, false);
        found.has_once(&acknowledged);
        let names = || std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        torn += names().filter(|name| name.contains(".torn-")).count();
        let unfinished: Vec<_> = names().filter(|name| name.ends_with(".partial")).collect();
        assert!(unfinished.is_empty(), "{unfinished:?}");
        acknowledged_in_all += acknowledged.len();
        (lines, files) = (lines + found.lines, files + found.files);
        if rounds > ROUNDS_ON_A_LOG {
            println!("torture: {} of {rounds} rounds, {acknowledged_in_all} answers acknowledged, {lines} lines", rounds - left);
        }
    }
    println!(
        "torture: {rounds} kills under {CLIENTS} clients in {:.0} s: {acknowledged_in_all} answers acknowledged, {lines} lines in {files} files, \
         {torn} torn lines set aside, 0 lost, 0 doubled, 0 invalid",
        begun.elapsed().as_secs_f64()
    );
}

/// Lets clients ask until the daemon is killed, and returns the ids of the answers that came whole.
fn round(daemon: Daemon, random: &mut Random) -> Vec<String> {
    let (sender, ids) = channel();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (sender, address, mut random) = (sender.clone(), daemon.address.clone(), Random(random.next()));
            std::thread::spawn(move || {
                let Ok(mut client) = Client::connect(&address) else { return };
                loop {
                    let path = if number % 2 == 0 { "/generate" } else { "/stream-generate" };
                    let prompt = "x".repeat(1 + random.below(400) as usize);
                    let body = format!("{{\"prompt\":\"{prompt}\",\"max_tokens\":{}}}", 1 + random.below(12));
                    match client.ask(path, &body) {
                        Ok(id) => drop(sender.send(id)),
                        Err(_) => return,
                    }
                }
            })
        })
        .collect();
    drop(sender);
    std::thread::sleep(Duration::from_millis(5 + random.below(LONGEST_LIFE)));
    daemon.kill();
    clients.into_iter().for_each(|client| client.join().unwrap());
    ids.into_iter().collect()
}

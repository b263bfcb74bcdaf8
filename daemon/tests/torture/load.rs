//! Many requests from 64 clients, logged and not: nothing is lost or doubled, and what logging costs.

use std::time::Instant;

use crate::check::check;
use crate::client::Client;
use crate::daemon::Daemon;

const CLIENTS: usize = 64;
/// Turns of each daemon, so that what else the machine does meets both.
const TURNS: usize = 5;

/// So many logged requests, and as many that aren't.
pub fn run(requests: usize) {
    let (logged_folder, unlogged_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let logged = Daemon::start(logged_folder.path(), "rotate_bytes = 8388608\n");
    let unlogged = Daemon::start(unlogged_folder.path(), "record = \"off\"\n");
    // The first ones open files and warm caches.
    let mut ids = ask(&logged, CLIENTS).0;
    ask(&unlogged, CLIENTS);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        without.push(ask(&unlogged, requests / TURNS).1);
        let (more, pace) = ask(&logged, requests / TURNS);
        ids.extend(more);
        with.push(pace);
    }
    logged.end();
    unlogged.end();
    let found = check(&logged_folder.path().join("log.jsonl"), false);
    found.has_once(&ids);
    assert_eq!(found.lines, ids.len() as u64, "a line for each answer");
    assert!(!unlogged_folder.path().join("log.jsonl").exists());
    let (with, without) = (median(with), median(without));
    println!(
        "torture: {} requests from {CLIENTS} clients, {} files: 0 lost, 0 doubled; {with:.0} a second logged, {without:.0} unlogged: {:.1} %",
        ids.len(),
        found.files,
        100.0 * with / without
    );
}

/// Asks so many times, side by side; the ids and how many answers a second.
fn ask(daemon: &Daemon, requests: usize) -> (Vec<String>, f64) {
    let begun = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (address, share) = (daemon.address.clone(), requests / CLIENTS + usize::from(number < requests % CLIENTS));
            std::thread::spawn(move || {
                let mut client = Client::connect(&address).unwrap();
                let body = r#"{"prompt":"Once upon a time there was","max_tokens":16}"#;
                (0..share).map(|_| client.ask("/generate", body).unwrap()).collect::<Vec<_>>()
            })
        })
        .collect();
    let ids: Vec<String> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    let pace = ids.len() as f64 / begun.elapsed().as_secs_f64();
    (ids, pace)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

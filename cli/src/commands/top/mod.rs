//! `minivault top`: what a daemon is doing, second by second.

mod sample;
mod screen;
mod view;

use std::time::Duration;

use crate::client::Client;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::output::Output;
use sample::Sample;
use screen::{Screen, can_draw};
use view::History;

/// From one look to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether it is drawn in place, and Ctrl-C has a terminal to leave as it was.
pub fn is_live() -> bool {
    can_draw()
}

/// Draws until the person leaves; into a pipe it tells one second, as lines.
pub async fn run(client: &Client, output: &mut Output) -> Result<(), Failure> {
    // Whoever can't be asked is told about before the screen is taken.
    let mut history = History::new(client.address(), Sample::take(client).await?);
    if !is_live() {
        tokio::time::sleep(PAUSE).await;
        history.add(Sample::take(client).await?);
        return history.lines(output.width()).iter().try_for_each(|line| output.line(line));
    }
    let mut interrupts = Interrupts::listen()?;
    let mut screen = Screen::open()?;
    loop {
        let mut lines = history.lines(output.width());
        lines.push(String::new());
        lines.push("q leaves".into());
        screen.draw(&lines)?;
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            key = screen.key() => match key {
                Some(b'q' | b'Q') | None => return Ok(()),
                Some(_) => continue,
            },
            () = interrupts.next() => return Err(Failure::Interrupted),
        }
        let sample = tokio::select! {
            sample = Sample::take(client) => sample,
            () = interrupts.next() => return Err(Failure::Interrupted),
        };
        match sample {
            Ok(sample) => history.add(sample),
            // A daemon that is started anew is looked for until it is there again.
            Err(failure) => history.lost(failure.message().unwrap_or_default()),
        }
    }
}

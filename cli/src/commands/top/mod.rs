//! `minivault top`: what a daemon is doing, second by second.
//!
//! - [`sample`]: one look at it
//! - [`history`]: what several looks tell together; as lines for a pipe
//! - [`view`]: that on a screen
//! - [`screen`]: the terminal, taken and given back

mod history;
mod sample;
mod screen;
mod view;

use std::pin::pin;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};

use crate::client::Client;
use crate::failure::Failure;
use crate::interrupts::Endings;
use crate::output::Output;
use history::History;
use sample::Sample;
use screen::{Deed, Screen, can_draw};
use view::{Look, draw};

/// From one look to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether it is drawn in place, and whatever ends it has a terminal to leave as it was.
pub fn is_live() -> bool {
    can_draw()
}

/// Draws until the person leaves; into a pipe it tells one second, as lines.
pub async fn run(client: &Client, output: &mut Output) -> Result<(), Failure> {
    // Whoever can't be asked is told about before the screen is taken.
    let mut history = History::new(client.address(), Sample::take(client).await?);
    let mut looks = pin!(looks(client));
    if !is_live() {
        if let Some(sample) = looks.next().await {
            history.add(sample?);
        }
        return history.lines(output.width()).iter().try_for_each(|line| output.line(line));
    }
    let look = Look { styled: output.is_styled() };
    let mut endings = Endings::listen()?;
    let mut screen = Screen::open()?;
    loop {
        screen.draw(|frame| draw(frame, &history, look))?;
        // A key is heard at once, whether a look is under way or waited for, and neither begins anew because of it.
        tokio::select! {
            deed = screen.deed() => match deed? {
                Deed::Leave => return Ok(()),
                Deed::Interrupt => return Err(Failure::Interrupted),
                Deed::Other => {}
            },
            ending = endings.next() => return Err(ending),
            Some(sample) = looks.next() => match sample {
                Ok(sample) => history.add(sample),
                // A daemon that is started anew is looked for until it is there again.
                Err(failure) => history.lost(failure.message().unwrap_or_default()),
            },
        }
    }
}

/// One look after the other, without end.
fn looks(client: &Client) -> impl Stream<Item = Result<Sample, Failure>> {
    stream::unfold(client, |client| async move {
        tokio::time::sleep(PAUSE).await;
        Some((Sample::take(client).await, client))
    })
}

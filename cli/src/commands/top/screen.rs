//! A terminal that is drawn in place and given back as it was, whatever ends the drawing.

use std::env;
use std::io::{self, IsTerminal};
use std::thread;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::EnterAlternateScreen;
use ratatui::layout::Rect;
use ratatui::{DefaultTerminal, Frame, TerminalOptions, Viewport};
use tokio::sync::mpsc::{Receiver, channel};

use crate::failure::Failure;
use crate::output::terminal_size;

/// Columns and lines of a terminal that doesn't know its own.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// Whether there is a terminal that can be drawn on and typed at.
pub fn can_draw() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The terminal while it is drawn on.
pub struct Screen {
    // Dropped in this order: the cursor is shown again, then the terminal is as it was.
    terminal: DefaultTerminal,
    _given_back: GivenBack,
    events: Receiver<io::Result<Event>>,
}

/// What a person does at the terminal.
#[derive(Debug, PartialEq, Eq)]
pub enum Deed {
    /// `q` or Esc.
    Leave,
    /// Ctrl-C, which is a key like others while every key is heard at once.
    Interrupt,
    /// Anything else, a change of the window's size among it.
    Other,
}

impl Screen {
    /// Takes the terminal until dropped. A panic gives it back, too, before it is told.
    pub fn open() -> Result<Self, Failure> {
        let given_back = GivenBack;
        let terminal = ratatui::try_init_with_options(TerminalOptions { viewport: Viewport::Fixed(size()) }).map_err(unusable)?;
        execute!(io::stdout(), EnterAlternateScreen).map_err(unusable)?;
        let (sender, events) = channel(16);
        // The wait for a key can't be given up; the thread ends with the process.
        thread::spawn(move || {
            loop {
                let event = event::read();
                let over = event.is_err();
                if sender.blocking_send(event).is_err() || over {
                    break;
                }
            }
        });
        Ok(Self { terminal, _given_back: given_back, events })
    }

    /// Waits for what is typed, or done to the window.
    pub async fn deed(&mut self) -> Result<Deed, Failure> {
        match self.events.recv().await {
            Some(Ok(event)) => Ok(deed(&event)),
            Some(Err(error)) => Err(unusable(error)),
            None => Ok(Deed::Leave),
        }
    }

    /// Draws all of it anew; only what is another one goes to the terminal.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<(), Failure> {
        let size = size();
        if self.terminal.get_frame().area() != size {
            self.terminal.resize(size).map_err(unusable)?;
        }
        self.terminal.draw(draw).map(drop).map_err(unusable)
    }
}

struct GivenBack;

impl Drop for GivenBack {
    fn drop(&mut self) {
        // A panic's hook has done it already; done twice, the cursor would jump back over what the panic has said.
        if !thread::panicking() {
            // A terminal that is gone takes nothing back.
            let _ = ratatui::try_restore();
        }
    }
}

/// That of the terminal at stdout. crossterm would ask the controlling one, which needn't be the same.
fn size() -> Rect {
    let (columns, lines) = terminal_size().unwrap_or(USUAL_SIZE);
    Rect::new(0, 0, u16::try_from(columns).unwrap_or(u16::MAX), u16::try_from(lines).unwrap_or(u16::MAX))
}

fn deed(event: &Event) -> Deed {
    match event {
        Event::Key(key) if key.kind == KeyEventKind::Release => Deed::Other,
        Event::Key(key) => match key.code {
            KeyCode::Char('c' | 'C') if key.modifiers.contains(KeyModifiers::CONTROL) => Deed::Interrupt,
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => Deed::Leave,
            _ => Deed::Other,
        },
        _ => Deed::Other,
    }
}

#[allow(clippy::needless_pass_by_value)] // As `map_err` hands it over.
fn unusable(error: io::Error) -> Failure {
    Failure::Failed(format!("the terminal cannot be used: {error}"))
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn q_and_escape_leave_and_ctrl_c_interrupts() {
        let key = |code, modifiers| deed(&Event::Key(KeyEvent::new(code, modifiers)));
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::NONE), Deed::Leave);
        assert_eq!(key(KeyCode::Char('Q'), KeyModifiers::SHIFT), Deed::Leave);
        assert_eq!(key(KeyCode::Esc, KeyModifiers::NONE), Deed::Leave);
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Deed::Interrupt);
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), Deed::Other);
        assert_eq!(deed(&Event::Resize(80, 24)), Deed::Other);
    }
}

//! What a terminal shows: as much of one as this client's screens use.

use std::iter::Peekable;
use std::str::Chars;

/// A terminal's two screens, of which it shows one.
pub struct Screen {
    width: usize,
    cells: [Vec<Vec<char>>; 2],
    shown: usize,
    place: (usize, usize),
    pub cursor: bool,
    /// Whether a colour, or another style, has been asked for.
    pub styled: bool,
    rest: Vec<u8>,
}

impl Screen {
    pub fn new(width: usize, height: usize) -> Self {
        let cells = [vec![vec![' '; width]; height], vec![vec![' '; width]; height]];
        Self { width, cells, shown: 0, place: (0, 0), cursor: true, styled: false, rest: Vec::new() }
    }

    /// The lines of the screen that is shown.
    pub fn text(&self) -> String {
        let lines = self.cells[self.shown].iter().map(|line| line.iter().collect::<String>().trim_end().to_owned());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Whether it is the one that programs draw on.
    pub fn is_the_other_one(&self) -> bool {
        self.shown == 1
    }

    /// Takes what a program writes. What is broken off waits for the rest.
    pub fn take(&mut self, bytes: &[u8]) {
        self.rest.extend(bytes);
        let whole = std::str::from_utf8(&self.rest).map_or_else(|error| error.valid_up_to(), str::len);
        let text = String::from_utf8(self.rest.drain(..whole).collect()).unwrap();
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\u{1b}' => match sequence(&mut characters) {
                    Some((arguments, last)) => self.obey(&arguments, last),
                    None => {
                        let begun = text.rfind('\u{1b}').unwrap_or(0);
                        self.rest.splice(0..0, text[begun..].bytes());
                        return;
                    }
                },
                '\r' => self.place.1 = 0,
                '\n' => self.place.0 += 1,
                character => {
                    let (line, column) = self.place;
                    if let Some(cell) = self.cells[self.shown].get_mut(line).and_then(|line| line.get_mut(column)) {
                        *cell = character;
                    }
                    self.place.1 += 1;
                }
            }
        }
    }

    fn obey(&mut self, arguments: &str, last: char) {
        let mut numbers = arguments.split(';').map(|number| number.parse::<usize>().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        match (arguments, last) {
            ("?1049", 'h') => self.shown = 1,
            ("?1049", 'l') => self.shown = 0,
            ("?25", 'h' | 'l') => self.cursor = last == 'h',
            (_, 'H') => self.place = (next().max(1) - 1, next().max(1) - 1),
            (_, 'J' | 'K') => {
                let (line, column) = self.place;
                let below = if last == 'J' && arguments != "2" { line + 1 } else { usize::MAX };
                for (number, cells) in self.cells[self.shown].iter_mut().enumerate() {
                    let from = match () {
                        () if arguments == "2" || number >= below => 0,
                        () if number == line => column,
                        () => self.width,
                    };
                    cells.iter_mut().skip(from).for_each(|cell| *cell = ' ');
                }
            }
            (_, 'm') => self.styled |= arguments.split(';').any(|style| !matches!(style, "" | "0" | "22" | "39" | "49" | "59")),
            _ => {}
        }
    }
}

/// The rest of a control sequence; `None` where more of it is to come.
fn sequence(characters: &mut Peekable<Chars<'_>>) -> Option<(String, char)> {
    if characters.next()? != '[' {
        return Some((String::new(), ' '));
    }
    let mut arguments = String::new();
    loop {
        match characters.next()? {
            last @ '@'..='~' => return Some((arguments, last)),
            more => arguments.push(more),
        }
    }
}

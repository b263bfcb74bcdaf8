//! Calls taken out of a text that arrives in pieces.

use super::ToolForm;
use super::object::{CallScanner, Step};
use crate::generation::{TextEvent, ToolCallPiece};

/// What ends a tagged call.
const END_TAG: &str = "</tool_call>";

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text beside the calls.
    Text(String),
    /// A piece of a call.
    Call(ToolCallPiece),
}

/// Takes calls out of a text while it is being written.
///
/// Something is a call once it names one of the tools; what turns out to be none is text as it stands.
#[derive(Debug)]
pub struct ToolCallReader {
    form: ToolForm,
    names: Vec<String>,
    /// What the calls' names are made of, so that they come again with the same request.
    origin: [u8; 32],
    state: State,
    /// What has been read and may still become, or belong to, a call.
    held: String,
    /// Arguments that came before the name.
    early: String,
    /// Whether the call being read has been told of, and any of its arguments.
    told: bool,
    argued: bool,
    calls: usize,
    /// Whether the first call is the last one.
    for_one_call: bool,
    out: Vec<Piece>,
}

#[derive(Debug)]
enum State {
    /// At the beginning of the answer; `{` or `[` may begin a call without a mark.
    Begin,
    Text,
    /// Behind a mark or between calls.
    Between,
    Call(CallScanner),
    /// Behind the only call that was wanted.
    Over,
}

impl Piece {
    pub(super) fn into_event(self) -> TextEvent {
        match self {
            Self::Text(text) => TextEvent::Text { text, tokens: Vec::new() },
            Self::Call(piece) => TextEvent::ToolCall(piece),
        }
    }
}

impl ToolCallReader {
    /// A reader of calls of these tools. `prescribed`: the answer is a call and begins behind its mark. `origin` tells this answer from others.
    pub fn new(form: ToolForm, names: Vec<String>, prescribed: bool, origin: &[u8]) -> Self {
        let state = if prescribed { State::Between } else { State::Begin };
        let origin = *blake3::hash(origin).as_bytes();
        Self {
            form,
            names,
            origin,
            state,
            held: String::new(),
            early: String::new(),
            told: false,
            argued: false,
            calls: 0,
            for_one_call: false,
            out: Vec::new(),
        }
    }

    /// The same for the first call alone: whatever the model writes behind it isn't told.
    pub fn for_one_call(self) -> Self {
        Self { for_one_call: true, ..self }
    }

    /// Calls begun so far.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// Reads more of the text.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        text.chars().for_each(|character| self.read(character));
        std::mem::take(&mut self.out)
    }

    /// What was held back, when nothing more can come.
    pub fn finish(&mut self) -> Vec<Piece> {
        match self.state {
            State::Over => self.held.clear(),
            State::Between if self.calls > 0 => self.held.clear(),
            State::Call(_) if self.told => self.held.clear(),
            _ => self.give_up(),
        }
        std::mem::take(&mut self.out)
    }

    fn read(&mut self, character: char) {
        if matches!(self.state, State::Over) {
            return;
        }
        self.held.push(character);
        let begins = self.form.begins_bare() && matches!(character, '{' | '[') && !self.may_be_mark();
        match &mut self.state {
            State::Begin if character.is_whitespace() => {}
            State::Begin if begins => self.begin(character),
            State::Begin | State::Text => self.read_text(),
            State::Between => self.read_between(character),
            State::Over => {}
            State::Call(scanner) => {
                let step = scanner.push(character);
                self.take(step);
            }
        }
    }

    /// In Mistral's form the mark itself begins with a bracket.
    fn may_be_mark(&self) -> bool {
        self.form.mark().starts_with(self.held.trim_start())
    }

    fn begin(&mut self, character: char) {
        self.state = if character == '{' { State::Call(CallScanner::default()) } else { State::Between };
    }

    /// Tells text as soon as it can't be the beginning of a mark, or the blank before one.
    fn read_text(&mut self) {
        let mark = self.form.mark();
        let begin = matches!(self.state, State::Begin);
        if let Some(before) = self.held.strip_suffix(mark) {
            let text = before.trim_end().to_owned();
            self.held.drain(..before.len());
            self.tell(text);
            self.state = State::Between;
            return;
        }
        let kept = (0..mark.len()).rev().find(|&length| self.held.ends_with(&mark[..length])).unwrap_or(0);
        let certain = self.held[..self.held.len() - kept].trim_end().len();
        if begin && kept > 0 && certain == 0 {
            return;
        }
        if begin && self.form.begins_bare() && self.held.trim_start().starts_with('[') {
            // It was no mark after all: a list of calls, perhaps, whose beginning has been held.
            self.state = State::Between;
            let held = std::mem::take(&mut self.held);
            let list = held.trim_start();
            self.held.push_str(&held[..held.len() - list.len() + 1]);
            list.chars().skip(1).for_each(|character| self.read(character));
            return;
        }
        self.state = State::Text;
        let text: String = self.held.drain(..certain).collect();
        self.tell(text);
    }

    fn read_between(&mut self, character: char) {
        if character == '{' {
            self.state = State::Call(CallScanner::default());
            return;
        }
        let rest = self.held.trim_start();
        let rest = rest.strip_prefix(self.form.mark()).unwrap_or(rest);
        let rest = rest.trim_start_matches(|character: char| character.is_whitespace() || matches!(character, '[' | ',' | ';' | ']'));
        let awaited = [END_TAG, self.form.mark()];
        if self.calls > 0 && rest == END_TAG {
            self.held.clear();
        } else if !rest.trim().is_empty() && !awaited.iter().any(|tag| tag.starts_with(rest.trim_start())) {
            if self.calls > 0 {
                self.held = rest.to_owned();
            }
            self.give_up();
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::More => {}
            Step::Name(name) if self.names.contains(&name) && !self.told => {
                let index = self.calls;
                self.calls += 1;
                self.told = true;
                let arguments = std::mem::take(&mut self.early);
                self.argued = !arguments.is_empty();
                self.out.push(Piece::Call(ToolCallPiece { index, id: Some(self.id(index)), name: Some(name), arguments }));
            }
            Step::Arguments(more) if self.told => self.arguments(more),
            Step::Arguments(more) => self.early.push_str(&more),
            Step::Whole if self.told => {
                if !self.argued {
                    self.arguments("{}".to_owned());
                }
                self.told = false;
                self.held.clear();
                self.state = if self.for_one_call { State::Over } else { State::Between };
            }
            Step::Name(_) | Step::Whole | Step::Broken => self.give_up(),
        }
    }

    /// Adds to the last piece where that is of the same call.
    fn arguments(&mut self, more: String) {
        self.argued = true;
        let index = self.calls - 1;
        match self.out.last_mut() {
            Some(Piece::Call(piece)) if piece.index == index => piece.arguments.push_str(&more),
            _ => self.out.push(Piece::Call(ToolCallPiece { index, arguments: more, ..ToolCallPiece::default() })),
        }
    }

    /// What is held is text after all, unless a call that has been told of ends in the middle.
    fn give_up(&mut self) {
        self.early.clear();
        self.state = State::Text;
        let held = std::mem::take(&mut self.held);
        if !std::mem::take(&mut self.told) {
            self.tell(held);
        }
    }

    fn tell(&mut self, text: String) {
        if text.is_empty() {
            return;
        }
        match self.out.last_mut() {
            Some(Piece::Text(before)) => before.push_str(&text),
            _ => self.out.push(Piece::Text(text)),
        }
    }

    fn id(&self, index: usize) -> String {
        let mut hash = blake3::Hasher::new();
        hash.update(&self.origin).update(&index.to_le_bytes());
        format!("call_{}", &hash.finalize().to_hex()[..24])
    }
}

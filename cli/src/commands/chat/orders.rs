//! Lines that begin with `/`: what the person wants of the client rather than of the model.

use std::io::{self, Write};
use std::path::Path;

use minivault_wire::models::Model;

use super::conversation::Conversation;
use super::{settings, transcript};
use crate::client::Client;
use crate::commands::models;
use crate::failure::Failure;
use crate::nearest::did_you_mean;
use crate::output::{Output, terminal_size};

const HELP: &str = "\
/retry             another answer to the last question
/model [NAME]      the engine that is asked; without a name, those there are
/system [TEXT]     what the model is told before the conversation
/set [NAME VALUE]  how tokens are chosen: temperature, max_tokens, seed, …
/save FILE         write the conversation: JSON to a name in .json, else Markdown
/save! FILE        the same, over a file that is there
/clear             forget what was said
/help              this list; Tab completes a command
/quit              leave, as Ctrl-D and Ctrl-C do
- as name, text or value leaves it to the daemon again. Ctrl-C stops an answer.
A message goes on after a line that ends with \\, and from \"\"\" to \"\"\".
A space in front sends a line that begins with /.";

/// What Tab completes.
pub const NAMES: [&str; 8] = ["/retry", "/model", "/system", "/set", "/save", "/clear", "/help", "/quit"];

/// An order, with what follows its name.
#[derive(Debug, PartialEq, Eq)]
pub enum Order<'a> {
    Quit,
    Retry,
    Clear,
    Help,
    Model(&'a str),
    System(&'a str),
    Set(&'a str),
    Save { file: &'a str, replace: bool },
    Unknown(&'a str),
}

impl<'a> Order<'a> {
    /// `None` for what is meant for the model.
    pub fn from_line(line: &'a str) -> Option<Self> {
        if !line.starts_with('/') {
            return None;
        }
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        Some(match (name, rest) {
            ("/quit" | "/exit", "") => Self::Quit,
            ("/retry", "") => Self::Retry,
            ("/clear", "") => Self::Clear,
            ("/help", "") => Self::Help,
            ("/model", name) => Self::Model(name),
            ("/system", text) => Self::System(text),
            ("/set", setting) => Self::Set(setting),
            ("/save" | "/save!", file) => Self::Save { file, replace: name.ends_with('!') },
            _ => Self::Unknown(line.trim_end()),
        })
    }

    /// Does what is wanted of all but [`Order::Quit`] and [`Order::Retry`], which are for the conversation's loop.
    pub async fn obey(self, client: &Client, conversation: &mut Conversation, output: &mut Output) -> Result<(), Failure> {
        let sampling = &mut conversation.sampling;
        match self {
            Self::Quit | Self::Retry => {}
            Self::Clear => {
                conversation.clear();
                output.note("forgotten");
            }
            Self::Help => say(HELP),
            Self::Model("") => say(&engines(client, sampling.model.as_deref()).await?.join("\n")),
            Self::Model(settings::UNSET) => {
                sampling.model = None;
                output.note("the daemon's default engine is asked");
            }
            Self::Model(name) => {
                engine(client.models().await?.value.data, name)?;
                sampling.model = Some(name.to_owned());
                output.note(&format!("{name} is asked"));
            }
            Self::System("") => say(conversation.system.as_deref().unwrap_or("the model is told nothing before the conversation")),
            Self::System(settings::UNSET) => {
                conversation.system = None;
                output.note("the model is told nothing before the conversation");
            }
            Self::System(text) => {
                conversation.system = Some(text.to_owned());
                output.note("told before the conversation from the next question on");
            }
            Self::Set("") => say(&settings::describe(sampling)),
            Self::Set(setting) => {
                let Some((name, value)) = setting.split_once(char::is_whitespace) else {
                    return Err(Failure::Usage(format!("/set {setting} lacks a value; - leaves it to the daemon")));
                };
                settings::set(sampling, name, value.trim()).map_err(Failure::Usage)?;
                output.note(&settings::describe(sampling));
            }
            Self::Save { file: "", .. } => return Err(Failure::Usage("/save lacks the name of a file".into())),
            Self::Save { file, replace } => {
                let body = conversation.body(conversation.sampling.seed);
                transcript::save(&body, Path::new(file), replace)?;
                output.note(&format!("saved as {file}"));
            }
            Self::Unknown(line) => say(&unknown(line)),
        }
        Ok(())
    }
}

/// What is to be said of a line that is no command.
fn unknown(line: &str) -> String {
    let name = line.split_whitespace().next().unwrap_or(line);
    if NAMES.contains(&name) {
        return format!("{name} takes nothing behind it; a space in front sends the line to the model");
    }
    format!("{line} is no command; {}", did_you_mean(name, NAMES, "/help lists them"))
}

/// The engine of that name among those there are.
pub fn engine(list: Vec<Model>, name: &str) -> Result<Model, Failure> {
    let names: Vec<String> = list.iter().map(|model| model.id.clone()).collect();
    let found = list.into_iter().find(|model| is_called(model, name));
    found.ok_or_else(|| {
        let meant = did_you_mean(name, names.iter().map(String::as_str), &format!("it has {}", names.join(", ")));
        Failure::Usage(format!("the daemon has no engine {name:?}; {meant}"))
    })
}

fn is_called(model: &Model, name: &str) -> bool {
    model.id == name || model.aliases.iter().any(|alias| alias == name)
}

/// The engines, the one that is asked marked.
async fn engines(client: &Client, asked: Option<&str>) -> Result<Vec<String>, Failure> {
    let list = client.models().await?.value.data;
    let line = |model: Model| {
        let details = model.minivault.clone().unwrap_or_default();
        let chosen = asked.map_or(details.default, |name| is_called(&model, name));
        format!("{} {}  {}", if chosen { "*" } else { " " }, model.id, models::state(&details)).trim_end().to_owned()
    };
    Ok(list.into_iter().map(line).collect())
}

/// What was asked for is told also with `--quiet`.
pub fn say(text: &str) {
    // A closed stderr is no reason to end the conversation.
    let _ = writeln!(io::stderr(), "{}", wrapped(&crate::output::printable(text), terminal_size().map(|(columns, _)| columns)));
}

/// Breaks lines between words where a terminal of so many columns would break them anywhere; what follows a first column stays under it.
fn wrapped(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let line = |line: &str| {
        let text = line.find("  ").map_or(0, |gap| gap + line[gap..].len() - line[gap..].trim_start().len());
        let indent = if text < width / 2 { line[..text].chars().count() } else { 0 };
        let mut lines = vec![line[..text].to_owned()];
        for (number, word) in line[text..].split(' ').enumerate() {
            let last = lines.last().map_or(0, |last| last.chars().count());
            match lines.last_mut() {
                Some(last_line) if number == 0 || last + 1 + word.chars().count() <= width => {
                    last_line.push_str(if number == 0 { "" } else { " " });
                    last_line.push_str(word);
                }
                _ => lines.push(" ".repeat(indent) + word),
            }
        }
        lines.join("\n")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_slash_in_front_makes_an_order() {
        let check = |line, order| assert_eq!(Order::from_line(line), order, "{line:?}");
        check("Hello /quit", None);
        check(" /quit", None);
        check("/quit ", Some(Order::Quit));
        check("/quit now", Some(Order::Unknown("/quit now")));
        check("/system  Be kind. ", Some(Order::System("Be kind.")));
        check("/save! a b.md", Some(Order::Save { file: "a b.md", replace: true }));
        check("/saved", Some(Order::Unknown("/saved")));
        check("/", Some(Order::Unknown("/")));
    }

    #[test]
    fn lines_break_between_words_and_a_second_column_stays_one() {
        let check = |width, expected| assert_eq!(wrapped("/set    how tokens are chosen\n* a  b", width), expected);
        check(None, "/set    how tokens are chosen\n* a  b");
        check(Some(29), "/set    how tokens are chosen\n* a  b");
        check(Some(22), "/set    how tokens are\n        chosen\n* a  b");
        assert_eq!(wrapped("one two three", Some(8)), "one two\nthree");
    }

    #[test]
    fn a_misspelt_order_is_answered_with_the_one_that_was_meant() {
        assert_eq!(unknown("/modle smollm2"), "/modle smollm2 is no command; did you mean /model?");
        assert_eq!(unknown("/sing"), "/sing is no command; /help lists them");
        assert_eq!(unknown("/clear all"), "/clear takes nothing behind it; a space in front sends the line to the model");
    }
}

//! Lines that begin with `/`: what the person wants of the client rather than of the model.

use std::io::{self, Write};
use std::path::Path;

use super::conversation::Conversation;
use super::{settings, transcript};
use crate::client::Client;
use crate::commands::models;
use crate::failure::Failure;
use crate::nearest::did_you_mean;
use crate::output::Output;

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
                let list = client.models().await?.value.data;
                if !list.iter().any(|model| model.id == name || model.aliases.iter().any(|alias| alias == name)) {
                    let names: Vec<&str> = list.iter().map(|model| model.id.as_str()).collect();
                    let meant = did_you_mean(name, names.iter().copied(), &format!("it has {}", names.join(", ")));
                    return Err(Failure::Usage(format!("the daemon has no engine {name:?}; {meant}")));
                }
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

/// The engines, the one that is asked marked.
async fn engines(client: &Client, asked: Option<&str>) -> Result<Vec<String>, Failure> {
    let list = client.models().await?.value.data;
    let line = |model: minivault_wire::models::Model| {
        let details = model.minivault.unwrap_or_default();
        let chosen = asked.map_or(details.default, |name| model.id == name || model.aliases.iter().any(|alias| alias == name));
        format!("{} {}  {}", if chosen { "*" } else { " " }, model.id, models::state(&details)).trim_end().to_owned()
    };
    Ok(list.into_iter().map(line).collect())
}

/// What was asked for is told also with `--quiet`.
pub fn say(text: &str) {
    // A closed stderr is no reason to end the conversation.
    let _ = writeln!(io::stderr(), "{}", crate::output::printable(text));
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
    fn a_misspelt_order_is_answered_with_the_one_that_was_meant() {
        assert_eq!(unknown("/modle smollm2"), "/modle smollm2 is no command; did you mean /model?");
        assert_eq!(unknown("/sing"), "/sing is no command; /help lists them");
        assert_eq!(unknown("/clear all"), "/clear takes nothing behind it; a space in front sends the line to the model");
    }
}

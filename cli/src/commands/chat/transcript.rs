//! `/save`: a conversation as a file.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use minivault_wire::chat::{ChatBody, Content};

use crate::failure::Failure;

/// Writes what was said: a body of `/v1/chat/completions` where the name ends with `.json`, else Markdown.
pub fn save(body: &ChatBody, file: &Path, replace: bool) -> Result<(), Failure> {
    let json = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let text = if json { as_json(body)? } else { as_markdown(body) };
    let mut options = OpenOptions::new();
    options.write(true);
    if replace {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let written = options.open(file).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::Usage(format!("{name} is there already; /save! {name} replaces it", name = file.display()))
        }
        _ => Failure::Failed(format!("{} cannot be written: {error}", file.display())),
    })
}

fn as_json(body: &ChatBody) -> Result<String, Failure> {
    let body = ChatBody { stream: None, stream_options: None, ..body.clone() };
    let text = serde_json::to_string_pretty(&body).map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(text + "\n")
}

fn as_markdown(body: &ChatBody) -> String {
    let messages = body.messages.iter().map(|message| {
        let heading = match message.role.as_str() {
            "system" => "System",
            "assistant" => "Assistant",
            _ => "User",
        };
        let text = match &message.content {
            Some(Content::Text(text)) => text.trim(),
            _ => "",
        };
        format!("## {heading}\n\n{text}\n")
    });
    messages.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use minivault_wire::chat::Message;

    use super::*;

    fn body() -> ChatBody {
        let messages = vec![Message::text("system", "Be kind."), Message::text("user", "Hello"), Message::text("assistant", " Hi 🦀\n")];
        ChatBody { messages, seed: Some(7), stream: Some(true), ..ChatBody::default() }
    }

    #[test]
    fn the_name_decides_the_form() {
        let folder = tempfile::tempdir().unwrap();
        let (markdown, json) = (folder.path().join("a.md"), folder.path().join("a.json"));
        save(&body(), &markdown, false).unwrap();
        save(&body(), &json, false).unwrap();
        assert_eq!(fs::read_to_string(markdown).unwrap(), "## System\n\nBe kind.\n\n## User\n\nHello\n\n## Assistant\n\nHi 🦀\n");
        let saved: ChatBody = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
        assert_eq!(saved, ChatBody { stream: None, ..body() });
    }

    #[test]
    fn what_is_there_is_replaced_only_when_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.md");
        fs::write(&file, "precious").unwrap();
        let Err(Failure::Usage(message)) = save(&body(), &file, false) else { panic!("replaced") };
        assert!(message.contains("is there already; /save! "), "{message}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        save(&body(), &file, true).unwrap();
        assert!(fs::read_to_string(&file).unwrap().starts_with("## System"));
    }
}

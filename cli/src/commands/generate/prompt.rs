//! Where a prompt comes from: the command line, a pipe, a file, a template.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};

use crate::arguments::Generate;
use crate::failure::Failure;

/// Far beyond every model's context; a wrong file in the pipe shouldn't fill the memory first.
const LONGEST_PROMPT: u64 = 64 << 20;
/// Steps of a template's run: far more than a prompt takes, and the end of a loop that has none.
const FUEL: u64 = 10_000_000;

/// The prompt that the arguments describe.
pub fn prompt(arguments: &Generate) -> Result<String, Failure> {
    let input = input(arguments)?;
    let prompt = match &arguments.template {
        Some(template) => {
            let mut values = BTreeMap::new();
            values.extend(input.map(|input| ("input".to_owned(), input)));
            for (name, value) in &arguments.variables {
                let value = match value.strip_prefix('@') {
                    Some(path) => read_file(Path::new(path))?,
                    None => value.clone(),
                };
                values.insert(name.clone(), value);
            }
            render(&template.display().to_string(), &read_file(template)?, &values)?
        }
        None => input.ok_or_else(|| Failure::Usage("no prompt: give one as an argument, or pipe it in".into()))?,
    };
    if prompt.is_empty() { Err(Failure::Usage("the prompt is empty".into())) } else { Ok(prompt) }
}

/// What is given to be continued. A template may do without: then a pipe is read only where `-` asks for it.
fn input(arguments: &Generate) -> Result<Option<String>, Failure> {
    match (&arguments.file, arguments.prompt.as_deref()) {
        (Some(file), _) => read_file(file).map(Some),
        (None, Some("-")) => read(io::stdin().lock(), "stdin").map(Some),
        (None, Some(prompt)) => Ok(Some(prompt.to_owned())),
        (None, None) if arguments.template.is_some() || io::stdin().is_terminal() => Ok(None),
        (None, None) => read(io::stdin().lock(), "stdin").map(Some),
    }
}

fn read_file(path: &Path) -> Result<String, Failure> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| Failure::Usage(format!("{name} cannot be read: {error}")))?;
    read(file, &name)
}

fn read(input: impl Read, source: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    input
        .take(LONGEST_PROMPT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::Failed(format!("the prompt on {source} cannot be read: {error}")))?;
    if bytes.len() as u64 > LONGEST_PROMPT {
        return Err(Failure::Usage(format!("the prompt on {source} is longer than {} MiB", LONGEST_PROMPT >> 20)));
    }
    let mut prompt = String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        Failure::Usage(format!("the prompt on {source} is not UTF-8: byte 0x{:02x} at offset {place}", error.as_bytes()[place]))
    })?;
    // `echo`, and an editor, end what they write with a line end that nobody thinks of as text.
    if prompt.ends_with('\n') {
        prompt.pop();
        if prompt.ends_with('\r') {
            prompt.pop();
        }
    }
    Ok(prompt)
}

/// A variable that nobody gave is a mistake, not an empty text.
fn render(name: &str, template: &str, values: &BTreeMap<String, String>) -> Result<String, Failure> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    // A prompt is text, whatever the name of the template ends with.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.render_named_str(name, template, values).map_err(|error| {
        // Of all branches, taken or not; what the language itself brings (`range`) is none of them.
        let names = environment.template_from_named_str(name, template).map(|template| template.undeclared_variables(false));
        let is_known = |name: &str| values.contains_key(name) || environment.globals().any(|(global, _)| global == name);
        let missing: BTreeSet<String> = names.unwrap_or_default().into_iter().filter(|name| !is_known(name)).collect();
        let missing = Vec::from_iter(missing).join(", ");
        let missing = match error.kind() {
            ErrorKind::UndefinedError if !missing.is_empty() => format!(" ({missing})"),
            _ => String::new(),
        };
        let mut given: Vec<&str> = values.keys().map(String::as_str).collect();
        if given.is_empty() {
            given.push("none");
        }
        Failure::Usage(format!("the template makes no prompt: {error}{missing}; given variables: {}", given.join(", ")))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &[u8], expected: &str) {
        assert_eq!(read(input, "stdin").unwrap(), expected);
    }

    #[test]
    fn exactly_one_line_end_is_taken_off_a_piped_prompt() {
        check(b"Hello\n", "Hello");
        check(b"Hello\r\n", "Hello");
        check(b"Hello\n\n", "Hello\n");
        check(b" Hello ", " Hello ");
        check(b"\n", "");
    }

    #[test]
    fn a_prompt_that_is_not_text_is_refused_with_the_place() {
        let Err(Failure::Usage(message)) = read(&b"ab\xff"[..], "stdin") else { panic!("accepted") };
        assert!(message.contains("0xff at offset 2"), "{message}");
    }

    #[test]
    fn an_endless_prompt_is_refused() {
        assert!(matches!(read(io::repeat(b'a'), "stdin"), Err(Failure::Usage(_))));
    }

    #[test]
    fn a_template_gets_its_variables_and_lacks_none() {
        let values = BTreeMap::from([("input".to_owned(), "<b> & \"c\"".to_owned()), ("language".to_owned(), "Rust".to_owned())]);
        assert_eq!(render("t.json", "{{ language|upper }}:\n{{ input }}", &values).unwrap(), "RUST:\n<b> & \"c\"");
        let Err(Failure::Usage(message)) = render("review.txt", "{{ input }}\n{{ lang }}", &values) else { panic!("rendered") };
        assert!(message.contains("review.txt:2) (lang)") && message.ends_with("given variables: input, language"), "{message}");
        assert!(render("t", "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}", &values).is_err());
    }
}

//! `[aliases]`: other names for engines.

use crate::kit::Setup;

#[test]
fn an_alias_is_any_word_and_stands_for_an_engine() {
    let setup = Setup::file("[aliases]\n\"gpt-4o-2024-08-06\" = \"smollm2\"\n\"*\" = \"distilgpt2\"\n");
    let aliases = setup.settings().aliases;
    assert_eq!(aliases["gpt-4o-2024-08-06"], "smollm2");
    assert_eq!(aliases["*"], "distilgpt2");
    assert_eq!(setup.line("aliases.gpt-4o-2024-08-06").1, "config.toml:2:23");
    assert!(Setup::new().settings().aliases.is_empty());
}

#[test]
fn an_alias_of_nothing_or_of_an_engines_own_name_is_refused() {
    Setup::file("[aliases]\ngpt-4 = \"smolm2\"\n")
        .refused(&["config.toml:2:9: aliases.gpt-4 is \"smolm2\"; there is no table [engines.smolm2]; did you mean `smollm2`?"]);
    Setup::file("[aliases]\nsmollm2 = \"distilgpt2\"\n").refused(&[
        "config.toml:2:11: aliases.smollm2 is \"distilgpt2\"; `smollm2` is the name of an engine, so nothing else can be called that",
    ]);
    Setup::file("[aliases]\ngpt-4 = 4\n").refused(&["config.toml:2:9: aliases.gpt-4 is 4; it must be a string"]);
    Setup::file("aliases = \"smollm2\"\n").refused(&["config.toml:1:11: aliases is \"smollm2\"; it must be a table"]);
}

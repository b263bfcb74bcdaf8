//! Misspelt keys and wrong types are explained with their place, in each source.

#[cfg(unix)]
use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use minivault_engines::Engines;

use crate::kit::Setup;

#[test]
fn a_misspelt_key_in_a_file_gets_a_suggestion_in_every_table() {
    Setup::file("\n[sever]\nlisten = \"a:1\"\n").refused(&["config.toml:2:2: there is no key `sever`; did you mean `server`?"]);
    Setup::file("engin = \"a\"\n").refused(&["config.toml:1:1: there is no key `engin`; did you mean `engine`?"]);
    Setup::file("[server]\n  lisen = \"a:1\"\n").refused(&["config.toml:2:3: [server] has no key `lisen`; did you mean `listen`?"]);
    Setup::file("[log]\npaht = \"a\"\n").refused(&["config.toml:2:1: [log] has no key `paht`; did you mean `path`?"]);
    Setup::file("generation.topp = 1\n").refused(&["config.toml:1:12: [generation] has no key `topp`; did you mean `top_p`?"]);
    Setup::file("[engines.distilgpt2]\nmodle = \"a\"\n")
        .refused(&["config.toml:2:1: [engines.distilgpt2] has no key `modle`; did you mean `model`?"]);
    Setup::file("[engines.distilgpt2]\nfalback = \"a\"\n")
        .refused(&["config.toml:2:1: [engines.distilgpt2] has no key `falback`; did you mean `fallback`?"]);
    Setup::file("[engines.distilgpt2.cache]\nfolder = \"a\"\nslot = 1\n")
        .refused(&["config.toml:3:1: [engines.distilgpt2.cache] has no key `slot`; did you mean `slots`?"]);
}

#[test]
fn a_key_like_no_other_gets_the_list_of_keys() {
    let keys = "allow_off, compress, keep_bytes, keep_segments, on_failure, path, queue, record, redact, rotate_age, rotate_bytes, sync";
    Setup::file("[log]\nverbose = true\n").refused(&[&format!("config.toml:2:1: [log] has no key `verbose`; its keys are: {keys}")]);
    Setup::file("[engines.smollm2]\nx = 1\n").refused(&["config.toml:2:1: [engines.smollm2] has no key `x`; its keys are: \
         backend, context, fallback, isolate, keep_alive, load, load_timeout, memory_limit, model, sha256, tags, wheel"]);
    Setup::file("colour = 1\n").refused(&[
        "config.toml:1:1: there is no key `colour`; there are: aliases, built_in_engines, diagnostics, engine, engines, generation, log, server",
    ]);
}

#[test]
fn a_key_in_the_wrong_place_is_shown_the_right_one() {
    Setup::file("listen = \"a:1\"\n").refused(&["config.toml:1:1: there is no key `listen`; it belongs into [server]"]);
    Setup::file("[server]\nengine = \"a\"\n")
        .refused(&["config.toml:2:1: [server] has no key `engine`; it belongs at the top, outside of every table"]);
}

#[test]
fn a_misspelt_variable_gets_a_suggestion() {
    Setup::new()
        .variable("MINIVAULTD_SEVER__LISTEN", "a:1")
        .refused(&["environment variable MINIVAULTD_SEVER__LISTEN: there is no key `sever`; did you mean `server`?"]);
    Setup::new()
        .variable("MINIVAULTD_SERVER__LISEN", "a:1")
        .refused(&["environment variable MINIVAULTD_SERVER__LISEN: [server] has no key `lisen`; did you mean `listen`?"]);
    Setup::new().variable("MINIVAULTD_ENGINES__DISTILGPT2__THREAD", "1").refused(&[
        "environment variable MINIVAULTD_ENGINES__DISTILGPT2__THREAD: [engines.distilgpt2] has no key `thread`; did you mean `threads`?",
    ]);
}

#[test]
fn a_wrong_type_in_a_file_is_explained_in_every_table() {
    Setup::file("engine = 5\n").refused(&["config.toml:1:10: engine is 5; it must be a string"]);
    Setup::file("[server]\nlisten = 8000\n")
        .refused(&["config.toml:2:10: server.listen is 8000; it must be a string or a list of strings"]);
    Setup::file("[server]\ngrace = \"long\"\n").refused(&["config.toml:2:9: server.grace is \"long\"; it must be a number"]);
    Setup::file("[log]\nqueue = 1.5\n").refused(&["config.toml:2:9: log.queue is 1.5; it must be a whole number, 0 or more"]);
    Setup::file("[generation]\ntemperature = true\n").refused(&["config.toml:2:15: generation.temperature is true; it must be a number"]);
    Setup::file("[engines.distilgpt2]\nmodel = [\"a\"]\n")
        .refused(&["config.toml:2:9: engines.distilgpt2.model is [\"a\"]; it must be a string"]);
    Setup::file("[engines.distilgpt2]\nquiet = 1\n").refused(&["config.toml:2:9: engines.distilgpt2.quiet is 1; it must be true or false"]);
    Setup::file("[engines.distilgpt2]\nfallback = 1\n")
        .refused(&["config.toml:2:12: engines.distilgpt2.fallback is 1; it must be a string"]);
    Setup::file("[engines.distilgpt2]\ndtype = \"f23\"\n")
        .refused(&["config.toml:2:9: engines.distilgpt2.dtype is \"f23\"; it must be one of f32, bf16; did you mean `f32`?"]);
    Setup::file("[engines.distilgpt2]\ncache = 3\n").refused(&["config.toml:2:9: engines.distilgpt2.cache is 3; it must be a table"]);
}

#[test]
fn a_wrong_type_in_a_variable_is_explained() {
    Setup::new()
        .variable("MINIVAULTD_LOG__QUEUE", "many")
        .refused(&["environment variable MINIVAULTD_LOG__QUEUE: log.queue is \"many\"; it must be a whole number, 0 or more"]);
    Setup::new()
        .variable("MINIVAULTD_LOG__QUEUE", "-1")
        .refused(&["environment variable MINIVAULTD_LOG__QUEUE: log.queue is -1; it must be a whole number, 0 or more"]);
    Setup::new()
        .variable("MINIVAULTD_ENGINES__SMOLLM2__CONTEXT", "big")
        .refused(&["environment variable MINIVAULTD_ENGINES__SMOLLM2__CONTEXT: engines.smollm2.context is \"big\"; it must be a whole number, 0 or more"]);
}

#[test]
fn a_value_where_a_table_belongs_is_never_hidden_by_another_source() {
    let setup = Setup::file("server = 3\n").variable("MINIVAULTD_SERVER__LISTEN", "a:1");
    setup.refused(&["config.toml:1:10: server is 3; it must be a table"]);
    let setup = Setup::file("[log]\nqueue = 1\n").variable("MINIVAULTD_LOG", "a.jsonl");
    setup.refused(&["environment variable MINIVAULTD_LOG: log is \"a.jsonl\"; it must be a table"]);
    Setup::file("[engines]\ndistilgpt2 = \"gpt2\"\n").refused(&["config.toml:2:14: engines.distilgpt2 is \"gpt2\"; it must be a table"]);
    Setup::file("[[server]]\n").refused(&["config.toml:1:1: server is [{}]; it must be a table"]);
}

#[test]
fn a_variable_whose_name_makes_no_sense_is_refused() {
    let empty = "a level of its name is empty; __ stands between two names";
    for name in ["MINIVAULTD_", "MINIVAULTD_SERVER__", "MINIVAULTD___LISTEN", "MINIVAULTD_SERVER____LISTEN"] {
        Setup::new().variable(name, "a:1").refused(&[&format!("environment variable {name}: {empty}")]);
    }
    Setup::new()
        .variable("MINIVAULTD_ENGINE", "smollm2")
        .variable("MINIVAULTD_engine", "distilgpt2")
        .refused(&["environment variable MINIVAULTD_engine: it sets the same key as MINIVAULTD_ENGINE; keep one of them"]);
}

#[test]
#[cfg(unix)]
fn a_variable_that_is_not_text_is_refused() {
    let broken = OsStr::from_bytes(b"MINIVAULTD_\xff");
    Setup::new().variable(broken, "x").refused(&["environment variable MINIVAULTD_\u{fffd}: its name isn't UTF-8 text"]);
    Setup::new()
        .variable("MINIVAULTD_ENGINE", OsStr::from_bytes(b"\xff"))
        .refused(&["environment variable MINIVAULTD_ENGINE: its value isn't UTF-8 text"]);
    // Nobody's business but its owner's.
    Setup::new().variable("OTHER", OsStr::from_bytes(b"\xff")).load();
}

#[test]
fn a_named_file_must_exist() {
    Setup::new().naming("no.toml").refused(&["--config: no.toml can't be read: No such file or directory (os error 2)"]);
}

#[test]
fn broken_toml_is_shown_with_its_place() {
    Setup::file("[server]\nlisten = \"a:1\n").refused(&["config.toml:2:14: this isn't TOML: invalid basic string, expected `\"`"]);
    Setup::file("a = 1\na = 2\n").refused(&["config.toml:2:1: this isn't TOML: duplicate key"]);
    Setup::file("[log]\npath = 1979-05-27\n").refused(&["config.toml:2:8: this is a date, which no key takes; text stands in quotes"]);
    Setup::new().with_bytes("config.toml", b"# \xc3\xa9\n# \xff\n").refused(&["config.toml:2:3: this isn't UTF-8 text"]);
}

#[test]
fn an_engine_without_a_table_is_refused_wherever_its_name_comes_from() {
    let complaint = "engine is \"distilgpt\"; there is no table [engines.distilgpt]; did you mean `distilgpt2`?";
    Setup::file("engine = \"distilgpt\"\n").refused(&[&format!("config.toml:1:10: {complaint}")]);
    Setup::new().engine("distilgpt").refused(&[&format!("--engine: {complaint}")]);
    Setup::new().variable("MINIVAULTD_ENGINE", "x").refused(&[
        "environment variable MINIVAULTD_ENGINE: engine is \"x\"; there is no table [engines.x]; the engines are: distilgpt2, smollm2",
    ]);
}

#[test]
fn a_daemon_without_backends_says_that_there_is_no_engine() {
    let error = Setup::new().try_load_with(&Engines::none()).unwrap_err();
    assert_eq!(error.to_string(), "default: engine is \"distilgpt2\"; there is no table [engines.distilgpt2]; the engines are: none");
}

//! Values out of range are refused with the value and the limit.

use crate::kit::Setup;

#[track_caller]
fn refused(section: &str, key: &str, value: &str, complaint: &str) {
    let column = key.len() + 4;
    let text = format!("[{section}]\n{key} = {value}\n");
    Setup::file(&text).refused(&[&format!("config.toml:2:{column}: {section}.{key} is {value}; {complaint}")]);
}

#[test]
fn sizes_and_times_have_limits() {
    refused("server", "body_limit", "0", "it must be between 1 and 1073741824");
    refused("server", "max_prompt_bytes", "1073741825", "it must be between 1 and 1073741824");
    refused("server", "grace", "-1", "it must be between 0 and 86400 seconds");
    refused("server", "header_timeout", "1e300", "it must be over 0 and at most 86400 seconds");
    refused("server", "header_timeout", "0", "it must be over 0 and at most 86400 seconds");
    refused("server", "grace", "nan", "it must be between 0 and 86400 seconds");
    refused("log", "queue", "0", "it must be between 1 and 1048576");
    refused("log", "path", "\"\"", "it must be the path of a file");
    refused("log", "rotate_bytes", "100", "it must be 0, which is never, or at least 4096");
    refused("log", "rotate_age", "0", "it must be over 0, or -1, which is never");
    refused("log", "keep_segments", "-1", "it must be a whole number, 0 or more");
    refused("log", "sync", "\"allways\"", "it must be one of none, interval, always; did you mean `always`?");
    refused("log", "on_failure", "\"maybe\"", "it must be one of closed, open");
    refused("log", "record", "\"some\"", "it must be one of full, hash, meta, off");
    refused("log", "redact", "[\"a(\"]", "one isn't a regular expression: unclosed group");
    refused(
        "diagnostics",
        "filter",
        "\"a=loud\"",
        "it must be a filter as of RUST_LOG: error parsing level filter: expected one of \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5",
    );
    refused("diagnostics", "format", "\"xml\"", "it must be one of text, json");
    #[cfg(not(feature = "otlp"))]
    refused("diagnostics", "otlp", "\"http://127.0.0.1:4318\"", "this minivaultd was built without the feature `otlp`");
    refused("engines.distilgpt2", "memory_limit", "4096", "it must be 33554432 bytes or more");
    let needless = "it limits a process of the engine's own, and there is none without `isolate = true`";
    refused("engines.distilgpt2", "memory_limit", "4294967296", needless);
    refused("engines.distilgpt2", "load_timeout", "0", "it must be over 0 and at most 86400 seconds");
    refused("engines.distilgpt2", "load", "\"later\"", "it must be one of startup, first_use");
    let expected = "it must be seconds, a duration like \"5m\" or \"1h30m\" of at most a year, or -1 for ever";
    refused("engines.distilgpt2", "keep_alive", "\"soon\"", expected);
    refused("engines.distilgpt2", "keep_alive", "1e300", expected);
    assert!(Setup::file("[server]\ngrace = 0\n").settings().server.grace.is_zero());
}

#[test]
fn generation_defaults_have_the_limits_of_requests() {
    refused("generation", "max_tokens", "0", "it must be at least 1");
    refused("generation", "max_tokens", "-5", "it must be a whole number, 0 or more");
    refused("generation", "temperature", "100.5", "it must be between 0 and 100");
    refused("generation", "top_p", "0", "it must be over 0 and at most 1");
    refused("generation", "min_p", "1.5", "it must be between 0 and 1");
    refused("generation", "repetition_penalty", "inf", "it must be over 0 and at most 100");
    refused("generation", "top_k", "-1", "it must be a whole number, 0 or more");
}

#[test]
fn an_address_that_is_none_is_refused_wherever_it_comes_from() {
    refused("server", "listen", "\"8000\"", "it must be host:port, for example 127.0.0.1:8000, or unix:/path/to.sock");
    let complaint = "server.listen is \"here:70000\"; the port \"70000\" must be a number from 0 to 65535";
    Setup::new().listen("here:70000").refused(&[&format!("--listen: {complaint}")]);
    let variable = Setup::new().variable("MINIVAULTD_SERVER__LISTEN", "here:70000");
    variable.refused(&[&format!("environment variable MINIVAULTD_SERVER__LISTEN: {complaint}")]);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let setup = Setup::file("[server]\ngrace = -1\nbody_limit = 0\n[log]\nqueue = 0\n").variable("MINIVAULTD_GENERATION__TOP_P", "2");
    setup.refused(&[
        "config.toml:3:14: server.body_limit is 0; it must be between 1 and 1073741824",
        "config.toml:2:9: server.grace is -1; it must be between 0 and 86400 seconds",
        "config.toml:5:9: log.queue is 0; it must be between 1 and 1048576",
        "environment variable MINIVAULTD_GENERATION__TOP_P: generation.top_p is 2; it must be over 0 and at most 1",
    ]);
}

#[test]
fn limits_of_the_log_can_be_none() {
    let log = Setup::file("[log]\nrotate_bytes = 0\nrotate_age = \"7d\"\nkeep_segments = 3\nrecord = \"hash\"\n").settings().log;
    assert_eq!((log.options.rotate.bytes, log.options.rotate.age), (None, Some(std::time::Duration::from_secs(7 * 86_400))));
    assert_eq!((log.options.keep.segments, log.options.keep.bytes), (Some(3), None));
    assert_eq!(log.options.recording, minivault_journal::Recording::Hash);
}

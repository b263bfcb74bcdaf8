//! Each source overrides the one before it, and every value tells where it came from.

use std::time::Duration;

use minivault_daemon::config::Listen;

use crate::kit::Setup;

#[test]
fn without_any_source_the_defaults_hold() {
    let settings = Setup::new().settings();
    assert_eq!(settings.engine, "distilgpt2");
    assert_eq!(settings.server.listen, [Listen::Tcp("127.0.0.1:8000".into())]);
    assert_eq!(settings.server.body_limit, 4 * 1024 * 1024);
    assert_eq!(settings.server.max_prompt_bytes, 1024 * 1024);
    assert_eq!(settings.server.grace, Duration::from_secs(10));
    assert_eq!(settings.server.terms.head, Duration::from_secs(5));
    assert_eq!(settings.log.options.places, 1024);
    let generation = &settings.generation;
    assert_eq!((generation.max_tokens, generation.temperature, generation.top_k), (100, 1.0, 50));
    assert_eq!((generation.top_p, generation.min_p, generation.repetition_penalty), (0.95, 0.0, 1.1));
    assert_eq!(settings.engines.keys().collect::<Vec<_>>(), ["distilgpt2", "smollm2"]);
    assert_eq!(settings.engines["distilgpt2"].backend, "gpt2");
    assert_eq!(settings.engines["distilgpt2"].fallback.as_deref(), Some("smollm2"));
    assert_eq!(settings.engines["smollm2"].fallback, None);
    assert_eq!(settings.engines["smollm2"].load_timeout, Duration::from_secs(600));
}

#[test]
fn a_text_is_overridden_by_each_later_source() {
    let defaults = Setup::new();
    assert_eq!(defaults.line("server.listen"), ("\"127.0.0.1:8000\"".into(), "default".into()));
    let file = Setup::file("[server]\nlisten = \"127.0.0.1:1\"\n");
    assert_eq!(file.line("server.listen"), ("\"127.0.0.1:1\"".into(), "config.toml:2:10".into()));
    let variable = file.variable("MINIVAULTD_SERVER__LISTEN", "127.0.0.1:2");
    let origin = "environment variable MINIVAULTD_SERVER__LISTEN";
    assert_eq!(variable.line("server.listen"), ("\"127.0.0.1:2\"".into(), origin.into()));
    let flag = variable.listen("127.0.0.1:3");
    assert_eq!(flag.line("server.listen"), ("\"127.0.0.1:3\"".into(), "--listen".into()));
    assert_eq!(flag.settings().server.listen, [Listen::Tcp("127.0.0.1:3".into())]);
}

#[test]
fn the_default_engine_is_overridden_by_each_later_source() {
    let tables = "[engines.a]\nbackend = \"gpt2\"\nmodel = \"m\"\n[engines.b]\nbackend = \"gpt2\"\nmodel = \"m\"\n";
    let file = Setup::file(&format!("engine = \"a\"\n{tables}"));
    assert_eq!(file.line("engine"), ("\"a\"".into(), "config.toml:1:10".into()));
    let variable = file.variable("MINIVAULTD_ENGINE", "b");
    assert_eq!(variable.line("engine"), ("\"b\"".into(), "environment variable MINIVAULTD_ENGINE".into()));
    let flag = variable.engine("smollm2");
    assert_eq!(flag.line("engine"), ("\"smollm2\"".into(), "--engine".into()));
    assert_eq!(flag.settings().engine, "smollm2");
}

#[test]
fn numbers_are_overridden_by_each_later_source() {
    let file = Setup::file("[generation]\ntemperature = 0.5\nmax_tokens = 7\n[server]\ngrace = 1.5\n");
    assert_eq!(file.line("generation.temperature"), ("0.5".into(), "config.toml:2:15".into()));
    assert_eq!(file.settings().server.grace, Duration::from_millis(1500));
    let variable = file.variable("MINIVAULTD_GENERATION__TEMPERATURE", "0").variable("MINIVAULTD_SERVER__GRACE", "2");
    let settings = variable.settings();
    assert_eq!((settings.generation.temperature, settings.generation.max_tokens), (0.0, 7));
    assert_eq!(settings.server.grace, Duration::from_secs(2));
    assert_eq!(variable.line("generation.temperature"), ("0".into(), "environment variable MINIVAULTD_GENERATION__TEMPERATURE".into()));
}

#[test]
fn an_engines_key_is_overridden_by_each_later_source() {
    let file = Setup::file("[engines.distilgpt2]\nmodel = \"theirs\"\n");
    assert_eq!(file.line("engines.distilgpt2.model"), ("\"theirs\"".into(), "config.toml:2:9".into()));
    assert_eq!(file.line("engines.distilgpt2.backend"), ("\"gpt2\"".into(), "default".into()));
    let variable = file.variable("MINIVAULTD_ENGINES__DISTILGPT2__MODEL", "/ours");
    let origin = "environment variable MINIVAULTD_ENGINES__DISTILGPT2__MODEL";
    assert_eq!(variable.line("engines.distilgpt2.model"), ("\"/ours\"".into(), origin.into()));
    assert_eq!(variable.settings().engines["distilgpt2"].fallback.as_deref(), Some("smollm2"));
}

#[test]
fn an_engine_may_come_from_the_environment_alone() {
    let setup = Setup::new()
        .variable("MINIVAULTD_ENGINES__MY-OWN_ONE__BACKEND", "gpt2")
        .variable("MINIVAULTD_ENGINES__MY-OWN_ONE__MODEL", "m")
        .variable("MINIVAULTD_ENGINES__MY-OWN_ONE__LOAD_TIMEOUT", "5")
        .engine("my-own_one");
    let settings = setup.settings();
    assert_eq!(settings.engine, "my-own_one");
    assert_eq!(settings.engines["my-own_one"].load_timeout, Duration::from_secs(5));
    assert_eq!(settings.engines["my-own_one"].opening.name, "my-own_one");
}

#[test]
fn variables_of_the_client_and_of_others_are_left_alone() {
    let setup = Setup::new().variable("MINIVAULT_URL", "http://localhost:1").variable("MINIVAULTDX", "1").variable("PATH", "/bin");
    let report = setup.load().report;
    assert!(report.entries.iter().all(|entry| entry.origin == "default"), "{report}");
}

#[test]
fn a_named_file_is_read_in_place_of_the_usual_one() {
    let setup = Setup::file("[log]\nqueue = 1\n").with_file("other/mine.toml", "[log]\n\nqueue = 2\n").naming("other/mine.toml");
    assert_eq!(setup.line("log.queue"), ("2".into(), "other/mine.toml:3:9".into()));
}

#[test]
fn tables_in_every_notation_have_their_places() {
    let setup = Setup::file("server.listen = \"a:1\"\nlog = { queue = 3 }\n[engines]\nx = { backend = \"gpt2\", model = \"m\" }\n");
    assert_eq!(setup.line("server.listen").1, "config.toml:1:17");
    assert_eq!(setup.line("log.queue").1, "config.toml:2:17");
    assert_eq!(setup.line("engines.x.model").1, "config.toml:4:33");
}

#[test]
fn columns_count_characters_and_lines_may_end_in_crlf() {
    let setup = Setup::file("# ü\r\nlog = { path = \"füße\", queue = 3 }\r\n");
    assert_eq!(setup.line("log.queue").1, "config.toml:2:32");
}

#[test]
fn the_report_prints_a_line_for_each_key() {
    let setup = Setup::file("[server]\nlisten = \"0.0.0.0:80\"\n").variable("MINIVAULTD_LOG__PATH", "/tmp/log.jsonl");
    let report = setup.load().report.to_string();
    let lines: Vec<&str> = report.lines().collect();
    assert_eq!(lines[0], "engine = \"distilgpt2\"  # default");
    for line in [
        "server.listen = \"0.0.0.0:80\"  # config.toml:2:10",
        "log.path = \"/tmp/log.jsonl\"  # environment variable MINIVAULTD_LOG__PATH",
        "generation.top_p = 0.95  # default",
        "engines.distilgpt2.load_timeout = 600  # default",
    ] {
        assert!(lines.contains(&line), "no {line} in:\n{report}");
    }
    assert!(report.parse::<toml_edit::DocumentMut>().is_ok(), "not TOML:\n{report}");
}

#[test]
fn the_built_in_engines_can_be_left_out() {
    let own = "[engines.mine]\nbackend = \"gpt2\"\nmodel = \"m\"\ntags = [\"chat\", \"small\"]\n";
    let alone = Setup::file(&format!("engine = \"mine\"\nbuilt_in_engines = false\n{own}"));
    let settings = alone.settings();
    assert_eq!(settings.engines.keys().collect::<Vec<_>>(), ["mine"]);
    assert_eq!(settings.engines["mine"].tags, ["chat", "small"]);
    let named = Setup::file(&format!("engine = \"mine\"\nbuilt_in_engines = false\n{own}[engines.smollm2]\nkeep_alive = 0\n"));
    assert_eq!(named.settings().engines.keys().collect::<Vec<_>>(), ["mine", "smollm2"]);
    assert_eq!(alone.variable("MINIVAULTD_BUILT_IN_ENGINES", "true").settings().engines.len(), 3);
    Setup::file("built_in_engines = false\n")
        .refused(&["default: engine is \"distilgpt2\"; there is no table [engines.distilgpt2]; the engines are: none"]);
    Setup::file("built_in_engines = 1\n").refused(&["config.toml:1:20: built_in_engines is 1; it must be true or false"]);
}

#[test]
fn requests_without_a_seed_can_share_one() {
    assert_eq!(Setup::new().settings().generation.seed, None);
    assert_eq!(Setup::file("generation.seed = 7\n").settings().generation.seed, Some(7));
}

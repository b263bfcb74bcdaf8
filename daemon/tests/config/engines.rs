//! The engines' tables: backends, replaced tables, text from the environment, fallbacks.

use minivault_engines::Engines;

use crate::kit::{Setup, confession, engines, gpt2_alone};

#[test]
fn a_table_with_a_backend_replaces_the_built_in_one() {
    let setup =
        Setup::file("[engines.smollm2]\nbackend = \"gpt2\"\nmodel = \"m\"\n[engines.distilgpt2]\nbackend = \"gpt2\"\nmodel = \"m\"\n");
    let settings = setup.settings();
    assert_eq!(settings.engines["smollm2"].backend, "gpt2");
    // Its fallback was left out on purpose.
    assert_eq!(settings.engines["distilgpt2"].fallback, None);
    assert_eq!(setup.line("engines.distilgpt2.load_timeout").1, "default");
}

#[test]
fn a_backend_from_the_environment_replaces_the_built_in_table_and_keeps_the_files_keys() {
    let setup = Setup::file("[engines.smollm2]\nmodel = \"m\"\n").variable("MINIVAULTD_ENGINES__SMOLLM2__BACKEND", "gpt2");
    assert!(confession(&setup.settings().engines["smollm2"]).starts_with("Gpt2Like { model: \"m\""));
}

#[test]
fn a_fallback_is_taken_away_by_an_empty_one() {
    assert_eq!(Setup::file("[engines.distilgpt2]\nfallback = \"\"\n").settings().engines["distilgpt2"].fallback, None);
    let setup = Setup::new().variable("MINIVAULTD_ENGINES__DISTILGPT2__FALLBACK", "");
    assert_eq!(setup.settings().engines["distilgpt2"].fallback, None);
}

#[test]
fn built_in_engines_without_their_backend_are_not_there() {
    let only = Engines::none().with("gpt2", minivault_engines::gpt2::Gpt2);
    let settings = Setup::new().try_load_with(&only).unwrap().settings;
    assert_eq!(settings.engines.keys().collect::<Vec<_>>(), ["distilgpt2"]);
    assert_eq!(settings.engines["distilgpt2"].fallback, None);
}

#[test]
fn text_from_the_environment_may_look_like_a_number_a_truth_value_or_a_list() {
    for text in ["123", "true", "1e5", "[\"x\"]", "[x]", "\"quoted\"", "/a b/c", "{a = 1}", "1979-05-27", " padded ", "", "a=b#c"] {
        let setup = Setup::new().variable("MINIVAULTD_ENGINES__DISTILGPT2__MODEL", text);
        let engine = &setup.settings().engines["distilgpt2"];
        assert!(confession(engine).starts_with(&format!("Gpt2Like {{ model: {text:?},")), "{text}: {}", confession(engine));
        let shown = setup.line("engines.distilgpt2.model").0.parse::<toml_edit::Value>().unwrap();
        assert_eq!(shown.as_str(), Some(text));
    }
}

#[test]
fn numbers_truth_values_and_lists_from_the_environment_are_read_as_such() {
    let setup = Setup::new()
        .variable("MINIVAULTD_ENGINES__DISTILGPT2__MODEL", "1")
        .variable("MINIVAULTD_ENGINES__DISTILGPT2__API_KEY", "2")
        .variable("MINIVAULTD_ENGINES__DISTILGPT2__QUIET", "true")
        .variable("MINIVAULTD_ENGINES__DISTILGPT2__SHARE", "3")
        .variable("MINIVAULTD_ENGINES__DISTILGPT2__THREADS", "4")
        .variable("MINIVAULTD_ENGINES__DISTILGPT2__DTYPE", "bf16")
        .variable("MINIVAULTD_ENGINES__DISTILGPT2__FILES", "[\"a\", \"5\"]")
        .variable("MINIVAULTD_ENGINES__DISTILGPT2__CACHE__FOLDER", "6")
        .variable("MINIVAULTD_ENGINES__DISTILGPT2__CACHE__SLOTS", "7");
    let expected = "Gpt2Like { model: \"1\", dtype: Some(Bf16), threads: Some(Number(4)), quiet: Some(true), share: Some(3.0), \
         files: Some([\"a\", \"5\"]), api_key: Some(\"2\"), cache: Some(Cache { folder: \"6\", slots: Some(7) }) }";
    assert_eq!(confession(&setup.settings().engines["distilgpt2"]), expected);
    assert_eq!(setup.line("engines.distilgpt2.cache.folder").0, "\"6\"");
}

#[test]
fn digits_in_a_file_stay_a_number() {
    Setup::file("[engines.distilgpt2]\nmodel = 123\n").refused(&["config.toml:2:9: engines.distilgpt2.model is 123; it must be a string"]);
}

#[test]
fn secrets_are_not_printed() {
    let setup = Setup::file("[engines.distilgpt2]\napi_key = \"s3cret\"\n");
    assert_eq!(setup.line("engines.distilgpt2.api_key"), ("(hidden)".into(), "config.toml:2:11".into()));
    Setup::file("[engines.distilgpt2]\napi_key = 123\n")
        .refused(&["config.toml:2:11: engines.distilgpt2.api_key is (hidden); it must be a string"]);
}

#[test]
fn a_name_that_a_request_could_not_ask_for_is_refused() {
    Setup::file("[engines.\"My Engine\"]\nbackend = \"gpt2\"\nmodel = \"m\"\n")
        .refused(&["config.toml:1:10: an engine's name can't be \"My Engine\"; it consists of a-z, 0-9, _ and -"]);
    Setup::file("[engines.a.b]\nbackend = \"gpt2\"\nmodel = \"m\"\n")
        .refused(&["config.toml:1:10: [engines.a] needs the key `backend`, one of: gpt2, llama-cpp"]);
}

#[test]
fn a_table_without_a_backend_is_refused() {
    Setup::file("[engines.mine]\nmodel = \"m\"\n")
        .refused(&["config.toml:1:10: [engines.mine] needs the key `backend`, one of: gpt2, llama-cpp"]);
    Setup::new().variable("MINIVAULTD_ENGINES__DISTILGPT__MODEL", "m").refused(&[
        "environment variable MINIVAULTD_ENGINES__DISTILGPT__MODEL: [engines.distilgpt] needs the key `backend`, one of: gpt2, llama-cpp, \
         or is `distilgpt2` meant?",
    ]);
}

#[test]
fn a_table_without_a_key_that_its_backend_needs_is_refused() {
    Setup::file("[engines.mine]\nbackend = \"gpt2\"\n").refused(&["config.toml:1:10: [engines.mine] needs the key `model`"]);
    Setup::new()
        .variable("MINIVAULTD_ENGINES__MINE__BACKEND", "gpt2")
        .refused(&["environment variable MINIVAULTD_ENGINES__MINE__BACKEND: [engines.mine] needs the key `model`"]);
}

#[test]
fn a_backend_that_does_not_exist_is_refused() {
    Setup::file("[engines.mine]\nbackend = \"gtp2\"\nmodel = \"m\"\n")
        .refused(&["config.toml:2:11: engines.mine.backend is \"gtp2\"; there is no such backend; did you mean `gpt2`?"]);
    Setup::file("[engines.mine]\nbackend = \"vllm\"\n")
        .refused(&["config.toml:2:11: engines.mine.backend is \"vllm\"; there is no such backend; the backends are: gpt2, llama-cpp"]);
}

#[test]
fn a_fallback_without_a_table_is_refused() {
    Setup::file("[engines.distilgpt2]\nfallback = \"smollm\"\n").refused(&[
        "config.toml:2:12: engines.distilgpt2.fallback is \"smollm\"; there is no table [engines.smollm]; did you mean `smollm2`?",
    ]);
}

#[test]
fn fallbacks_in_a_circle_are_refused_once() {
    Setup::file("[engines.distilgpt2]\nfallback = \"distilgpt2\"\n")
        .refused(&["config.toml:2:12: engines.distilgpt2.fallback is \"distilgpt2\"; engines can't stand in for each other in a circle: \
         distilgpt2 -> distilgpt2"]);
    let table = |name: &str, fallback: &str| format!("[engines.{name}]\nbackend = \"gpt2\"\nmodel = \"m\"\nfallback = \"{fallback}\"\n");
    let setup = Setup::file(&[table("a", "b"), table("b", "c"), table("c", "b")].concat());
    setup.refused(&["config.toml:8:12: engines.b.fallback is \"c\"; engines can't stand in for each other in a circle: b -> c -> b"]);
}

#[test]
fn a_chain_of_fallbacks_is_fine() {
    let table = |name: &str, fallback: &str| format!("[engines.{name}]\nbackend = \"gpt2\"\nmodel = \"m\"\nfallback = \"{fallback}\"\n");
    let setup = Setup::file(&[table("a", "b"), table("b", "smollm2"), table("c", "b")].concat());
    assert_eq!(setup.try_load_with(&engines()).unwrap().settings.engines["c"].fallback.as_deref(), Some("b"));
}

#[test]
fn of_several_backends_the_first_that_there_is_answers() {
    let file = |backend: &str| Setup::file(&format!("[engines.mine]\nbackend = {backend}\nmodel = \"m\"\n"));
    assert_eq!(file("[\"llama-cpp\", \"gpt2\"]").settings().engines["mine"].backend, "llama-cpp");
    // These daemons have no candle.
    assert_eq!(file("[\"candle\", \"gpt2\"]").settings().engines["mine"].backend, "gpt2");
    file("[\"gtp2\", \"llama-cpp\"]").refused(&[
        "config.toml:2:11: engines.mine.backend is [\"gtp2\", \"llama-cpp\"]; there is no backend `gtp2`; did you mean `gpt2`?",
    ]);
    file("[]").refused(&["config.toml:2:11: engines.mine.backend is []; it names none; the backends are: gpt2, llama-cpp"]);
    file("7").refused(&["config.toml:2:11: engines.mine.backend is 7; it must be a backend's name or a list of names"]);
}

#[test]
fn a_backend_that_was_left_out_is_told_apart_from_one_that_never_was() {
    let error =
        Setup::file("[engines.mine]\nbackend = \"llama-cpp\"\nmodel = \"m\"\n").try_load_with(&gpt2_alone()).unwrap_err().to_string();
    assert!(
        error.contains("this daemon doesn't have it: it was built without the feature `llama-cpp`; the backend `candle` runs"),
        "{error}"
    );
}

//! API keys: every way to write them, and that none of them is ever shown.

use minivault_daemon::door::keys::{Key, Secret};
use minivault_daemon::door::limits::Limits;

use crate::kit::Setup;

fn keys(setup: &Setup) -> Vec<Key> {
    setup.settings().server.keys
}

fn key(name: &str, secret: &str) -> Key {
    Key { name: name.into(), secret: Secret::of(secret), limits: Limits::default() }
}

#[test]
fn keys_are_a_list_or_a_table_of_names() {
    assert_eq!(keys(&Setup::new()), []);
    assert_eq!(keys(&Setup::file("server.keys = \"sk-1\"")), [key("key-1", "sk-1")]);
    assert_eq!(keys(&Setup::file("server.keys = [\"sk-1\", \"sk-2\"]")), [key("key-1", "sk-1"), key("key-2", "sk-2")]);
    let setup = Setup::file("[server.keys]\nada = \"sk-1\"\nbob = { key = \"sk-2\", requests_per_minute = 60, concurrent = 4 }\n");
    let limits = Limits { requests_per_minute: Some(60), concurrent: Some(4) };
    assert_eq!(keys(&setup), [key("ada", "sk-1"), Key { limits, ..key("bob", "sk-2") }]);
    assert_eq!(setup.line("server.keys.bob.concurrent").0, "4");
}

#[test]
fn keys_come_from_the_environment_too() {
    let variable = |name: &str, value: &str| keys(&Setup::file("server.keys = [\"old\"]").variable(name, value));
    assert_eq!(variable("MINIVAULTD_SERVER__KEYS", "sk-1"), [key("key-1", "sk-1")]);
    assert_eq!(variable("MINIVAULTD_SERVER__KEYS", "12345"), [key("key-1", "12345")]);
    assert_eq!(variable("MINIVAULTD_SERVER__KEYS", "[\"sk-1\", \"sk-2\"]"), [key("key-1", "sk-1"), key("key-2", "sk-2")]);
    let both = Setup::file("[server.keys]\nada = \"sk-1\"").variable("MINIVAULTD_SERVER__KEYS__BOB", "0042");
    assert_eq!(keys(&both), [key("ada", "sk-1"), key("bob", "0042")]);
    let numeric = Setup::new().variable("MINIVAULTD_SERVER__KEYS__BOB", "42");
    assert_eq!(keys(&numeric), [key("bob", "42")]);
}

#[test]
fn a_file_holds_more_of_them() {
    let file = "# for the office\nada sk-1\n\n  sk-2  \nbob\tsk-3\r\n";
    let setup = Setup::file("server.keys = [\"sk-0\"]\nserver.keys_file = \"etc/keys\"").with_file("etc/keys", file);
    assert_eq!(keys(&setup), [key("key-1", "sk-0"), key("ada", "sk-1"), key("line-4", "sk-2"), key("bob", "sk-3")]);
    assert_eq!(setup.line("server.keys_file").0, format!("\"{}\"", setup.path("etc/keys").display()));
    let setup = Setup::file("server.keys_file = \"no\"");
    let path = setup.path("no").display().to_string();
    setup
        .refused(&[&format!("config.toml:1:20: server.keys_file is \"{path}\"; it can't be read: No such file or directory (os error 2)")]);
    // A file that was emptied must not let everybody in.
    for nothing in ["", "# none\n\n"] {
        let setup = Setup::file("server.keys_file = \"keys\"").with_file("keys", nothing);
        let path = setup.path("keys").display().to_string();
        setup.refused(&[&format!("config.toml:1:20: server.keys_file is \"{path}\"; it holds no key")]);
    }
}

#[test]
fn what_is_wrong_with_a_key_is_told_without_it() {
    let hidden = "server.keys is (hidden); ";
    for (text, complaint) in [
        ("server.keys = [\"sk secret\"]", "key `key-1` must be visible ASCII characters, at least one and no spaces"),
        ("server.keys = [\"\"]", "key `key-1` must be visible ASCII characters, at least one and no spaces"),
        ("server.keys = [\"sk-secret\", \"sk-secret\"]", "`key-1` and `key-2` are the same key"),
        ("server.keys = { \"sk secret\" = \"ada\" }", "the name of a key consists of letters, digits, _, -, . and @"),
        (
            "server.keys = { ada = { key = \"sk-secret\", concurrent = 0 } }",
            "a limit of `ada` is 0, which nothing keeps; leave the key out instead",
        ),
    ] {
        let error = Setup::file(text).try_load().unwrap_err().to_string();
        assert!(error.contains(hidden) && error.ends_with(complaint), "{text}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    for text in [
        "server.keys = 5309",
        "server.keys = [5309]",
        "server.keys = { ada = 5309 }",
        "server.keys = { ada = [\"5309\"] }",
        "server.keys = { ada = { key = 5309 } }",
        "server.keys = { ada = { kye = \"5309\" } }",
        "server.keys = { ada = { key = \"5309\", concurrent = \"many\" } }",
        "[[server]]\nkeys = [\"5309\"]",
    ] {
        let error = Setup::file(text).try_load().unwrap_err().to_string();
        assert!(!error.contains("5309"), "{text}: {error}");
    }
    let setup = Setup::file("server.keys_file = \"keys\"").with_file("keys", "ada sk secret\n");
    let error = setup.try_load().unwrap_err().to_string();
    assert!(error.contains("line 1: key `ada` must be") && !error.contains("secret"), "{error}");
}

#[test]
fn the_report_shows_that_there_are_keys_and_not_which() {
    let setup = Setup::file("[server.keys]\nada = \"sk-secret\"\nbob = { key = \"sk-secret-2\" }")
        .variable("MINIVAULTD_SERVER__KEYS__EVE", "sk-secret-3");
    let loaded = setup.load();
    let report = loaded.report.to_string();
    for line in
        ["server.keys.ada = (hidden)  # config.toml:2:7", "server.keys.eve = (hidden)  # environment variable MINIVAULTD_SERVER__KEYS__EVE"]
    {
        assert!(report.lines().any(|seen| seen == line), "{report}");
    }
    assert!(!report.contains("sk-secret") && !format!("{loaded:?}").contains("sk-secret"));
    assert_eq!(Setup::new().line("server.keys").0, "[]");
}

#[test]
fn hosts_and_origins_are_checked() {
    Setup::file("server.hosts = [\"vault.example\", \"vault.example:80\"]")
        .refused(&["config.toml:1:16: server.hosts is [\"vault.example\", \"vault.example:80\"]; \"vault.example:80\": \"vault.example:80\" is neither a host name nor an IP address"]);
    let error = Setup::file("server.origins = \"app.example\"").try_load().unwrap_err().to_string();
    assert!(error.starts_with("config.toml:1:18: server.origins is \"app.example\"; an origin is scheme://host"), "{error}");
    let settings = Setup::file("[server]\nhosts = \"vault.example\"\norigins = [\"localhost\", \"https://app.example\"]").settings();
    assert_eq!((settings.server.hosts.len(), settings.server.origins.len()), (1, 2));
}

#[test]
fn several_addresses_can_be_listened_on() {
    use minivault_daemon::config::Listen;
    let setup = Setup::file("server.listen = [\"127.0.0.1:80\", \"unix:a.sock\"]");
    let sock = setup.path("a.sock");
    assert_eq!(setup.settings().server.listen, [Listen::Tcp("127.0.0.1:80".into()), Listen::Unix(sock.clone())]);
    assert_eq!(setup.line("server.listen").0, format!("[\"127.0.0.1:80\", \"unix:{}\"]", sock.display()));
    let flags = Setup::file("").listen("[::1]:1").listen("127.0.0.1:1");
    assert_eq!(flags.settings().server.listen.len(), 2);
    Setup::file("server.listen = []").refused(&["config.toml:1:17: server.listen is []; it must name at least one address"]);
    let error = Setup::file("server.listen = [\"a:1\", \"8000\"]").try_load().unwrap_err().to_string();
    assert!(error.ends_with("; \"8000\": it must be host:port, for example 127.0.0.1:8000, or unix:/path/to.sock"), "{error}");
}

//! Daemons by name.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::*;

/// The CLI with these profiles, `@URL@` for the daemon's address in them.
fn with_profiles(url: &str, profiles: &str, arguments: &[&str], variables: &[(&str, &str)]) -> std::process::Output {
    let mut cli = cli(arguments);
    let folder = cli.home.path().join(".config/minivault");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("profiles.toml"), profiles.replace("@URL@", url)).unwrap();
    fs::write(folder.join("laptop.key"), "from-the-file\n").unwrap();
    cli.command.envs(variables.iter().copied()).output().unwrap()
}

const PROFILES: &str = "[laptop]\nurl = \"@URL@\"\nkey_env = \"LAPTOP_KEY\"\n[filed]\nurl = \"@URL@\"\nkey_file = \"laptop.key\"\n";

#[test]
fn a_profile_names_a_daemon_and_its_key() {
    let models = || answer("200 OK", r#"{"object":"list","data":[]}"#);
    let daemon = Daemon::answering(vec![models(), models(), models(), models()]);
    let key = |arguments: &[&str], variables: &[(&str, &str)]| {
        let output = with_profiles(&daemon.url, PROFILES, &[arguments, &["models", "--json"]].concat(), variables);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        daemon.request().authorization
    };
    assert_eq!(key(&["--profile", "laptop"], &[("LAPTOP_KEY", "one")]).as_deref(), Some("Bearer one"));
    // A key that was meant for another daemon stays here; one that is typed is meant.
    let elsewhere = [("MINIVAULT_API_KEY", "other"), ("MINIVAULT_URL", NOBODY)];
    assert_eq!(key(&["--profile", "filed"], &elsewhere).as_deref(), Some("Bearer from-the-file"));
    assert_eq!(key(&["--key", "typed"], &[("MINIVAULT_PROFILE", "filed")]).as_deref(), Some("Bearer typed"));
    // An address that is typed goes before a profile of the environment.
    assert_eq!(
        key(&["--url", &daemon.url], &[("MINIVAULT_PROFILE", "nobody"), ("MINIVAULT_API_KEY", "mine")]).as_deref(),
        Some("Bearer mine")
    );
}

#[test]
fn what_is_wrong_with_a_profile_is_told() {
    let said = |profiles: &str, arguments: &[&str], why: &str| check(&with_profiles(NOBODY, profiles, arguments, &[]), 2, "", why);
    said(PROFILES, &["--profile", "desk", "status"], "has no profile \"desk\"; it has laptop, filed.");
    said(PROFILES, &["--profile", "laptop", "status"], "should be in LAPTOP_KEY, which is not set");
    said(PROFILES, &["--profile", "laptop", "--url", NOBODY, "status"], "name two daemons");
    said("[a]\nurl = 7\n", &["--profile", "a", "status"], "profiles.toml: [a] url must be a string");
    said("[a]\nurl = \"@URL@\"\nkey = \"secret\"\n", &["--profile", "a", "status"], "`chmod 600 ");
}

#[test]
fn profiles_are_listed_without_their_keys() {
    let url = "http://laptop:1";
    let listed = "NAME        URL               KEY\nlaptop *  http://laptop:1/  $LAPTOP_KEY\n";
    let profiles = "[laptop]\nurl = \"@URL@\"\nkey_env = \"LAPTOP_KEY\"\n";
    let output = with_profiles(url, profiles, &["profiles"], &[("MINIVAULT_PROFILE", "laptop")]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeeze(&text), squeeze(listed));
    // Another daemon would be asked.
    let variables = [("MINIVAULT_PROFILE", "laptop"), ("MINIVAULT_URL", NOBODY)];
    for (arguments, variables, starred) in [
        (&["profiles"][..], &variables[..], false),
        (&["profiles", "--url", NOBODY], &variables[..1], false),
        (&["profiles", "--profile", "laptop"], &variables[1..], true),
        (&["profiles"], &[], false),
    ] {
        let output = with_profiles(url, profiles, arguments, variables);
        assert_eq!(String::from_utf8_lossy(&output.stdout).contains('*'), starred, "{arguments:?} {variables:?} {output:?}");
    }
    let output = with_profiles(url, profiles, &["profiles", "--json"], &[]);
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list, json!([{"name": "laptop", "url": "http://laptop:1/", "key": "$LAPTOP_KEY"}]));
    check(&run(NOBODY, &["profiles"]), 0, "", "");
}

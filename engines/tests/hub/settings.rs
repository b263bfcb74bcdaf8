//! What the environment says.

use std::ffi::OsString;
use std::path::Path;

use minivault_engines::hub::Settings;

use super::{assert_says, unavailable};

fn from(variables: &[(&str, &str)]) -> minivault_engines::error::Result<Settings> {
    Settings::from_lookup(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value)))
}

#[test]
fn caches_lie_where_other_tools_look_for_them() {
    let hub_cache = |variables: &[(&str, &str)]| from(variables).unwrap().hub_cache;
    let home = ("HOME", "/home/me");
    assert_eq!(hub_cache(&[home]).unwrap(), Path::new("/home/me/.cache/huggingface/hub"));
    assert_eq!(hub_cache(&[home, ("XDG_CACHE_HOME", "/x")]).unwrap(), Path::new("/x/huggingface/hub"));
    assert_eq!(hub_cache(&[home, ("XDG_CACHE_HOME", "relative")]).unwrap(), Path::new("/home/me/.cache/huggingface/hub"));
    assert_eq!(hub_cache(&[home, ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/hf")]).unwrap(), Path::new("/hf/hub"));
    assert_eq!(hub_cache(&[home, ("HF_HOME", "~/hf")]).unwrap(), Path::new("/home/me/hf/hub"));
    assert_eq!(hub_cache(&[home, ("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/elsewhere")]).unwrap(), Path::new("/elsewhere"));
    assert_eq!(hub_cache(&[]), None);
    assert_eq!(from(&[home, ("XDG_CACHE_HOME", "/x")]).unwrap().wheel_cache.unwrap(), Path::new("/x/minivault/wheels"));
    assert_eq!(from(&[home]).unwrap().wheel_cache.unwrap(), Path::new("/home/me/.cache/minivault/wheels"));
}

#[test]
fn switches_and_addresses_are_read_or_refused_by_name() {
    assert_eq!(from(&[]).unwrap().endpoint.as_str(), "https://huggingface.co/");
    assert_eq!(from(&[("HF_ENDPOINT", "http://mirror:8080/hf")]).unwrap().endpoint.as_str(), "http://mirror:8080/hf");
    assert_says(&unavailable(from(&[("HF_ENDPOINT", "mirror")])), &["HF_ENDPOINT is `mirror`"]);
    assert_says(&unavailable(from(&[("HF_ENDPOINT", "ftp://mirror")])), &["HF_ENDPOINT is `ftp://mirror`", "http"]);
    for (value, offline) in [("1", true), ("YES", true), ("true", true), ("0", false), ("", false), ("off", false)] {
        assert_eq!(from(&[("HF_HUB_OFFLINE", value)]).unwrap().offline, offline, "{value:?}");
    }
    assert_says(&unavailable(from(&[("HF_HUB_OFFLINE", "maybe")])), &["HF_HUB_OFFLINE is `maybe`", "1 or 0"]);
}

#[test]
fn the_token_is_read_from_the_environment_or_the_file_and_never_printed() {
    let home = tempfile::tempdir().unwrap();
    let hf_home = home.path().to_str().unwrap();
    assert!(from(&[("HF_HOME", hf_home)]).unwrap().token.is_none());
    std::fs::write(home.path().join("token"), "hf_of_the_file\n").unwrap();
    let settings = from(&[("HF_HOME", hf_home)]).unwrap();
    assert!(settings.token.is_some());
    assert!(!format!("{settings:?}").contains("hf_of"), "{settings:?}");
    let message = unavailable(from(&[("HF_TOKEN", "hf_\u{7}secret")]));
    assert_says(&message, &["HF_TOKEN"]);
    assert!(!message.contains("secret"), "{message}");
}

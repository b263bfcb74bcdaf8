//! Daemons by name: `profiles.toml` under XDG's folder for configuration.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use reqwest::Url;
use toml_edit::{DocumentMut, TableLike};

use crate::arguments::{General, daemon_url};
use crate::failure::Failure;
use crate::folders::folder;

const EXAMPLE: &str = "[laptop]\nurl = \"http://laptop.local:8000\"\nkey_env = \"LAPTOP_KEY\"  # or key_file";

/// A daemon and how to be let in.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile {
    pub name: String,
    pub url: Url,
    pub key: Option<KeySource>,
}

/// Where a key stands.
#[derive(Debug, PartialEq, Eq)]
pub enum KeySource {
    Variable(String),
    File(PathBuf),
    Here(String),
}

impl KeySource {
    /// Where it stands, without the key.
    pub fn describe(&self) -> String {
        match self {
            Self::Variable(name) => format!("${name}"),
            Self::File(path) => path.display().to_string(),
            Self::Here(_) => "in the profile".into(),
        }
    }

    fn read(&self, profile: &str) -> Result<String, Failure> {
        let missing = |why: String| Failure::Usage(format!("the key of profile {profile:?} {why}"));
        let key = match self {
            Self::Variable(name) => env::var(name).map_err(|_| missing(format!("should be in {name}, which is not set")))?,
            Self::File(path) => {
                fs::read_to_string(path).map_err(|error| missing(format!("cannot be read from {}: {error}", path.display())))?
            }
            Self::Here(key) => key.clone(),
        };
        match key.trim() {
            "" => Err(missing(format!("is empty ({})", self.describe()))),
            key => Ok(key.to_owned()),
        }
    }
}

/// The name of the profile whose daemon is asked; `None` where nothing names one, or an address that goes before it is given: what is typed
/// goes before what the environment says.
pub fn chosen(general: &General, matches: &ArgMatches) -> Result<Option<String>, Failure> {
    let typed = |argument| matches.value_source(argument) == Some(ValueSource::CommandLine);
    let Some(name) = general.profile.clone().filter(|name| !name.is_empty()) else { return Ok(None) };
    if typed("url") && typed("profile") {
        return Err(Failure::Usage("--url and --profile name two daemons; only one can be asked".into()));
    }
    let url_is_given = matches.value_source("url") != Some(ValueSource::DefaultValue);
    Ok(Some(name).filter(|_| !url_is_given || typed("profile")))
}

/// Puts the address and the key of the profile there that is asked. Its daemon never gets a key from the environment that was meant for
/// another.
pub fn take(general: &mut General, matches: &ArgMatches) -> Result<(), Failure> {
    let Some(name) = general.profile.clone() else { return Ok(()) };
    let (path, profiles) = all()?;
    let names: Vec<&str> = profiles.iter().map(|profile| profile.name.as_str()).collect();
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let unknown = Failure::Usage(format!("{} has no profile {name:?}; it has {known}. A profile looks so:\n{EXAMPLE}", path.display()));
    let profile = profiles.into_iter().find(|profile| profile.name == name).ok_or(unknown)?;
    if matches.value_source("key") != Some(ValueSource::CommandLine) {
        general.key = profile.key.as_ref().map(|key| key.read(&name)).transpose()?;
    }
    general.url = profile.url;
    Ok(())
}

/// The file, and what is in it; nothing where it isn't there.
pub fn all() -> Result<(PathBuf, Vec<Profile>), Failure> {
    let path = folder("XDG_CONFIG_HOME", ".config")
        .map(|folder| folder.join("profiles.toml"))
        .ok_or_else(|| Failure::Usage("there is no folder for profiles: neither XDG_CONFIG_HOME nor HOME is an absolute path".into()))?;
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((path, Vec::new())),
        Err(error) => return Err(Failure::Usage(format!("{} cannot be read: {error}", path.display()))),
    };
    let profiles = parse(&text, &path, is_private(&path)).map_err(|why| Failure::Usage(format!("{}: {why}", path.display())))?;
    Ok((path, profiles))
}

fn parse(text: &str, path: &Path, private: bool) -> Result<Vec<Profile>, String> {
    let document: DocumentMut = text.parse().map_err(|error| format!("{error}"))?;
    let profile = |(name, item): (&str, &toml_edit::Item)| {
        let table = item.as_table_like().ok_or_else(|| format!("{name} must be a table, as in\n{EXAMPLE}"))?;
        one(name, table, path, private).map_err(|why| format!("[{name}] {why}"))
    };
    document.iter().map(profile).collect()
}

fn one(name: &str, table: &dyn TableLike, path: &Path, private: bool) -> Result<Profile, String> {
    let (mut url, mut keys) = (None, Vec::new());
    for (key, item) in table.iter() {
        let value = item.as_str().ok_or_else(|| format!("{key} must be a string"))?;
        match key {
            "url" => url = Some(daemon_url(value).map_err(|why| format!("url {value:?}: {why}"))?),
            "key_env" => keys.push(KeySource::Variable(value.to_owned())),
            // `join` leaves an absolute path as it is.
            "key_file" => keys.push(KeySource::File(path.parent().unwrap_or(Path::new("")).join(value))),
            "key" if !private => {
                return Err(format!("others may read the key in this file: `chmod 600 {}`, or use key_env or key_file", path.display()));
            }
            "key" => keys.push(KeySource::Here(value.to_owned())),
            _ => return Err(format!("{key} is unknown; known are url, key_env, key_file, key")),
        }
    }
    if keys.len() > 1 {
        return Err("key_env, key_file and key are three places for one key; only one can be".into());
    }
    Ok(Profile { name: name.to_owned(), url: url.ok_or("url is missing")?, key: keys.pop() })
}

#[cfg(unix)]
fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o077 == 0)
}

/// A user's folder is the user's own there.
#[cfg(windows)]
fn is_private(_path: &Path) -> bool {
    true
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, private: bool, why: &str) {
        let said = parse(text, Path::new("/etc/p.toml"), private).unwrap_err();
        assert!(said.contains(why), "{said}");
    }

    #[test]
    fn a_profile_has_an_address_and_one_place_for_its_key() {
        let text = "[a]\nurl = \"http://a:1\"\n[b]\nurl = \"https://b\"\nkey_file = \"b.key\"\n[c]\nurl = \"http://c\"\nkey_env = \"C\"";
        let profiles = parse(text, Path::new("/etc/p.toml"), false).unwrap();
        let keys: Vec<_> = profiles.iter().map(|profile| (profile.name.as_str(), profile.key.as_ref().map(KeySource::describe))).collect();
        assert_eq!(keys, [("a", None), ("b", Some("/etc/b.key".into())), ("c", Some("$C".into()))]);
        refused("[a]\n", false, "[a] url is missing");
        refused("[a]\nurl = \"ftp://a\"", false, "[a] url \"ftp://a\": it must begin with http");
        refused("[a]\nurl = \"http://a\"\nkeyfile = \"x\"", false, "[a] keyfile is unknown; known are url");
        refused("[a]\nurl = \"http://a\"\nkey_env = \"x\"\nkey_file = \"x\"", false, "only one can be");
        refused("url = \"http://a\"", false, "url must be a table");
    }

    #[test]
    fn a_key_in_the_clear_is_taken_from_a_private_file_only() {
        let text = "[a]\nurl = \"http://a\"\nkey = \"secret\"";
        assert_eq!(parse(text, Path::new("p"), true).unwrap()[0].key, Some(KeySource::Here("secret".into())));
        refused(text, false, "`chmod 600 /etc/p.toml`");
    }
}

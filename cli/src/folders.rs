//! Where a user's files lie: the XDG specification's folders.

use std::env;
use std::path::{Path, PathBuf};

/// MiniVault's folder in the one that `variable` names, or in `usual` of the home folder where that is unset or relative; `None` where
/// there is no home either.
pub fn folder(variable: &str, usual: &str) -> Option<PathBuf> {
    chosen(env::var_os(variable).map(PathBuf::from), env::home_dir(), usual)
}

fn chosen(named: Option<PathBuf>, home: Option<PathBuf>, usual: &str) -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    let folder = named.filter(absolute).or_else(|| Some(home.filter(absolute)?.join(Path::new(usual))))?;
    Some(folder.join("minivault"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(named: Option<&str>, home: Option<&str>, expected: Option<&str>) {
        assert_eq!(chosen(named.map(PathBuf::from), home.map(PathBuf::from), ".local/state"), expected.map(PathBuf::from));
    }

    #[test]
    fn files_lie_where_xdg_says() {
        check(Some("/state"), Some("/home/me"), Some("/state/minivault"));
        check(None, Some("/home/me"), Some("/home/me/.local/state/minivault"));
    }

    #[test]
    fn relative_or_missing_folders_are_not_used() {
        check(Some("state"), Some("/home/me"), Some("/home/me/.local/state/minivault"));
        check(Some(""), Some("/home/me"), Some("/home/me/.local/state/minivault"));
        check(None, Some(""), None);
        check(None, None, None);
    }
}

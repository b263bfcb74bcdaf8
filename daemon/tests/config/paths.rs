//! What relative paths start from.

use minivault_daemon::config::Listen;

use crate::kit::Setup;

#[test]
fn relative_paths_in_a_file_start_from_its_folder() {
    let text = "[log]\npath = \"./a.jsonl\"\n[server]\nlisten = \"unix:d.sock\"\n[engines.distilgpt2]\nmodel = \"models/x\"\n";
    let setup = Setup::new().with_file("etc/mine.toml", text).naming("etc/mine.toml");
    let settings = setup.settings();
    assert_eq!(settings.log.path, setup.path("etc/a.jsonl"));
    assert_eq!(settings.server.listen, [Listen::Unix(setup.path("etc/d.sock"))]);
    assert_eq!(settings.engines["distilgpt2"].opening.base, setup.path("etc"));
    assert_eq!(settings.engines["smollm2"].opening.base, setup.path(""));
    assert_eq!(setup.line("log.path").0, format!("{:?}", setup.path("etc/a.jsonl")));
}

#[test]
fn relative_paths_from_elsewhere_start_from_the_working_directory() {
    let text = "[log]\npath = \"a.jsonl\"\n[engines.distilgpt2]\nmodel = \"models/x\"\n";
    let setup = Setup::new().with_file("etc/mine.toml", text).naming("etc/mine.toml");
    let setup = setup.variable("MINIVAULTD_LOG__PATH", "b.jsonl").variable("MINIVAULTD_ENGINES__DISTILGPT2__MODEL", "x");
    let setup = setup.listen("unix:flag.sock");
    let settings = setup.settings();
    assert_eq!(settings.log.path, setup.path("b.jsonl"));
    assert_eq!(settings.server.listen, [Listen::Unix(setup.path("flag.sock"))]);
    assert_eq!(settings.engines["distilgpt2"].opening.base, setup.path(""));
}

#[test]
fn the_default_log_is_in_the_working_directory() {
    let setup = Setup::new().with_file("etc/mine.toml", "").naming("etc/mine.toml");
    assert_eq!(setup.settings().log.path, setup.path("logs/log.jsonl"));
}

#[test]
fn absolute_paths_stay_as_they_are() {
    let setup = Setup::file("[log]\npath = \"/var/log/a.jsonl\"\n[server]\nlisten = \"unix:/run/a.sock\"\n");
    let settings = setup.settings();
    assert_eq!(settings.log.path.to_str(), Some("/var/log/a.jsonl"));
    assert_eq!(settings.server.listen, [Listen::Unix("/run/a.sock".into())]);
}

//! Where everything lies. All of it is under one folder, `target/bench`, filled by `bench/install.sh`.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::case::Dtype;

/// The folder of the benchmark, and the daemon that is measured.
#[derive(Debug, Clone)]
pub struct Places {
    /// `target/bench`, absolute.
    pub folder: PathBuf,
    /// The binary `minivaultd`.
    pub minivaultd: PathBuf,
    /// This repository's `bench/peers`.
    pub peers: PathBuf,
}

impl Places {
    /// DistilGPT2's shape as Hugging Face lays it out.
    pub fn gpt2(&self) -> Result<PathBuf> {
        self.installed("models/distilgpt2")
    }

    /// The same weights for CTranslate2.
    pub fn gpt2_for_ctranslate2(&self) -> Result<PathBuf> {
        self.installed("models/distilgpt2-ctranslate2")
    }

    /// The same weights for llama.cpp.
    pub fn gpt2_for_llama(&self, dtype: Dtype) -> Result<PathBuf> {
        self.installed(&format!("models/distilgpt2-{}.gguf", dtype.of_llama()))
    }

    /// SmolLM2, one file for both sides.
    pub fn smollm2(&self) -> Result<PathBuf> {
        self.installed("models/smollm2.gguf")
    }

    /// One of llama.cpp's programs.
    pub fn llama(&self, program: &str) -> Result<PathBuf> {
        self.installed(&format!("llama.cpp/build/bin/{program}"))
    }

    /// The Python that has the peers.
    pub fn python(&self) -> Result<PathBuf> {
        self.installed("venv/bin/python")
    }

    /// A script of this repository.
    pub fn script(&self, name: &str) -> PathBuf {
        self.peers.join(name)
    }

    /// Where a process of this run writes what it has to say.
    pub fn log(&self, name: &str) -> PathBuf {
        self.run().join(format!("{}.log", name.to_lowercase().replace(' ', "-")))
    }

    /// The folder of what belongs to a single run: logs, configurations.
    pub fn run(&self) -> PathBuf {
        self.folder.join("run")
    }

    fn installed(&self, path: &str) -> Result<PathBuf> {
        existing(&self.folder.join(path))
    }
}

/// The path, if something is there.
pub fn existing(path: &Path) -> Result<PathBuf> {
    ensure!(path.exists(), "{} is not there; bench/install.sh puts it there", path.display());
    Ok(path.to_owned())
}

//! Speculation on text that repeats.

use anyhow::{Result, bail};

use super::Bench;
use crate::row::Row;

pub(super) async fn speculation(_bench: &Bench) -> Result<Vec<Row>> {
    bail!("this build has no speculation yet")
}

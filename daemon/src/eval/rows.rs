//! Logits row by row.

use anyhow::{Context, ensure};
use futures_util::StreamExt;
use minivault_engines::model::Logits;
use minivault_engines::{LogitRows, TextEngine, TokenId};

/// Takes one row after the other from an engine that gives a few at a time.
pub(super) struct RowReader {
    name: String,
    chunks: LogitRows,
    chunk: Logits,
    next: usize,
}

impl RowReader {
    /// The rows after each of these tokens.
    pub async fn new(engine: &dyn TextEngine, tokens: &[TokenId]) -> anyhow::Result<Self> {
        let chunks = engine.logits(tokens).await?;
        Ok(Self { name: engine.info().name.clone(), chunks, chunk: Logits::default(), next: 0 })
    }

    /// The next row.
    pub async fn next(&mut self) -> anyhow::Result<&[f32]> {
        while self.next >= self.chunk.rows() {
            let chunk = self.chunks.next().await;
            self.chunk = chunk
                .with_context(|| format!("`{}` gave too few rows of logits", self.name))?
                .with_context(|| format!("`{}`", self.name))?;
            self.next = 0;
        }
        self.next += 1;
        let row = self.chunk.row(self.next - 1);
        ensure!(row.iter().all(|logit| !logit.is_nan()), "the logits of `{}` aren't numbers", self.name);
        Ok(row)
    }
}

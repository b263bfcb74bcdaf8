//! The groups of rows: what each measures, against whom, and the ratio to reach.

mod chat;
mod clients;
mod cost;
mod engine;
mod join;
mod kl;
mod speculation;
mod start;

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::arguments::{Group, Measure};
use crate::bandwidth::Memory;
use crate::case::Dtype;
use crate::places::Places;
use crate::row::Row;
use crate::server::Server;
use crate::text::Words;

/// Tokens that a slot of a server holds: GPT-2's context.
pub(crate) const CONTEXT: usize = 1024;

/// All that a group needs.
pub struct Bench {
    /// Where everything lies.
    pub places: Places,
    /// What was asked for.
    pub asked: Measure,
    /// Prompts.
    pub words: Words,
    /// For the machine's bandwidth.
    pub memory: Memory,
}

impl Bench {
    /// Measures one group.
    ///
    /// # Errors
    /// Nothing of the group can be measured at all.
    pub async fn measure(&self, group: Group) -> Result<Vec<Row>> {
        match group {
            Group::Decode => engine::decode(self).await,
            Group::Prefill => engine::prefill(self).await,
            Group::Http => clients::gpt2(self).await,
            Group::Smollm2 => clients::smollm2(self).await,
            Group::Original => clients::original(self).await,
            Group::Join => join::join(self).await,
            Group::Chat => chat::chat(self).await,
            Group::Start => start::start(self).await,
            Group::Kl => kl::kl(self).await,
            Group::Speculation => speculation::speculation(self).await,
            Group::Cost => cost::cost(self).await,
            Group::Busy => cost::busy(self).await,
        }
    }

    /// The daemon with GPT-2.
    async fn our_gpt2(&self, dtype: Dtype, slots: usize) -> Result<Server> {
        let table = self.gpt2_table(dtype, &json!({"slots": slots}))?;
        Server::minivault(&self.places, &format!("MiniVault {}", dtype.name()), &table).await
    }

    /// GPT-2's table in the configuration, `backend` included.
    fn gpt2_table(&self, dtype: Dtype, more: &Value) -> Result<Map<String, Value>> {
        let mut table = crate::engine::table(&self.places.gpt2()?, dtype, self.asked.threads(), more)?;
        table.insert("backend".into(), json!("gpt2"));
        Ok(table)
    }

    /// llama-server with the same weights.
    async fn their_gpt2(&self, dtype: Dtype, slots: usize) -> Result<Server> {
        self.peer("llama-server")?;
        Server::llama(&self.places, &self.places.gpt2_for_llama(dtype)?, slots, CONTEXT, self.asked.threads()).await
    }

    /// Fails where the peer isn't to take part.
    fn peer(&self, name: &str) -> Result<()> {
        anyhow::ensure!(self.asked.has_peer(name), "left out by --peers");
        Ok(())
    }

    /// The dtypes asked for among those of a row.
    fn dtypes(&self, among: &[Dtype]) -> Vec<Dtype> {
        among.iter().copied().filter(|dtype| self.asked.dtype.contains(dtype)).collect()
    }

    /// The numbers of clients asked for among those of a row.
    fn clients(&self, among: &[usize]) -> Vec<usize> {
        among.iter().copied().filter(|clients| self.asked.clients.contains(clients)).collect()
    }
}

//! The result, for people and for programs.

use std::fmt;

use minivault_engines::EngineInfo;
use serde::Serialize;

use super::score::{Divergence, Surprise};

/// What an evaluation found. As JSON its fields are named as here.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The file.
    pub text: String,
    /// Tokens of the text, as far as it was to be read.
    pub tokens: usize,
    /// Tokens in a window.
    pub window: usize,
    /// Windows read.
    pub windows: usize,
    /// Tokens scored: those in the second half of each window.
    pub scored: usize,
    /// The engine.
    pub engine: Subject,
    /// What it was compared with.
    pub reference: Option<Subject>,
    /// How far the two are apart.
    pub comparison: Option<Comparison>,
}

/// One of the engines.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Subject {
    /// Its name in the configuration.
    pub name: String,
    /// Its backend.
    pub backend: String,
    /// Its model.
    pub model: String,
    /// A hash of what decides its output.
    pub fingerprint: String,
    /// Among how many equally likely tokens it would have had to choose, on average; lower is better.
    pub perplexity: f64,
}

/// How far an engine is from its reference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The share of tokens for which both find the same one most likely, 0 to 1.
    pub top1_agreement: f64,
    /// The Kullback-Leibler divergence from the reference, nats a token.
    pub kl_mean: f64,
    /// What 99 % of the tokens don't exceed.
    pub kl_p99: f64,
    /// The largest of any token.
    pub kl_max: f64,
}

impl Subject {
    pub(super) fn new(info: &EngineInfo, surprise: &Surprise) -> Self {
        let EngineInfo { name, backend, model, fingerprint, .. } = info.clone();
        Self { name, backend, model, fingerprint, perplexity: surprise.perplexity() }
    }

    fn line(&self) -> String {
        format!("{} ({}, {})", self.name, self.backend, self.model)
    }
}

impl Comparison {
    #[allow(clippy::needless_pass_by_value)] // What is summed up is done with.
    pub(super) fn new(divergence: Divergence) -> Self {
        Self {
            top1_agreement: divergence.agreement(),
            kl_mean: divergence.mean(),
            kl_p99: divergence.quantile(0.99),
            kl_max: divergence.quantile(1.0),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, tokens, window, windows, scored, engine, reference, comparison } = self;
        let windows = if *windows == 1 { "1 window".into() } else { format!("{windows} windows") };
        writeln!(formatter, "text        {text}: {tokens} tokens, {windows} of {window}, {scored} tokens scored")?;
        writeln!(formatter, "engine      {}", engine.line())?;
        match reference {
            Some(reference) => writeln!(formatter, "reference   {}", reference.line())?,
            None => writeln!(formatter, "reference   none; --against compares with another engine")?,
        }
        writeln!(formatter, "\nperplexity  {:.4}", engine.perplexity)?;
        if let Some(reference) = reference {
            let more = 100.0 * (engine.perplexity / reference.perplexity - 1.0);
            writeln!(formatter, "            {:.4} is the reference's; {more:+.2} %", reference.perplexity)?;
        }
        if let Some(Comparison { top1_agreement, kl_mean, kl_p99, kl_max }) = comparison {
            writeln!(formatter, "top 1       {:.2} % of the tokens have the same most likely one", 100.0 * top1_agreement)?;
            writeln!(
                formatter,
                "KL          {} nats a token; 99 % of them up to {}, the worst {}",
                short(*kl_mean),
                short(*kl_p99),
                short(*kl_max)
            )?;
        }
        Ok(())
    }
}

/// Three digits, however small.
fn short(value: f64) -> String {
    if value == 0.0 || value >= 0.001 { format!("{value:.5}") } else { format!("{value:.2e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_well() {
        let subject = |name: &str, perplexity| Subject {
            name: name.into(),
            backend: "gpt2".into(),
            model: "models/story".into(),
            fingerprint: "f".into(),
            perplexity,
        };
        let report = Report {
            text: "war.txt".into(),
            tokens: 1100,
            window: 512,
            windows: 2,
            scored: 512,
            engine: subject("story-q8", 20.5),
            reference: Some(subject("story", 20.0)),
            comparison: Some(Comparison { top1_agreement: 0.985, kl_mean: 0.01234, kl_p99: 0.2, kl_max: 1.0 }),
        };
        let expected = "\
text        war.txt: 1100 tokens, 2 windows of 512, 512 tokens scored
engine      story-q8 (gpt2, models/story)
reference   story (gpt2, models/story)

perplexity  20.5000
            20.0000 is the reference's; +2.50 %
top 1       98.50 % of the tokens have the same most likely one
KL          0.01234 nats a token; 99 % of them up to 0.20000, the worst 1.00000
";
        assert_eq!(report.to_string(), expected);
        assert_eq!((short(0.0), short(0.000_012_3)), ("0.00000".into(), "1.23e-5".into()));
    }
}

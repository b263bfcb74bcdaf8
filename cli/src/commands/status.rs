//! `minivault status`: whether the daemon is there and can answer.

use minivault_wire::status::{HealthAnswer, ReadyAnswer};
use serde::Serialize;

use crate::arguments::StatusReport;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;

/// Where another engine answers, the whole reason is of use only to who mends it.
const DOCTOR: &str = "`minivaultd doctor` tells more";

/// What `--json` prints.
#[derive(Serialize)]
struct Status {
    url: String,
    health: HealthAnswer,
    ready: ReadyAnswer,
}

/// Asks `/health` and `/ready`, or `/health` alone. A daemon that isn't ready makes the run fail, where that was asked.
pub async fn run(client: &Client, arguments: &StatusReport, output: &mut Output) -> Result<(), Failure> {
    let (url, health) = (client.address(), client.health().await?);
    if arguments.alive {
        return output.line(&format!("minivaultd {} at {url}", health.version));
    }
    let status = Status { url, health, ready: client.ready().await? };
    if arguments.report.json {
        let json = serde_json::to_string(&status).map_err(|error| Failure::Failed(error.to_string()))?;
        output.line(&json)?;
    } else {
        output.line(&format!("minivaultd {} at {}", status.health.version, status.url))?;
        output.line(&readiness(&status.ready))?;
        if status.ready.answered_by.is_some() {
            output.line(DOCTOR)?;
        } else {
            // The rest of a reason that has several lines: nothing else answers meanwhile.
            status.ready.reason.iter().flat_map(|reason| reason.lines().skip(1)).try_for_each(|line| output.line(line))?;
        }
    }
    if status.ready.status == "ready" { Ok(()) } else { Err(Failure::NotReady) }
}

/// `ready: distilgpt2`, and what else there is to know in a line.
pub fn readiness(ready: &ReadyAnswer) -> String {
    let ReadyAnswer { status, engine, answered_by, reason } = ready;
    let mut text = match answered_by {
        Some(other) => format!("{status}: {other} in place of {engine}"),
        None => format!("{status}: {engine}"),
    };
    if let Some(first) = reason.as_ref().and_then(|reason| reason.lines().next()) {
        text.push_str(&format!(" ({first})"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_substitute_is_told_with_its_reason() {
        let mut ready = ReadyAnswer { status: "ready".into(), engine: "distilgpt2".into(), answered_by: None, reason: None };
        assert_eq!(readiness(&ready), "ready: distilgpt2");
        ready.answered_by = Some("smollm2".into());
        ready.reason = Some("the hub cannot be reached\ntried, in order: …".into());
        assert_eq!(readiness(&ready), "ready: smollm2 in place of distilgpt2 (the hub cannot be reached)");
    }
}

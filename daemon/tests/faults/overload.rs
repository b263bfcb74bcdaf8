//! More requests than there is room for: each is answered or refused at once, and none is cut.

use std::time::Duration;

use crate::connection::{get, post};
use crate::table::{Row, milliseconds, percentile};
use crate::{Engine, Extent};

/// How soon a request that finds no room must know.
const AT_ONCE: Duration = Duration::from_millis(20);

pub async fn run(extent: Extent) -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine { slots: 2, queue: 16, step_tokens: 64, pace: Duration::from_millis(4) };
    let daemon = engine.start(folder.path(), "");
    let address = daemon.address.clone();
    let requests = extent.of(500, 100);
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..requests {
        let address = address.clone();
        // A crowd, and not a single instant: what is measured is the daemon, and not how fast connections can be opened.
        tokio::time::sleep(Duration::from_millis(u64::from(number.is_multiple_of(5)))).await;
        asked.spawn(async move { post(&address, "/generate", br#"{"prompt":"crowd","max_tokens":20}"#).await });
    }
    let answers = asked.join_all().await;
    let reset = answers.iter().filter(|answer| answer.is_err()).count();
    let answers: Vec<_> = answers.into_iter().filter_map(Result::ok).collect();
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    let named = refused.iter().filter(|answer| answer.header("retry-after").is_some() && answer.error().is_some()).count();
    let mut times: Vec<Duration> = refused.iter().map(|answer| answer.after).collect();
    let (middle, last) = (percentile(&mut times, 50), percentile(&mut times, 99));
    let well = get(&address, "/health").await.is_ok_and(|answer| answer.status == 200);
    vec![Row::new(
        format!("{requests} requests into 2 slots and a queue of 16"),
        format!(
            "{served} × 200, {} × 429 ({named} with Retry-After; half within {}, 99 % within {}), {reset} reset",
            refused.len(),
            milliseconds(middle),
            milliseconds(last)
        ),
        "each 200, or 429 with Retry-After within 20 ms; 0 reset",
        well && reset == 0
            && served + refused.len() == requests
            && named == refused.len()
            && !refused.is_empty()
            && last < extent.within(AT_ONCE),
    )]
}

//! Bodies that are wrong in ten thousand ways: each is refused in the one form that errors have, and nothing of it stays in memory.

use std::collections::BTreeMap;

use serde_json::json;

use crate::connection::{memory, post};
use crate::random::Random;
use crate::table::{Row, mebibytes};
use crate::{Engine, Extent};

/// Bytes by which the daemon may be larger afterwards: what its allocator keeps.
const MOST_GROWTH: u64 = 16 << 20;

/// Words that are hard to read.
const NAUGHTY: [&str; 24] = [
    "\u{0}",
    "\u{FEFF}",
    "\u{202E}abc",
    "\u{FFFF}",
    "ﷺﷺﷺ",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A",
    "🏳️‍🌈🇩🇪",
    "<|im_start|>system",
    "<|endoftext|>",
    "'; DROP TABLE users; --",
    "${jndi:ldap://x}",
    "{{7*7}}",
    "{% raw %}",
    "../../etc/passwd",
    "-1",
    "NaN",
    "1e999",
    "true",
    "\\ud800",
    "\r\n\r\nHTTP/1.1 200 OK",
    "%00%0a",
    "<script>",
    "null",
    "\u{1b}[31m",
];

pub async fn run(extent: Extent) -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine { slots: 4, queue: 64, step_tokens: 64, pace: std::time::Duration::ZERO };
    let daemon = engine.start(folder.path(), "body_limit = 262144\n");
    let wanted = extent.of(10_000, 500);
    let mut random = Random(7);
    // Once through everything first: what is allocated once stays.
    for number in 0..200 {
        let (path, body) = wrong(number, &mut random);
        post(&daemon.address, path, &body).await.unwrap();
    }
    let before = memory(daemon.id());
    let (mut statuses, mut formless, mut still_right) = (BTreeMap::<u16, usize>::new(), Vec::new(), 0);
    let (mut number, mut refused) = (0, 0);
    while refused < wanted {
        let (path, body) = wrong(number, &mut random);
        number += 1;
        let answer =
            post(&daemon.address, path, &body).await.unwrap_or_else(|error| panic!("{path} {:?}: {error}", String::from_utf8_lossy(&body)));
        // What was changed may have been changed into something right.
        if answer.status == 200 {
            still_right += 1;
            continue;
        }
        refused += 1;
        *statuses.entry(answer.status).or_default() += 1;
        if answer.error().is_none() {
            formless.push(format!("{path} {:.100}: {:.100}", String::from_utf8_lossy(&body), answer.body));
        }
    }
    let after = memory(daemon.id());
    let failed: usize = statuses.range(500..).map(|(_, count)| count).sum();
    let panics = std::fs::read_to_string(folder.path().join("log.jsonl")).unwrap().matches("panicked").count();
    let told: Vec<String> = statuses.iter().map(|(status, count)| format!("{count} × {status}")).collect();
    let odd = formless.first().map(|first| format!("; without the form of errors: {}, as {first}", formless.len())).unwrap_or_default();
    let growth = after.saturating_sub(before);
    vec![Row::new(
        format!("{wanted} malformed bodies"),
        format!("{} ({still_right} more were right){odd}; memory {:.1} → {:.1} MiB", told.join(", "), mebibytes(before), mebibytes(after)),
        "all 4xx in the form of errors, no 5xx, no panic, memory as before",
        failed == 0 && panics == 0 && formless.is_empty() && growth <= MOST_GROWTH,
    )]
}

/// A body that is wrong in most cases, and where it goes.
fn wrong(number: usize, random: &mut Random) -> (&'static str, Vec<u8>) {
    let right = [
        ("/generate", json!({"prompt": "x", "max_tokens": 2, "temperature": 0.5, "stop": ["a"], "seed": 1})),
        ("/stream-generate", json!({"prompt": "x", "max_tokens": 2})),
        ("/v1/completions", json!({"model": "scripted", "prompt": ["x"], "max_tokens": 2, "n": 1, "logit_bias": {"5": 1}})),
        ("/v1/chat/completions", json!({"model": "scripted", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2})),
        ("/v1/embeddings", json!({"model": "scripted", "input": ["x"]})),
        ("/tokenize", json!({"content": "x"})),
        ("/detokenize", json!({"tokens": [1]})),
        ("/completion", json!({"prompt": "x", "n_predict": 2})),
    ];
    let (path, mut body) = right[random.below(right.len() as u64) as usize].clone();
    let bytes = match number % 8 {
        // A byte is another one.
        0 => {
            let mut bytes = body.to_string().into_bytes();
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << random.below(8);
            bytes
        }
        // It ends too soon.
        1 => {
            let bytes = body.to_string().into_bytes();
            let end = random.below(bytes.len() as u64) as usize;
            bytes[..end].to_vec()
        }
        // A value is of another kind.
        2 => {
            let others = [json!(null), json!(-1), json!(1e308), json!("x"), json!([[]]), json!({"a": {}}), json!(true), json!(u64::MAX)];
            let fields = body.as_object_mut().unwrap();
            let at = random.below(fields.len() as u64) as usize;
            *fields.values_mut().nth(at).unwrap() = others[random.below(others.len() as u64) as usize].clone();
            body.to_string().into_bytes()
        }
        // A field that nobody knows, by a hard name.
        3 => {
            let name = NAUGHTY[random.below(NAUGHTY.len() as u64) as usize];
            body.as_object_mut().unwrap().insert(format!("{name}{}", random.below(1000)), json!(NAUGHTY));
            body.to_string().into_bytes()
        }
        // Hard words where words are wanted.
        4 => {
            let word = NAUGHTY[random.below(NAUGHTY.len() as u64) as usize];
            let fields = body.as_object_mut().unwrap();
            let at = random.below(fields.len() as u64) as usize;
            *fields.values_mut().nth(at).unwrap() = json!(word);
            body.to_string().into_bytes()
        }
        // No JSON at all.
        5 => {
            let texts: [&[u8]; 14] = [
                b"",
                b" ",
                b"{",
                b"nul",
                b"[1,]",
                b"{\"prompt\":\"x\",}",
                b"{'prompt':'x'}",
                b"{\"prompt\":\"\\ud800\"}",
                b"\xff\xfe{\x00}\x00",
                b"{\"prompt\":NaN}",
                b"{\"prompt\":\"a\nb\"}",
                b"{\"prompt\":\"x\"}{}",
                b"{\"a\":1,\"a\":2}",
                b"\xef\xbb\xbf{\"prompt\":\"x\"}",
            ];
            texts[random.below(texts.len() as u64) as usize].to_vec()
        }
        // Deep, or large.
        6 => {
            let depth = 1 + random.below(3000) as usize;
            format!("{{\"prompt\":{}1{}}}", "[".repeat(depth), "]".repeat(depth)).into_bytes()
        }
        // Numbers out of every range.
        _ => {
            let names = [
                "max_tokens",
                "temperature",
                "top_p",
                "top_k",
                "n",
                "seed",
                "min_p",
                "repetition_penalty",
                "presence_penalty",
                "n_predict",
            ];
            let values = ["-1", "1e400", "-0.0", "99999999999999999999999", "0.1e-400", "1.5", "\"1\"", "[]"];
            let name = names[random.below(names.len() as u64) as usize];
            let value = values[random.below(values.len() as u64) as usize];
            let text = body.to_string();
            format!("{},\"{name}\":{value}}}", &text[..text.len() - 1]).into_bytes()
        }
    };
    (path, bytes)
}

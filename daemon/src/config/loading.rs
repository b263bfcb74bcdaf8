//! `load` and `keep_alive`: when an engine comes into memory, and how long it stays there.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// When an engine loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadTime {
    /// When the daemon starts; requests that come before it is there are answered with 503.
    Startup,
    /// When a request first names it; that request waits.
    FirstUse,
}

/// How long an engine that nobody asks stays in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAlive {
    /// For ever.
    Forever,
    /// For so long.
    For(Duration),
}

/// The longest time that may be named; whoever wants more wants for ever.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

impl KeepAlive {
    /// What the configuration may say, for messages.
    const EXPECTED: &str = "seconds, a duration like \"5m\" or \"1h30m\" of at most a year, or -1 for ever";

    /// The time, where there is one.
    pub fn limit(self) -> Option<Duration> {
        match self {
            Self::Forever => None,
            Self::For(time) => Some(time),
        }
    }

    /// Seconds; less than none is for ever, as with Ollama.
    fn seconds(seconds: f64) -> Option<Self> {
        if seconds < 0.0 {
            return Some(Self::Forever);
        }
        Duration::try_from_secs_f64(seconds).ok().filter(|time| *time <= LONGEST).map(Self::For)
    }

    /// `300`, `5m`, `1h30m`, `-1`, `-1m`.
    fn parse(text: &str) -> Option<Self> {
        if let Ok(seconds) = text.parse() {
            return Self::seconds(seconds);
        }
        let (forever, mut rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let mut total = 0.0;
        while !rest.is_empty() {
            let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
            let number: f64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            // The longer name first: `ms` begins as `m` does.
            let (unit, seconds) = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)]
                .into_iter()
                .find(|(unit, _)| rest.starts_with(unit))?;
            total += number * seconds;
            rest = &rest[unit.len()..];
        }
        if forever { Some(Self::Forever) } else { Self::seconds(total).filter(|_| !text.is_empty()) }
    }
}

impl<'de> Deserialize<'de> for KeepAlive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

/// Reads what stands in a configuration.
struct Written;

impl Visitor<'_> for Written {
    type Value = KeepAlive;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(KeepAlive::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<KeepAlive, E> {
        KeepAlive::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<KeepAlive, E> {
        KeepAlive::seconds(seconds as f64).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(seconds), &self))
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<KeepAlive, E> {
        KeepAlive::seconds(seconds as f64).ok_or_else(|| E::invalid_value(Unexpected::Signed(seconds), &self))
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<KeepAlive, E> {
        KeepAlive::seconds(seconds).ok_or_else(|| E::invalid_value(Unexpected::Float(seconds), &self))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn seconds_and_durations_are_read() {
        let check = |value: serde_json::Value, expected: Option<KeepAlive>| {
            assert_eq!(serde_json::from_value::<KeepAlive>(value.clone()).ok(), expected, "{value}");
        };
        let seconds = |seconds: f64| Some(KeepAlive::For(Duration::from_secs_f64(seconds)));
        check(json!(300), seconds(300.0));
        check(json!(0), seconds(0.0));
        check(json!(0.5), seconds(0.5));
        check(json!("300"), seconds(300.0));
        check(json!("5m"), seconds(300.0));
        check(json!("1h30m"), seconds(5400.0));
        check(json!("1.5h"), seconds(5400.0));
        check(json!("250ms"), seconds(0.25));
        check(json!("2d"), seconds(172_800.0));
        for forever in [json!(-1), json!("-1"), json!("-1m"), json!(-0.5)] {
            check(forever, Some(KeepAlive::Forever));
        }
        for wrong in
            [json!(""), json!("soon"), json!("5 m"), json!("m"), json!("1h30"), json!("inf"), json!(1e300), json!(true), json!("nan")]
        {
            check(wrong, None);
        }
    }
}

//! `/set`: how the next tokens are chosen. Whether a value makes sense is for the daemon to say when it is asked next.

use std::str::FromStr;

use crate::arguments::{Sampling, finite};
use crate::nearest::did_you_mean;

/// What can be set, as the daemon calls it.
const NAMES: [&str; 9] = ["max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed", "stop", "deterministic"];
/// Leaves a setting to the daemon again.
pub const UNSET: &str = "-";

/// Sets what is named.
pub fn set(sampling: &mut Sampling, name: &str, value: &str) -> Result<(), String> {
    let value = Some(value).filter(|value| *value != UNSET);
    let name = name.replace('-', "_");
    match name.as_str() {
        "max_tokens" => sampling.max_tokens = whole(&name, value)?,
        "temperature" => sampling.temperature = number(&name, value)?,
        "top_k" => sampling.top_k = whole(&name, value)?,
        "top_p" => sampling.top_p = number(&name, value)?,
        "min_p" => sampling.min_p = number(&name, value)?,
        "repetition_penalty" => sampling.repetition_penalty = number(&name, value)?,
        "seed" => sampling.seed = whole(&name, value)?,
        "stop" => sampling.stop = value.map(|value| value.replace("\\n", "\n")).into_iter().collect(),
        "deterministic" => {
            sampling.deterministic = match value {
                Some("true") => true,
                Some("false") | None => false,
                Some(other) => return Err(format!("deterministic is true or false, not {other:?}")),
            }
        }
        _ => return Err(format!("{name:?} can't be set; {}", did_you_mean(&name, NAMES, &format!("what can: {}", NAMES.join(", "))))),
    }
    Ok(())
}

/// What is set, a line each; the daemon's configuration decides the rest.
pub fn describe(sampling: &Sampling) -> String {
    fn line(name: &str, value: Option<impl ToString>) -> Option<String> {
        value.map(|value| format!("{name} {}", value.to_string()))
    }
    let lines = [
        line("max_tokens", sampling.max_tokens),
        line("temperature", sampling.temperature),
        line("top_k", sampling.top_k),
        line("top_p", sampling.top_p),
        line("min_p", sampling.min_p),
        line("repetition_penalty", sampling.repetition_penalty),
        line("seed", sampling.seed),
        line("deterministic", sampling.deterministic.then_some(true)),
    ];
    let stops = sampling.stop.iter().map(|text| format!("stop {text:?}"));
    let lines: Vec<String> = lines.into_iter().flatten().chain(stops).collect();
    if lines.is_empty() { format!("nothing is set, the daemon decides; what can be set: {}", NAMES.join(", ")) } else { lines.join("\n") }
}

fn whole<T: FromStr>(name: &str, value: Option<&str>) -> Result<Option<T>, String> {
    value.map(|value| value.parse().map_err(|_| format!("{name} is a whole number of 0 or more, not {value:?}"))).transpose()
}

fn number(name: &str, value: Option<&str>) -> Result<Option<f32>, String> {
    value.map(|value| finite(value).map_err(|_| format!("{name} is a number, not {value:?}"))).transpose()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_told_and_can_be_taken_back() {
        let mut sampling = Sampling::default();
        for (name, value) in [("temperature", "0.5"), ("max-tokens", "12"), ("seed", "7"), ("stop", "a\\nb"), ("deterministic", "true")] {
            set(&mut sampling, name, value).unwrap();
        }
        assert_eq!(describe(&sampling), "max_tokens 12\ntemperature 0.5\nseed 7\ndeterministic true\nstop \"a\\nb\"");
        for name in ["temperature", "max_tokens", "seed", "stop", "deterministic"] {
            set(&mut sampling, name, UNSET).unwrap();
        }
        assert!(describe(&sampling).starts_with("nothing is set"));
    }

    #[test]
    fn what_cannot_be_set_is_refused_by_name_and_value() {
        let mut sampling = Sampling::default();
        assert!(set(&mut sampling, "temprature", "1").unwrap_err().contains("\"temprature\" can't be set; did you mean temperature?"));
        assert!(set(&mut sampling, "colour", "1").unwrap_err().contains("\"colour\" can't be set; what can: max_tokens, temp"));
        assert_eq!(set(&mut sampling, "temperature", "hot").unwrap_err(), "temperature is a number, not \"hot\"");
        assert_eq!(set(&mut sampling, "temperature", "nan").unwrap_err(), "temperature is a number, not \"nan\"");
        assert_eq!(set(&mut sampling, "seed", "-1").unwrap_err(), "seed is a whole number of 0 or more, not \"-1\"");
        assert!(describe(&sampling).starts_with("nothing is set"));
    }
}

//! How many threads a model computes with, as a configuration says it: `threads = "auto"` or a number.

use std::fmt;
use std::num::NonZeroUsize;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// Threads that compute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Threads {
    /// As many as are good for the backend on this machine.
    #[default]
    Auto,
    /// So many.
    Count(NonZeroUsize),
}

impl Threads {
    /// What the configuration may say, for messages.
    const EXPECTED: &str = "\"auto\" or a whole number, 1 or more";

    /// So many threads; `None` for none at all, which nothing could be computed with.
    pub fn exactly(count: usize) -> Option<Self> {
        NonZeroUsize::new(count).map(Self::Count)
    }

    /// The number that was asked for, or all that this process may run at once.
    pub fn count(self) -> usize {
        self.count_or(available())
    }

    /// The number that was asked for, or the backend's own idea of what is best, at least 1.
    pub fn count_or(self, automatic: usize) -> usize {
        match self {
            Self::Auto => automatic.max(1),
            Self::Count(count) => count.get(),
        }
    }

    /// The number that was asked for, if any was.
    pub fn asked(self) -> Option<usize> {
        match self {
            Self::Auto => None,
            Self::Count(count) => Some(count.get()),
        }
    }
}

/// Threads that this process may run at once: the processors of its affinity mask (`taskset`), and on Linux no more than the quota of its
/// control group gives it (containers, `CPUQuota=` of systemd), rounded down. Asked anew each time, because both may change.
pub fn available() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl fmt::Display for Threads {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Count(count) => count.fmt(formatter),
        }
    }
}

impl<'de> Deserialize<'de> for Threads {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

/// Reads what stands in a configuration.
struct Written;

impl Visitor<'_> for Written {
    type Value = Threads;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(Threads::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Threads, E> {
        // A number in quotation marks can't mean anything else.
        match text.parse() {
            _ if text == "auto" => Ok(Threads::Auto),
            Ok(count) => Ok(Threads::Count(count)),
            Err(_) => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<Threads, E> {
        let exactly = usize::try_from(count).ok().and_then(Threads::exactly);
        exactly.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(count), &self))
    }

    fn visit_i64<E: Error>(self, count: i64) -> Result<Threads, E> {
        let exactly = usize::try_from(count).ok().and_then(Threads::exactly);
        exactly.ok_or_else(|| E::invalid_value(Unexpected::Signed(count), &self))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::Command;

    use serde_json::json;

    use super::*;

    fn read(value: &serde_json::Value) -> Result<Threads, String> {
        serde_json::from_value(value.clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_word_or_a_number_is_read_and_anything_else_explained() {
        assert_eq!(read(&json!("auto")), Ok(Threads::Auto));
        assert_eq!(read(&json!(3)).map(Threads::count), Ok(3));
        assert_eq!(read(&json!("3")).map(|threads| threads.to_string()), Ok("3".into()));
        for (value, seen) in [
            (json!("Auto"), "string \"Auto\""),
            (json!(0), "integer `0`"),
            (json!(-1), "integer `-1`"),
            (json!("0"), "string \"0\""),
            (json!(1.5), "floating point `1.5`"),
            (json!(true), "boolean `true`"),
        ] {
            let error = read(&value).unwrap_err();
            assert!(error.contains(seen) && error.contains("expected \"auto\" or a whole number, 1 or more"), "{error}");
        }
    }

    #[test]
    fn automatic_is_what_the_backend_finds_best() {
        assert_eq!(Threads::Auto.count_or(0), 1);
        assert_eq!(Threads::Auto.count_or(7), 7);
        assert_eq!(Threads::exactly(2).unwrap().count_or(7), 2);
        assert_eq!(Threads::exactly(0), None);
        assert_eq!((Threads::Auto.asked(), Threads::exactly(2).unwrap().asked()), (None, Some(2)));
    }

    /// Run by the test below in a process that may use one processor.
    #[test]
    #[ignore = "it holds in a process of its own only"]
    fn one_processor() {
        assert_eq!(Threads::Auto.count(), 1);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn affinity_is_respected() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
        let first = allowed.split([',', '-']).next().unwrap();
        let test = [std::env::current_exe().unwrap().into_os_string(), "--exact".into(), "threads::tests::one_processor".into()];
        let Ok(output) = Command::new("taskset").args(["--cpu-list", first]).args(test).arg("--ignored").output() else {
            println!("skipped: there is no taskset here");
            return;
        };
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("1 passed"), "{told}");
    }
}

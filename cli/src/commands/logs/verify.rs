//! `minivault logs verify`: whether every line is there as it was written.

use minivault_journal::reading::Verification;

use super::source::Source;
use crate::arguments::logs::Verify;
use crate::failure::Failure;
use crate::output::Output;

/// Verifies. A fault makes the run fail with its own exit code.
pub async fn run(source: &Source<'_>, arguments: &Verify, output: &mut Output) -> Result<(), Failure> {
    let seen = source.verify().await?;
    if arguments.json {
        let json = serde_json::to_string(&seen).map_err(|error| Failure::Failed(error.to_string()))?;
        output.line(&json)?;
    }
    match &seen.fault {
        Some(fault) => Err(Failure::Differs(format!("{fault}; lines before it that are as they were written: {}", seen.lines))),
        None if arguments.json => Ok(()),
        None => told(&seen).iter().try_for_each(|line| output.line(line)),
    }
}

fn told(seen: &Verification) -> Vec<String> {
    let files = if seen.files == 1 { "1 file".to_owned() } else { format!("{} files", seen.files) };
    let mut told = vec![format!("{} lines in {files} are as they were written", seen.lines)];
    if let (Some(first), Some(last)) = (seen.first_seq, seen.last_seq) {
        told.push(format!("seq {first} to {last}, none missing"));
    }
    if seen.beginning_is_gone {
        told.push("older files were deleted because of the limits on what is kept; the first line that is left follows them".into());
    }
    if seen.without_chain > 0 {
        told.push(format!("{} lines of an older format carry no chain of their own; the next line's covers them", seen.without_chain));
    }
    if let Some(chain) = &seen.chain {
        told.push(format!("the chain ends with {chain}; kept elsewhere, it shows later whether lines are missing at the end"));
    }
    told
}

//! What is said to the person at the terminal: results on stdout, everything else on stderr.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::Write as _;

/// A line of a result. Whoever reads may stop reading (`| head`): then so do we.
pub(crate) fn out(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.write_all(b"\n")
}

/// Bytes of a result, as they are.
pub(crate) fn raw(bytes: &[u8]) -> std::io::Result<()> {
    std::io::stdout().lock().write_all(bytes)
}

/// A line beside the result.
pub(crate) fn note(line: &str) {
    eprintln!("{line}");
}

/// Why the command failed, with the causes.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("riverrun: {}", with_causes(error));
}

/// The message and those of its causes that it does not say already.
fn with_causes(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.is_empty() {
            said = cause;
        } else if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let error = anyhow::anyhow!("disk full").context("writing f: disk full").context("the table cannot be opened");
        assert_eq!(with_causes(&error), "the table cannot be opened: writing f: disk full");
    }
}

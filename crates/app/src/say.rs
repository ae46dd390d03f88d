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
    eprintln!("riverrun: {error:#}");
}

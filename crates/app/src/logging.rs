//! Log lines, on stderr.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

/// Begins to log. A server says what it does; the demo and client commands only what went wrong. `RIVERRUN_LOG` overrules both.
pub(crate) fn begin(verbose: u8, format: LogFormat, server: bool) {
    let ours = ["base", "stream", "edge", "lake", "query", "deliver", "console", "riverrun"];
    let (level, others) = match (verbose, server) {
        (0, true) => ("info", "warn"),
        (0, false) => ("warn", "error"),
        (1, _) => ("debug", "info"),
        _ => ("trace", "debug"),
    };
    // The kernel below the lake logs as errors what it also returns, among it that a new table is not there yet.
    // So does the check of a server's certificate, and the command says why it failed.
    let others = format!("{others},buoyant_kernel=off,rustls_platform_verifier=off");
    let usual = ours.iter().fold(others, |filter, room| format!("{filter},{room}={level}"));
    let filter = EnvFilter::try_from_env("RIVERRUN_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => subscriber.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
        LogFormat::Json => subscriber.json().init(),
    }
}

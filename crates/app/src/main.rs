//! riverrun: the binary.
//!
//! **In:** arguments, environment, the file. **Out:** the rooms, composed; answers of client commands.
//! **Holds:** what is composed, in the order in which it is taken down.
//! **Never:** does a room's work. This is the only place that reads arguments, environment or settings files.

mod allocator;
mod bench;
mod cli;
mod client;
mod demo;
mod file;
mod import;
mod logging;
mod run;
mod say;
mod sql;
mod streams;
mod tail;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};

/// How a command ended, where it did not break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All that was asked was done.
    Done,
    /// It was done, and not all was well: lines were rejected, the file has mistakes.
    NotAllWell,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::begin(cli.verbose, cli.log_format, matches!(cli.command, Command::Serve(_)));
    match go(cli) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::NotAllWell) => ExitCode::FAILURE,
        Err(error) => {
            say::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn go(cli: Cli) -> anyhow::Result<Outcome> {
    if let Command::Check { file } = &cli.command {
        return file::check(file);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Demo(demo) => demo::demo(demo).await,
            Command::Serve(serve) => run::serve(&serve.file, &serve.plant).await,
            Command::Check { file } => file::check(&file),
            Command::Import(import) => import::import(import).await,
            Command::Tail(tail) => tail::tail(tail).await,
            Command::Sql(sql) => sql::sql(sql).await,
            Command::Stream { stream } => streams::stream(stream).await,
            Command::Bench { bench } => bench::bench(bench).await,
        }
    });
    // Whatever still runs (a query nobody waits for) must not keep the process.
    runtime.shutdown_background();
    outcome
}

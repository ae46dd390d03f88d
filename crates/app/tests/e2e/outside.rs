//! The tools from outside: Python with an independent Delta reader and DuckDB, Node.js with a browser driver.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The repository's folder, seen from the folder of this crate, where cargo runs the tests. A path compiled in would be
/// that of the checkout that built first, if several share a target folder.
pub(crate) fn repository() -> PathBuf {
    Path::new("../..").canonicalize().unwrap_or_else(|error| panic!("tests run in their crate's folder: {error}"))
}

/// Real input kept outside the repository, if this machine has it: `RIVERRUN_SHARED`, else `../shared`.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("RIVERRUN_SHARED").map_or_else(|| repository().join("../shared"), PathBuf::from);
    let file = folder.join(name);
    file.exists().then_some(file)
}

/// Runs a script of `tests/peers` in the tests' Python environment; its standard output is JSON.
pub(crate) fn python(script: &str, args: &[&str]) -> Result<Value> {
    let root = repository();
    let python = root.join(".cache/venv/bin/python");
    ensure!(python.exists(), "{} is missing: run scripts/install-test-tools.sh", python.display());
    run(Command::new(python).arg(root.join("tests/peers").join(script)).args(args))
}

/// Runs a script of `tests/browser` with Node.js; its standard output is JSON.
pub(crate) fn node(script: &str, args: &[&str]) -> Result<Value> {
    let folder = repository().join("tests/browser");
    ensure!(
        folder.join("node_modules/playwright-core").exists() && Path::new("/usr/bin/chromium").exists(),
        "Chromium or playwright-core is missing: run scripts/install-test-tools.sh"
    );
    run(Command::new("node").arg(folder.join(script)).args(args))
}

fn run(command: &mut Command) -> Result<Value> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}:\n{errors}", output.status);
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{command:?} printed no JSON:\n{}\n{errors}", String::from_utf8_lossy(&output.stdout)))
}

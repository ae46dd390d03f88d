//! The file: `riverrun.toml` as typed settings, or every mistake in it.

mod names;
mod read;
mod secrets;
#[cfg(test)]
mod tests;
mod together;
mod toml_value;

use std::path::Path;

use anyhow::Context as _;
use base::settings::Problem;

pub(crate) use read::{KinesisDoorSettings, Settings};
pub(crate) use secrets::DoorTls;

use crate::{Outcome, say};

/// The file could be read, and says things that cannot be done.
#[derive(Debug, thiserror::Error)]
#[error("{}", told(file, problems))]
pub(crate) struct Mistakes {
    file: String,
    problems: Vec<Problem>,
}

/// Reads the file at `path`.
pub(crate) fn load(path: &Path) -> anyhow::Result<Settings> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let folder = folder_of(path);
    read::settings(&text, &folder).map_err(|problems| Mistakes { file: path.display().to_string(), problems }.into())
}

/// The folder from which relative names in the file go.
fn folder_of(path: &Path) -> std::path::PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.parent().map_or_else(|| Path::new("/").to_owned(), Path::to_owned)
}

/// `riverrun check`: prints every mistake, or that there is none.
pub(crate) fn check(path: &Path) -> anyhow::Result<Outcome> {
    match load(path) {
        Ok(settings) => {
            say::out(&format!("{}: {}", path.display(), settings.summary()))?;
            Ok(Outcome::Done)
        }
        Err(error) => match error.downcast::<Mistakes>() {
            Ok(mistakes) => {
                say::out(&mistakes.to_string())?;
                Ok(Outcome::NotAllWell)
            }
            Err(error) => Err(error),
        },
    }
}

/// One line per mistake: `file:line: key: what; remedy`.
fn told(file: &str, problems: &[Problem]) -> String {
    let lines =
        problems.iter().map(|Problem { line, key, what, remedy }| format!("{file}:{line}: {key}: {what}; {remedy}"));
    let count = match problems.len() {
        1 => "1 mistake".to_owned(),
        n => format!("{n} mistakes"),
    };
    lines.chain([format!("{file}: {count}")]).collect::<Vec<_>>().join("\n")
}

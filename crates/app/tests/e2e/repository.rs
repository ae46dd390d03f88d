//! Rules of the repository that no compiler checks: which room may know which, how a room introduces itself, how large a file gets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::outside::repository;
use crate::server::binary;

/// Which rooms each room may use. An arrow that is not here needs a decision record first (docs/decisions).
const DIRECTION: [(&str, &[&str]); 9] = [
    ("base", &[]),
    ("stream", &["base"]),
    ("edge", &["base", "stream"]),
    ("lake", &["base"]),
    ("query", &["base", "lake"]),
    ("deliver", &["base", "stream", "lake", "query"]),
    ("console", &["base", "stream", "edge", "lake", "query", "deliver"]),
    // Never a dependency of anything: the arrow only leads into it.
    ("sim", &["base", "stream"]),
    ("riverrun", &["base", "stream", "edge", "lake", "query", "deliver", "console"]),
];

/// What `base` must never pull in: it is shared by rooms that must stay pure.
const NOT_IN_BASE: [&str; 3] = ["tokio", "arrow", "datafusion"];

/// A file past this length has more than one subject.
const LINES_MAX: usize = 800;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 9] = ["util", "utils", "common", "helper", "helpers", "manager", "misc", "service", "shared"];

fn cargo(args: &[&str]) -> Result<Vec<u8>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(args).current_dir(repository()).output()?;
    ensure!(output.status.success(), "cargo {args:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

fn packages() -> Result<Vec<Value>> {
    let metadata = cargo(&["metadata", "--format-version", "1", "--no-deps", "--offline", "--locked"])?;
    let metadata: Value = serde_json::from_slice(&metadata)?;
    Ok(metadata["packages"].as_array().context("cargo metadata lists packages")?.clone())
}

#[test]
fn rooms_know_only_the_rooms_upstream_of_them() -> Result<()> {
    let packages = packages()?;
    let allowed: BTreeMap<&str, &[&str]> = DIRECTION.into_iter().collect();
    let names: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    ensure!(
        names == allowed.keys().copied().collect(),
        "a new crate is a room: give it a place in DIRECTION. Found {names:?}"
    );
    for package in &packages {
        let name = package["name"].as_str().context("a package has a name")?;
        for dependency in package["dependencies"].as_array().context("a package lists dependencies")? {
            let other = dependency["name"].as_str().context("a dependency has a name")?;
            let inside = dependency["path"].is_string();
            ensure!(!inside || allowed[name].contains(&other), "{name} must not know {other}");
            ensure!(name != "base" || !NOT_IN_BASE.contains(&other), "base must not know {other}");
        }
    }
    Ok(())
}

#[test]
fn every_room_opens_with_in_out_holds_and_never() -> Result<()> {
    for package in packages()? {
        let folder = PathBuf::from(package["manifest_path"].as_str().context("a package has a manifest")?);
        let opening = folder.with_file_name("src").join("lib.rs");
        let opening = if opening.exists() { opening } else { folder.with_file_name("src").join("main.rs") };
        let text = std::fs::read_to_string(&opening)?;
        let doc: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        for word in ["**In:**", "**Out:**", "**Holds:**", "**Never:**"] {
            ensure!(doc.contains(word), "{} does not say {word} in its opening comment", opening.display());
        }
    }
    Ok(())
}

#[test]
fn files_have_one_subject_and_a_name_that_says_it() -> Result<()> {
    let mut wrong = Vec::new();
    for path in files(&repository().join("crates"), &["rs", "ts", "svelte"])? {
        let lines = std::fs::read_to_string(&path)?.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{} has {lines} lines; {LINES_MAX} is the most", path.display()));
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if EMPTY_NAMES.contains(&stem) {
            wrong.push(format!("{}: the name says nothing about what is inside", path.display()));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// The tests' dependencies must not change the features of anything the product uses: the engine would be compiled twice.
#[test]
fn the_demo_and_the_tests_share_every_compiled_crate() -> Result<()> {
    let tree = |args: &[&str]| -> Result<BTreeSet<String>> {
        let mut all = vec!["tree", "--offline", "--locked", "--prefix", "none", "--format", "{p} {f}"];
        all.extend(args);
        let text = String::from_utf8(cargo(&all)?)?;
        Ok(text.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect())
    };
    let product = tree(&["--package", "riverrun", "--edges", "normal,build"])?;
    let tests = tree(&["--workspace", "--edges", "normal,build,dev"])?;
    let different: Vec<_> = product.difference(&tests).collect();
    ensure!(different.is_empty(), "built differently for the tests: {different:#?}");
    Ok(())
}

#[test]
fn every_decision_record_and_document_that_is_linked_exists() -> Result<()> {
    let root = repository();
    let mut missing = Vec::new();
    let mut documents = files(&root.join("docs"), &["md"])?;
    documents.extend(["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root.join(name)));
    for document in documents {
        let text = std::fs::read_to_string(&document).with_context(|| document.display().to_string())?;
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
                continue;
            }
            let folder = document.parent().context("a document lies in a folder")?;
            if !folder.join(path).exists() {
                missing.push(format!("{} links to {path}", document.display()));
            }
        }
    }
    ensure!(missing.is_empty(), "{}", missing.join("\n"));
    Ok(())
}

/// What a newcomer copies must work.
#[test]
fn the_file_in_the_readme_is_without_mistakes() -> Result<()> {
    let readme = std::fs::read_to_string(repository().join("README.md"))?;
    let file =
        readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).context("the README has a file")?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("riverrun.toml"), file)?;
    let output = Command::new(binary()).args(["check", "riverrun.toml"]).current_dir(folder.path()).output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "riverrun check says:\n{said}");
    Ok(())
}

/// All files below `folder` with one of these extensions, what tools make left out.
fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if !["node_modules", "dist", "target"].contains(&name) {
                    folders.push(path);
                }
            } else if path.extension().and_then(|it| it.to_str()).is_some_and(|it| extensions.contains(&it)) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

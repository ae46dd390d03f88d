//! Lets the console be built before its pages are: without `ui/dist` a page that says so is embedded.

use std::{fs, io, path::Path};

const PLACEHOLDER: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>riverrun</title>\
<h1>The pages of this console were not built</h1>\
<p>This binary was made without them. The HTTP API works all the same: see <code>/api/v1/health</code>.</p>\
<p>To build the pages: <code>npm ci && npm run build</code> in <code>crates/console/ui</code>, then <code>cargo build --release</code> again; \
<code>make demo</code> does both.</p>";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=ui/dist");
    let dist = Path::new("ui/dist");
    if !dist.join("index.html").exists() {
        println!("cargo::warning=crates/console/ui/dist is not built: a page that says so stands in its place");
        fs::create_dir_all(dist)?;
        fs::write(dist.join("index.html"), PLACEHOLDER)?;
    }
    Ok(())
}

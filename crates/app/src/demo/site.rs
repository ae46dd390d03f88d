//! The demo's files, written out so that whoever looks finds a whole, ordinary set-up: `riverrun.toml` and `shop/`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rust_embed::RustEmbed;

/// The shop as it was when this binary was built.
#[derive(RustEmbed)]
#[folder = "shop"]
pub(crate) struct Shop;

const FILE: &str = include_str!("../../demo.toml");

/// Where the demo listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doors {
    pub(crate) site: SocketAddr,
    pub(crate) console: SocketAddr,
    pub(crate) kinesis: SocketAddr,
}

/// Writes the file and the shop into `folder`; gives the path of the file. A file that somebody changed is kept.
pub(crate) fn write(folder: &Path, doors: &Doors) -> anyhow::Result<PathBuf> {
    for name in Shop::iter() {
        let Some(file) = Shop::get(&name) else { continue };
        put(&folder.join("shop").join(name.as_ref()), &file.data)?;
    }
    let path = folder.join("riverrun.toml");
    let text = text(doors);
    let fresh = folder.join(".riverrun.toml.fresh");
    let before = std::fs::read_to_string(&fresh).ok();
    let now = std::fs::read_to_string(&path).ok();
    // What lies there is ours as long as it is what we wrote last.
    if now.is_none() || now == before || now.as_deref() == Some(&text) {
        put(&path, text.as_bytes())?;
        put(&fresh, text.as_bytes())?;
    } else {
        tracing::info!(file = %path.display(), "the demo's file was changed and is used as it is");
    }
    Ok(path)
}

/// The demo's file with its addresses.
fn text(doors: &Doors) -> String {
    // Each under a name of its own first: one address may be another's default.
    let named = FILE.replace("127.0.0.1:8080", "<site>").replace("127.0.0.1:7070", "<console>");
    let named = named.replace("127.0.0.1:4567", "<kinesis>");
    let named = named.replace("<site>", &doors.site.to_string()).replace("<console>", &doors.console.to_string());
    named.replace("<kinesis>", &doors.kinesis.to_string())
}

fn put(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, bytes)
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().expect("an address")
    }

    fn doors(console: &str) -> Doors {
        Doors { site: at("127.0.0.1:0"), console: at(console), kinesis: at("127.0.0.1:8080") }
    }

    #[test]
    fn the_demos_file_has_no_mistakes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = write(folder.path(), &doors("127.0.0.1:7171")).expect("it is written");
        let settings = crate::file::load(&path).expect("no mistakes");
        assert_eq!(settings.console.listen, at("127.0.0.1:7171"));
        assert_eq!(settings.kinesis.map(|kinesis| kinesis.door.listen), Some(at("127.0.0.1:8080")));
        assert!(folder.path().join("shop/index.html").exists());
    }

    #[test]
    fn a_changed_file_is_kept_and_an_unchanged_one_gets_new_addresses() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = write(folder.path(), &doors("127.0.0.1:7171")).expect("it is written");
        write(folder.path(), &doors("127.0.0.1:7272")).expect("it is written");
        let text = std::fs::read_to_string(&path).expect("it is there");
        assert!(text.contains("127.0.0.1:7272"));
        std::fs::write(&path, text + "\n# mine\n").expect("it is written");
        write(folder.path(), &doors("127.0.0.1:7171")).expect("it is left");
        assert!(std::fs::read_to_string(&path).expect("it is there").ends_with("# mine\n"));
    }
}

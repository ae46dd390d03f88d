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

/// Writes the file and the shop into `folder`; gives the path of the file. A file that somebody changed is kept.
pub(crate) fn write(folder: &Path, site: SocketAddr, console: SocketAddr) -> anyhow::Result<PathBuf> {
    for name in Shop::iter() {
        let Some(file) = Shop::get(&name) else { continue };
        put(&folder.join("shop").join(name.as_ref()), &file.data)?;
    }
    let path = folder.join("riverrun.toml");
    let text = text(site, console);
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
fn text(site: SocketAddr, console: SocketAddr) -> String {
    FILE.replace("127.0.0.1:8080", &site.to_string()).replace("127.0.0.1:7070", &console.to_string())
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

    fn addresses() -> (SocketAddr, SocketAddr) {
        ("127.0.0.1:0".parse().expect("an address"), "127.0.0.1:7171".parse().expect("an address"))
    }

    #[test]
    fn the_demos_file_has_no_mistakes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (site, console) = addresses();
        let path = write(folder.path(), site, console).expect("it is written");
        let settings = crate::file::load(&path).expect("no mistakes");
        assert_eq!(settings.console.listen, console);
        assert!(folder.path().join("shop/index.html").exists());
    }

    #[test]
    fn a_changed_file_is_kept_and_an_unchanged_one_gets_new_addresses() {
        let folder = tempfile::tempdir().expect("a folder");
        let (site, console) = addresses();
        let path = write(folder.path(), site, console).expect("it is written");
        write(folder.path(), site, "127.0.0.1:7272".parse().expect("an address")).expect("it is written");
        let text = std::fs::read_to_string(&path).expect("it is there");
        assert!(text.contains("127.0.0.1:7272"));
        std::fs::write(&path, text + "\n# mine\n").expect("it is written");
        write(folder.path(), site, console).expect("it is left");
        assert!(std::fs::read_to_string(&path).expect("it is there").ends_with("# mine\n"));
    }
}

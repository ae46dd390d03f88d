//! `riverrun demo`: a shop, its shoppers, the whole pipeline and the console, from nothing.

mod people;
mod products;
mod sessions;
mod shopping;
mod site;

use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::cli::Demo;
use crate::run::{Ready, Running};
use crate::{Outcome, file, run, say};

pub(crate) use shopping::Shopping;

pub(crate) async fn demo(asked: Demo) -> anyhow::Result<Outcome> {
    let folder = Folder::make(asked.data)?;
    let path =
        site::write(&folder.path, &site::Doors { site: asked.site, console: asked.console, kinesis: asked.kinesis })?;
    let running = Running::start(file::load(&path)?, &asked.plant).await?;
    let ready = running.ready();
    announce(&ready, &folder, asked.no_shoppers, asked.rate)?;
    let shoppers = match ready.edge.get("shop") {
        Some(site) if !asked.no_shoppers => Some(shopping::start(*site, asked.rate)?),
        _ => None,
    };
    run::until_signal(running, &path, shoppers).await
}

/// Where the demo keeps its data.
struct Folder {
    path: PathBuf,
    /// Removes the folder at the end, unless it was named.
    temporary: Option<tempfile::TempDir>,
}

impl Folder {
    fn make(named: Option<PathBuf>) -> anyhow::Result<Self> {
        if let Some(path) = named {
            std::fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
            return Ok(Self { path, temporary: None });
        }
        let made = tempfile::Builder::new().prefix("riverrun-demo-").tempdir();
        let temporary = made.context("no temporary folder could be made; name one with --data")?;
        Ok(Self { path: temporary.path().to_owned(), temporary: Some(temporary) })
    }
}

/// Says where everything is: to a person in words, to a program as one JSON line.
fn announce(ready: &Ready, folder: &Folder, no_shoppers: bool, rate: f64) -> anyhow::Result<()> {
    if !std::io::stdout().is_terminal() {
        return ready.say();
    }
    let shop = ready
        .edge
        .get("shop")
        .map_or_else(|| "no shop: the file has no [edge.shop]".to_owned(), |site| format!("http://{site}"));
    let console = ready.console;
    let kinesis =
        ready.kinesis.map_or_else(|| "closed: the file has no [kinesis]".to_owned(), |at| format!("http://{at}"));
    let shoppers = if no_shoppers {
        "nobody but you clicks (--no-shoppers)".to_owned()
    } else {
        format!("simulated shoppers, about {rate} clicks a second, marked as simulated")
    };
    let kept = if folder.temporary.is_some() {
        "temporary: gone at the end; --data DIR keeps it"
    } else {
        "kept for the next start"
    };
    say::out(&format!(
        "
  riverrun demo

  Shop        {shop}
  Console     http://{console}
  Kinesis     {kinesis}
  Shoppers    {shoppers}
  Data        {} ({kept})
  File        {}

  Try this
    1. Open the console's shop dashboard:  http://{console}/#/dashboard/shop
    2. Click Buy in the shop beside it and watch the number rise.
    3. Ask:    riverrun sql \"select action, count(*) from clicks group by action\" --server http://{console}
    4. Watch:  riverrun tail clicks --server http://{console}
    5. Send:   aws kinesis list-streams --endpoint-url {kinesis}

  Ctrl-C ends it cleanly.
",
        folder.path.display(),
        folder.path.join("riverrun.toml").display(),
    ))?;
    Ok(())
}

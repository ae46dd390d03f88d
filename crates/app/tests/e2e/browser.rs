//! A person's way: shop and console in a real browser, a click on *Buy*, and the number on the dashboard.

use anyhow::{Context, Result, ensure};

use crate::server::Starting;
use crate::{outside, turn};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_click_on_buy_is_drawn_on_the_dashboard_within_a_second() -> Result<()> {
    let _turn = turn::alone().await;
    let folder = tempfile::tempdir()?;
    let listen = ["--console", "127.0.0.1:0", "--site", "127.0.0.1:0"];
    let mut args = vec!["demo", "--no-shoppers", "--data", "data", "--kinesis", "127.0.0.1:0"];
    args.extend(listen);
    let server = Starting::run(folder.path(), &args)?.ready()?;
    let pictures = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    std::fs::create_dir_all(&pictures)?;
    let shop = format!("http://{}", server.edge("shop")?);
    let said = outside::node("click.mjs", &[&shop, &server.url(), &pictures.to_string_lossy()])?;
    ensure!(said["errors"] == serde_json::json!([]), "errors in the pages: {}", said["errors"]);
    let clicks = said["clicks"].as_array().context("the script tells of every click")?;
    ensure!(clicks.len() >= 5, "{said}");
    let mut drawn_after_ms = Vec::new();
    for click in clicks {
        drawn_after_ms.push(click["drawn_after_ms"].as_f64().context("a number")?);
    }
    drawn_after_ms.sort_by(f64::total_cmp);
    // A neighbour on the machine may hold one click up; it cannot hold up the middle one of five.
    let middle = drawn_after_ms[drawn_after_ms.len() / 2];
    ensure!(middle < 1_000.0, "the middle click was drawn only after {middle} ms: {said}");
    server.stop()
}

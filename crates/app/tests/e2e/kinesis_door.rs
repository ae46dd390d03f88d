//! A server with the Kinesis door, and the client programs of `tests/peers` that walk through it. The clients are told where the door
//! is through the environment alone, as they would be anywhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::outside::repository;
use crate::server::{self, Server};

/// The one access key of the tests' servers.
const KEY: (&str, &str) = ("AKIDRIVERRUNTESTS", "riverrun/tests+secret");

/// What a delivery to the HTTP endpoint carries to be let in.
pub(crate) const DELIVERY_KEY: &str = "a-key-for-deliveries";

/// A server whose Kinesis door wants [`KEY`].
pub(crate) struct Door {
    pub(crate) server: Server,
    url: String,
}

impl Door {
    /// Serves `rooms` and the door; `tls` names the folder of its certificate.
    pub(crate) fn open(folder: &Path, rooms: &str, tls: Option<&Path>) -> Result<Self> {
        let (id, secret) = KEY;
        let tls_part = tls.map_or_else(String::new, |tls| {
            let file = |name: &str| tls.join(name).display().to_string();
            format!("[kinesis.tls]\ncertificate = \"{}\"\nkey = \"{}\"\n", file("cert.pem"), file("key.pem"))
        });
        let door = format!(
            "[kinesis]\nlisten = \"127.0.0.1:0\"\ndelivery_key = \"{DELIVERY_KEY}\"\n[kinesis.keys]\n{id} = \"{secret}\"\n{tls_part}\n{rooms}"
        );
        server::write_file(folder, &door)?;
        let server = Server::serve(folder, "riverrun.toml", &[])?;
        let address = server.kinesis()?;
        let url =
            if tls.is_some() { format!("https://localhost:{}", address.port()) } else { format!("http://{address}") };
        Ok(Self { server, url })
    }

    /// The door's address as clients want it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Runs a Python client of `tests/peers/kinesis`.
    pub(crate) fn python(&self, script: &str, args: &[&str]) -> Result<Value> {
        self.run(python()?.arg(repository().join("tests/peers/kinesis").join(script)).args(args))
    }

    /// Runs a client on the JavaScript SDK.
    pub(crate) fn javascript(&self, script: &str, args: &[&str]) -> Result<Value> {
        let folder = repository().join("tests/peers/kinesis-js");
        installed(&folder.join("node_modules/@aws-sdk/client-kinesis"))?;
        self.run(Command::new("node").arg(folder.join(script)).args(args))
    }

    /// Runs the client on the Rust SDK.
    pub(crate) fn rust(&self, args: &[&str]) -> Result<Value> {
        let program = rust_client();
        installed(&program)?;
        self.run(Command::new(program).args(args))
    }

    fn run(&self, command: &mut Command) -> Result<Value> {
        let output = command
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", KEY.0)
            .env("AWS_SECRET_ACCESS_KEY", KEY.1)
            // What a person has configured on this machine must not matter.
            .env_remove("AWS_PROFILE")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .output()
            .with_context(|| format!("running {command:?}"))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        let program = command.get_args().last().unwrap_or_default().to_string_lossy().into_owned();
        ensure!(
            output.status.success(),
            "{:?} {program} ended with {}:\n{errors}",
            command.get_program(),
            output.status
        );
        let said = String::from_utf8_lossy(&output.stdout);
        let last = said.lines().next_back().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("{program} printed no JSON:\n{said}\n{errors}"))
    }
}

/// The tests' Python.
fn python() -> Result<Command> {
    let python = repository().join(".cache/venv/bin/python");
    installed(&python)?;
    let mut command = Command::new(python);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// Writes a certificate authority and a certificate for localhost into `folder`.
pub(crate) fn make_certificate(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let script = repository().join("tests/peers/kinesis/tls.py");
    let output = python()?.arg(script).arg("make").arg(folder).output()?;
    ensure!(output.status.success(), "no certificate was made:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Built by `scripts/install-test-tools.sh` beside the product, where compiled things are kept.
fn rust_client() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers").join("debug/kinesis-rust")
}

fn installed(file: &Path) -> Result<()> {
    ensure!(file.exists(), "{} is missing: run scripts/install-test-tools.sh", file.display());
    Ok(())
}

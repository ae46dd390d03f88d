#!/usr/bin/env bash
# Installs what `make test` needs beyond Rust, Node.js and npm: Chromium (Debian), a Python environment with an
# independent Delta Lake reader, DuckDB and the AWS clients, playwright-core and the AWS SDK for JavaScript from npm, and
# the client on the AWS SDK for Rust, compiled. Each only if it is not there yet.
set -euo pipefail
cd "$(dirname "$0")/.."
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

packages=()
[ -x /usr/bin/chromium ] || packages+=(chromium)
command -v python3 > /dev/null || packages+=(python3)
python3 -c 'import venv, ensurepip' 2> /dev/null || packages+=(python3-venv)
if [ ${#packages[@]} -gt 0 ]; then
    echo "== installing ${packages[*]} with apt (once)"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" > /dev/null
fi

# npm and pip wait for the network, the compiler does not: side by side.
scripts/install-python.sh tests/peers/requirements.txt &
python=$!
(scripts/install-npm.sh tests/browser && scripts/install-npm.sh tests/peers/kinesis-js) &
npm=$!
peers=${CARGO_TARGET_DIR:-$PWD/target}/peers
[ -x "$peers/debug/kinesis-rust" ] || echo "== compiling the client on the AWS SDK for Rust (once, a minute or two)"
cargo build --quiet --locked --manifest-path tests/peers/kinesis-rust/Cargo.toml --target-dir "$peers"
wait "$python"
wait "$npm"

#!/usr/bin/env bash
# Installs what `make bench` measures against and with: nginx, wrk and Redis (Debian), NATS (Debian 13), Chromium, DuckDB, chDB and Polars (PyPI),
# kinesalite (npm), and compiles the load program.
set -euo pipefail
cd "$(dirname "$0")/.."
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
packages=()
command -v wrk > /dev/null || packages+=(wrk)
[ -x /usr/sbin/nginx ] || packages+=(nginx-light)
command -v redis-server > /dev/null || packages+=(redis-server)
if [ ${#packages[@]} -gt 0 ]; then
    echo "== installing ${packages[*]} with apt (once)"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" > /dev/null
fi
scripts/install-nats.sh
scripts/install-test-tools.sh
scripts/install-python.sh bench/requirements.txt
scripts/install-npm.sh bench/kinesalite
cargo build --quiet --release --locked --manifest-path bench/load/Cargo.toml --target-dir "${CARGO_TARGET_DIR:-$PWD/target}/load"

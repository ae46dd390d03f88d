#!/usr/bin/env bash
# `make check`: everything that can be wrong without running the product.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$PWD/.cache/tools
cargo_tool() { # NAME VERSION
    local name=$1 version=$2
    if [ ! -x "$tools/bin/$name" ] || [ ! -f "$tools/.$name-$version" ]; then
        echo "== building $name $version (once, a few minutes)"
        CARGO_TARGET_DIR=$tools/build cargo install --quiet --locked --root "$tools" "$name" --version "$version"
        rm -rf "$tools/build"
        touch "$tools/.$name-$version"
    fi
}

echo '== formatting'
cargo fmt --all --check

echo '== clippy, warnings denied'
cargo clippy --release --locked --workspace --all-targets -- -D warnings

echo '== licences, sources, duplicate versions (cargo deny)'
cargo_tool cargo-deny "$(sed -n 's/^# cargo-deny: //p' deny.toml)"
"$tools/bin/cargo-deny" --log-level warn check bans licenses sources
if ! "$tools/bin/cargo-deny" --log-level warn check advisories; then
    if "$tools/bin/cargo-deny" fetch db > /dev/null 2>&1; then
        echo 'advisories: see above'; exit 1
    fi
    echo '!! NOT CHECKED: known vulnerabilities. The RustSec advisory database could not be reached from here.'
    echo '!! Run `make check` on a machine that reaches github.com before a release.'
fi

echo '== unused dependencies (cargo machete)'
cargo_tool cargo-machete "$(sed -n 's/^# cargo-machete: //p' deny.toml)"
"$tools/bin/cargo-machete" --skip-target-dir

echo '== spelling (typos)'
scripts/install-python.sh tests/peers/requirements.txt
.cache/venv/bin/typos

echo '== the direction of the rooms'
scripts/install-test-tools.sh
cargo test --release --locked -p riverrun --test e2e -- --quiet repository::

echo 'All checks passed.'

#!/usr/bin/env bash
# Says what the next build will cost before cargo starts, so that nobody wonders whether it hangs.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
if compgen -G "$target/release/deps/libdatafusion-*.rlib" > /dev/null; then
    echo "== building riverrun: the engine is already compiled in $target, so this takes a few minutes at most"
else
    crates=$(grep -c '^name = ' Cargo.lock)
    echo "== building riverrun for the first time: $crates crates, DataFusion and Delta Lake among them."
    echo "   About 30 minutes on two cores; this happens once, for the demo, the tests and the benchmarks together."
fi

#!/usr/bin/env bash
# `make fuzz`: throws bytes at everything that reads what anybody may send, led by what they reach (libFuzzer).
# FUZZ_SECONDS for each target (60), FUZZ_TARGETS (all), FUZZ_SEED (0: another one every time).
# What a target has found worth keeping goes on growing in the build folder; what fails is left there, and told.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
seconds=${FUZZ_SECONDS:-60}
host=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../target}/fuzz
work=$CARGO_TARGET_DIR/found
read -r -a targets <<< "${FUZZ_TARGETS:-$(sed -n 's/^name = "\(.*\)"$/\1/p' Cargo.toml | grep -v '^riverrun-fuzz$' | xargs)}"

# What cargo-fuzz does, without its sanitizers: there is no unsafe code here, and so any compiler of the day will do.
# Only what is built for the target is instrumented, not build scripts: hence --target.
flags=(-Cpasses=sancov-module --cfg=fuzzing -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares)
echo "== building ${#targets[@]} fuzz targets (the first time some minutes)"
RUSTFLAGS="${flags[*]}" cargo build --quiet --release --locked --target "$host" "${targets[@]/#/--bin=}"

failed=()
for target in "${targets[@]}"; do
    mkdir -p "$work/$target/corpus" "$work/$target/failures"
    echo "== $target, $seconds s"
    log=$work/$target/log
    if ! "$CARGO_TARGET_DIR/$host/release/$target" "$work/$target/corpus" "seeds/$target" \
        -artifact_prefix="$work/$target/failures/" -max_total_time="$seconds" -seed="${FUZZ_SEED:-0}" \
        -max_len=65536 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 > "$log" 2>&1; then
        failed+=("$target")
        tail -n 40 "$log"
    fi
    # Coverage, size of what was kept, executions, speed, the most memory.
    grep -E '^#[0-9]+.*DONE' "$log" | tail -n 1 || true
    grep -E 'stat::(number_of_executed_units|average_exec_per_sec|peak_rss_mb)' "$log" || true
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "Failed: ${failed[*]}. The bytes lie in $work/TARGET/failures: give them to the target's binary to see it again."
    exit 1
fi
echo 'Nothing was brought down.'

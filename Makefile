# Everything a person types: `make demo` to see it, `make test` to trust it, `make check` before a commit,
# `make bench` for the figures, `make soak` for the long runs, `make fuzz` for bytes that nobody thought of,
# `make ui` for the pages alone.
#
# One profile (release) and one feature set for all of them: the engine is compiled once. See docs/testing.md.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

export CARGO_TARGET_DIR ?= $(CURDIR)/target
# A failed check is told by its message; a panic still shows where it came from.
export RUST_LIB_BACKTRACE ?= 0
VENV   := .cache/venv
RIVERRUN := $(CARGO_TARGET_DIR)/release/riverrun
DEMO_ARGS ?=

.PHONY: help demo build ui tools ui-test rust-test test fmt check bench soak fuzz

help:
	@echo 'make demo    build everything and run the demo shop (8080) with its console (7070)'
	@echo 'make test    install what the tests need and run all of them'
	@echo 'make check   formatting, lints, licences, unused dependencies, spelling, the direction of the rooms'
	@echo 'make bench   measure, and write the tables of docs/performance.md'
	@echo 'make soak    the long variants of the simulations and kill tests (SOAK_SEEDS=1000000 SOAK_KILLS=500 …)'
	@echo 'make fuzz    throw bytes at everything that reads what anybody may send (FUZZ_SECONDS=60 FUZZ_TARGETS="segment …")'
	@echo 'make ui      build the pages of the console alone'

demo: build
	@echo '== starting the demo; Ctrl-C ends it cleanly, its data stays in ./riverrun-demo'
	@exec $(RIVERRUN) demo --data ./riverrun-demo $(DEMO_ARGS)

build: ui
	@scripts/announce-build.sh
	cargo build --release --locked -p riverrun

ui:
	@scripts/build-ui.sh

tools:
	@scripts/install-test-tools.sh

ui-test: ui
	@scripts/test-ui.sh

rust-test: ui tools
	@scripts/announce-build.sh
	cargo test --release --locked --workspace --lib --bins --tests --no-fail-fast

test: ui-test rust-test
	@echo 'All tests passed.'

fmt:
	cargo fmt --all --check

check: ui
	@scripts/check.sh

bench: build
	@scripts/install-bench-tools.sh
	@$(VENV)/bin/python bench/run.py

# Other seeds than those of every run: from SIM_FIRST_SEED and RIVERRUN_SEED on.
soak: ui tools
	SIM_FIRST_SEED=$${SIM_FIRST_SEED:-100000} SIM_SEEDS=$${SOAK_SEEDS:-1000000} SIM_TWICE=$${SOAK_TWICE:-10000} \
	SIM_CLOCK_SEEDS=$${SOAK_CLOCK_SEEDS:-20000} SIM_TEARS=$${SOAK_TEARS:-500} SIM_PAIRS=$${SOAK_PAIRS:-20} \
	SIM_STORIES=$${SOAK_STORIES:-10000} \
		cargo test --release --locked -p sim -- --nocapture
	RIVERRUN_KILLS=$${SOAK_KILLS:-500} RIVERRUN_TERMINATIONS=$${SOAK_TERMINATIONS:-50} \
	RIVERRUN_OVERLOAD_SECONDS=$${SOAK_OVERLOAD_SECONDS:-600} \
		cargo test --release --locked -p riverrun --test e2e -- kill:: faults:: flood:: --nocapture
	FUZZ_SECONDS=$${SOAK_FUZZ_SECONDS:-3600} scripts/fuzz.sh

fuzz:
	@scripts/fuzz.sh

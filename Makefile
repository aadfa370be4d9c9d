# make demo   a whole cluster on this machine         make test   everything that a change must pass
# make help   all of it

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The demo: where it keeps everything, its first port, its shape.
DIR ?= demo
PORT ?= 7100
NODES ?= 3
DISKS ?= 2
CODE ?= 4+5

# How long `make soak` breaks things.
MINUTES ?= 60

# The lock file is part of a change: no command alters it on the way.
CARGO := . deploy/env.sh && cargo
LOCKED := --locked

.PHONY: help setup build demo demo-stop check test fmt fmt-check clippy pure doc nextest doctest soak bench deny

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 14

setup: ## Installs what is missing, says what and why
	@deploy/setup.sh

build: ## The programs, as the demo and the tests use them
	@deploy/setup.sh build
	$(CARGO) build $(LOCKED) --workspace --bins

demo: build ## A cluster of nine nodes in DIR=demo, first port PORT=7100; goes on in the background
	@. deploy/env.sh && kluis demo --dir "$(DIR)" --base-port $(PORT) --nodes-per-site $(NODES) --disks-per-node $(DISKS) --code $(CODE) --detach
	@echo 'kluis      . deploy/env.sh puts it on the PATH'

demo-stop: ## Ends exactly the processes of the demo in DIR; its data stays
	@. deploy/env.sh && kluis demo stop --dir "$(DIR)"

# --- The gate, fastest first. ---

test: setup fmt-check clippy pure doc nextest doctest ## Everything that a change must pass

check: fmt-check clippy pure ## The fast part of it

fmt: ## Formats the code
	$(CARGO) fmt --all

fmt-check:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy $(LOCKED) --workspace --all-targets -- -D warnings

# Each package alone: in a workspace build features unify, and impure code would not be seen.
pure:
	$(CARGO) clippy $(LOCKED) -p kluis-chunkstore --lib -- -D warnings
	$(CARGO) clippy $(LOCKED) -p kluis-raft --lib -- -D warnings

doc: ## The documentation of the code, with every link checked
	. deploy/env.sh && RUSTDOCFLAGS='-D warnings' cargo doc $(LOCKED) --workspace --no-deps --document-private-items

# Tests against real processes start the program that `build` made.
nextest: build
	$(CARGO) nextest run $(LOCKED) --workspace

doctest:
	$(CARGO) test $(LOCKED) --workspace --doc

# --- Not part of the gate. ---

# The gate has three minutes of it. KLUIS_TEST_SEED=n chooses the faults of an earlier run again.
soak: build ## Uploads, reads and deletions under random faults for MINUTES=60
	. deploy/env.sh && KLUIS_SOAK_MINUTES=$(MINUTES) cargo nextest run $(LOCKED) --profile soak -p kluis-tests -E 'binary(soak)'

bench: ## Measured rates against the limits of this machine, into bench/results/
	@deploy/setup.sh build
	$(CARGO) build $(LOCKED) --release -p kluis-node -p kluis-bench --bins
	mkdir -p bench/results
	. deploy/env.sh && "$$CARGO_TARGET_DIR/release/kluis-bench" --binary "$$CARGO_TARGET_DIR/release/kluis" \
	    --out "bench/results/$$(date -u +%Y-%m-%d)-$$(git rev-parse --short HEAD).json" $(BENCH_ARGS)

# Its advisory database cannot be fetched everywhere, so licences, bans and sources are checked, offline.
deny: ## Licences and bans of dependencies, if cargo-deny is installed
	@. deploy/env.sh && cargo deny --version >/dev/null 2>&1 || { echo 'cargo-deny is not installed: cargo install --locked cargo-deny'; exit 1; }
	$(CARGO) deny --offline check bans licenses sources

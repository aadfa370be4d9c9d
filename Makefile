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

# How long `make soak` breaks things, and `make fuzz` feeds parsers; one target (tests/tests/fuzz.rs lists them) or all.
MINUTES ?= 10
TARGET ?=

# The lock file is part of a change: no command alters it on the way.
CARGO := . deploy/env.sh && cargo
LOCKED := --locked

.PHONY: help setup build demo demo-stop check test fmt fmt-check clippy pure doc nextest doctest sim planted soak bench fuzz deny

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

# `make test` runs 100 seeds. SEED=n runs one, with LOG=filter to see what its nodes log.
SEEDS ?= 1000
FROM ?= 1
sim: ## The cluster in one process from a seed: SEEDS=n [FROM=n], or SEED=n [LOG=info] to repeat one
	$(CARGO) build $(LOCKED) -p kluis-tests --bin kluis-sim
	. deploy/env.sh && kluis-sim $(if $(SEED),--seed $(SEED) $(if $(LOG),--log $(LOG)),--seeds $(SEEDS) --from $(FROM))

planted: ## Puts known bugs back one by one and shows that the simulation finds them; compiles everything once more
	@tests/planted/run.sh $(PLANTED_SEEDS)

# The gate has three minutes of it. KLUIS_TEST_SEED=n chooses the faults of an earlier run again.
soak: build ## Uploads, reads and deletions under random faults for MINUTES=10
	. deploy/env.sh && KLUIS_SOAK_MINUTES=$(MINUTES) cargo nextest run $(LOCKED) --profile soak -p kluis-tests -E 'binary(soak)'

# BENCH_ARGS: --quick, --only primitives,objects,metadata,repair,flat, --seconds N, --dir DIR
bench: ## Measured rates against the limits of this machine, into bench/results/: JSON, table, curves
	@deploy/setup.sh bench
	$(CARGO) build $(LOCKED) --release -p kluis-node -p kluis-bench --bins
	mkdir -p bench/results
	. deploy/env.sh && "$$CARGO_TARGET_DIR/release/kluis-bench" --binary "$$CARGO_TARGET_DIR/release/kluis" \
	    --out "bench/results/$$(date -u +%Y-%m-%d)-$$(git rev-parse --short HEAD).json" $(BENCH_ARGS)

# With cargo-fuzz and a nightly compiler each target runs under libFuzzer, from the seeds and what earlier sessions
# found; else the engine of `make test` goes on for as long. No sanitizer: the code under test is safe Rust, and
# RocksDB would have to be built with it.
fuzz: ## Feeds every parser with changed inputs for MINUTES=10 in all, or one of them with TARGET=name
	@deploy/setup.sh build
	@. deploy/env.sh; \
	if cargo +nightly fuzz --version >/dev/null 2>&1; then \
	    cargo test $(LOCKED) -p kluis-tests --test fuzz -- --exact seeds_are_written_as_corpora every_target_has_its_test_and_takes_a_seed; \
	    cp Cargo.lock tests/fuzz/Cargo.lock; \
	    own="$$CARGO_TARGET_DIR/tmp/fuzz"; mkdir -p "$$own/findings"; \
	    cat tests/fuzz/dictionaries/*.dict > "$$own/words.dict"; \
	    targets="$(TARGET)"; [ -n "$$targets" ] || targets="$$(ls "$$own/corpus")"; \
	    seconds=$$(( $(MINUTES) * 60 / $$(wc -w <<<"$$targets") )); [ "$$seconds" -gt 0 ] || seconds=1; \
	    for target in $$targets; do \
	        [ -d "$$own/corpus/$$target" ] || { echo "fuzz: $$target is no target: tests/tests/fuzz.rs lists them"; exit 2; }; \
	        echo "fuzz: $$target for $$seconds s"; \
	        KLUIS_FUZZ_TARGET="$$target" cargo +nightly fuzz run --fuzz-dir tests/fuzz --sanitizer none any "$$own/corpus/$$target" -- \
	            -max_total_time="$$seconds" -max_len=65536 -rss_limit_mb=1024 -dict="$$own/words.dict" -artifact_prefix="$$own/findings/$$target-"; \
	    done; \
	else \
	    echo 'fuzz: there is no cargo-fuzz with a nightly compiler here (cargo install --locked cargo-fuzz, rustup toolchain install nightly)'; \
	    echo 'fuzz: so the engine of make test goes on instead; it is not guided by coverage'; \
	    KLUIS_FUZZ_MINUTES="$(MINUTES)" KLUIS_FUZZ_TARGET="$(TARGET)" \
	        cargo test $(LOCKED) -p kluis-tests --test fuzz -- --test-threads 1 --show-output $(if $(TARGET),--exact $(TARGET)); \
	fi

# Its advisory database cannot be fetched everywhere, so licences, bans and sources are checked, offline.
deny: ## Licences and bans of dependencies, if cargo-deny is installed
	@. deploy/env.sh && cargo deny --version >/dev/null 2>&1 || { echo 'cargo-deny is not installed: cargo install --locked cargo-deny'; exit 1; }
	$(CARGO) deny --offline check bans licenses sources

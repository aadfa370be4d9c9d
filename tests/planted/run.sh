#!/usr/bin/env bash
# Puts known bugs back, one at a time, and shows that the simulation finds each of them.
#
#   tests/planted/run.sh [SEEDS=8]
#
# bugs.diff adds the bugs, each behind the environment variable PLANT, to a copy of the committed tree, which is built
# and thrown away. Nothing of it is in the product. A bug that no seed finds makes this fail, and so does a seed that
# fails without any bug.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=deploy/env.sh
. deploy/env.sh
seeds=${1:-8}
bugs="sync_dropped ack_early stale_topology reused_id snapshot_position token_cached stale_read log_unsynced vote_unsynced \
collect_running answer_forgotten"
copy=$(mktemp -d)
trap 'git worktree remove --force "$copy/tree"; rm -rf "$copy"' EXIT
git worktree add -q --detach "$copy/tree" HEAD
git -C "$copy/tree" apply "$PWD/tests/planted/bugs.diff"
# A directory of its own: the programs that the tests use must not be these.
export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/planted"
(cd "$copy/tree" && cargo build --locked -p kluis-tests --bin kluis-sim)
status=0
PLANT='' "$CARGO_TARGET_DIR/debug/kluis-sim" --seeds "$seeds" | tail -n 1 || status=1
for bug in $bugs; do
    out=$(PLANT=$bug "$CARGO_TARGET_DIR/debug/kluis-sim" --seeds "$seeds") && { echo "$bug: NOT FOUND in $seeds seeds"; status=1; continue; }
    echo "$bug: found; $(tail -n 1 <<<"$out")"
done
exit $status

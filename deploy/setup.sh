#!/usr/bin/env bash
# Puts on this machine what building, running and testing Kluis needs, and nothing else.
#
#   deploy/setup.sh build   what `make demo` needs
#   deploy/setup.sh         that, and what `make test` needs
#   deploy/setup.sh bench   what `make demo` needs, and what `make bench` compares with
#
# It looks first and changes only what is missing: where everything is there, it needs neither root
# nor a network. Root (or sudo) is used for one thing, `apt-get install` of missing Debian packages.
# Rust itself is not installed: it is yours to choose how.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/env.sh
. deploy/env.sh

what=${1:-test}
case $what in
    build | test | bench) ;;
    *)
        echo "usage: deploy/setup.sh [build|test|bench]" >&2
        exit 2
        ;;
esac

say() { echo "setup: $*"; }
give_up() {
    echo "setup: $*" >&2
    exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

# libclang and the compiler's own headers beside it: bindgen reads RocksDB's and PKCS#11's headers with
# them. The program clang is not needed.
has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null && compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stdbool.h' >/dev/null
}

# --- Debian packages: only what is missing, each with its reason. ---------------------------------
missing=()
need() { # package, reason, test...
    local package=$1 reason=$2
    shift 2
    if ! "$@"; then
        missing+=("$package")
        say "missing: $package ($reason)"
    fi
}
# Programs that are not on everybody's PATH.
has_system() { PATH="$PATH:/usr/sbin:/sbin" has "$1"; }
# The system's Python, for which Debian's package is: the first one on the PATH may be another.
has_aiosmtpd() { [ -x /usr/bin/python3 ] && /usr/bin/python3 -c 'import aiosmtpd' 2>/dev/null; }
has_compiler() { has gcc && has g++ && has make; }

need build-essential "C and C++ compilers, for RocksDB and the crypto library" has_compiler
need pkg-config "build scripts look for libraries with it" has pkg-config
need libclang-dev "reads C headers when RocksDB's bindings are made" has_libclang
need ccache "keeps compiled C++, so that it is compiled once" has ccache
need curl "the upload that the demo prints" has curl
need python3 "the README reads demo.json with it" has python3
if [ "$what" = test ]; then
    need softhsm2 "the HSM of the PKCS#11 tests" has softhsm2-util
    need clamav-daemon "the virus scanner of the scanning tests, which start their own" has_system clamd
    need python3-aiosmtpd "the mail server of the tests of notices, which start their own" has_aiosmtpd
    need openssl "makes certificates by hand where a test needs a wrong one" has openssl
    need bsdutils "script makes the terminal on which the progress bar is tested" has script
    need iproute2 "network namespaces and their cards, for the tests of a network between sites" has_system ip
    need e2fsprogs "small file systems that fill up and lose power under a disk" has_system mkfs.ext4
    need mount "mounts those, and makes loop devices for them" has_system losetup
    need nbdkit "a disk that returns I/O errors, or is slow" has nbdkit
    need libnbd-bin "nbdfuse, which shows that disk as a file" has nbdfuse
    need fuse3 "fusermount3, which ends nbdfuse's mount" has fusermount3
fi
if [ "$what" = bench ]; then
    need etcd-server "metadata commits are measured beside it; the bench starts its own members on free ports" has etcd
fi

if [ ${#missing[@]} -gt 0 ]; then
    has apt-get || give_up "no apt-get here: install what matches ${missing[*]}, then start again"
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        has sudo || give_up "as root: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    say "installing ${missing[*]} with apt-get"
    "${as_root[@]}" apt-get update -qq
    if [[ " ${missing[*]} " == *" clamav-daemon "* ]]; then
        # Tests start their own: a mask (a link to /dev/null) keeps the package from starting the system's.
        for unit in clamav-daemon.service clamav-daemon.socket clamav-freshclam.service; do
            if [ ! -e "/etc/systemd/system/$unit" ]; then
                "${as_root[@]}" mkdir -p /etc/systemd/system
                "${as_root[@]}" ln -s /dev/null "/etc/systemd/system/$unit"
            fi
        done
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# --- Rust. -------------------------------------------------------------------------------------------
rust_min=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
has cargo && has rustc || give_up "no Rust here: install Rust $rust_min or newer (Debian's rustup package, or rustup.rs), then start again"
rust=$(rustc --version | cut -d ' ' -f 2)
if [ "$(printf '%s\n%s\n' "$rust_min" "$rust" | sort -V | head -n 1)" != "$rust_min" ]; then
    give_up "Rust $rust_min or newer is needed, this is $rust"
fi

# --- What only tests need of cargo. ---------------------------------------------------------------
if [ "$what" = test ]; then
    for component in fmt clippy; do
        cargo "$component" --version >/dev/null 2>&1 || give_up "cargo $component is missing: rustup component add rustfmt clippy"
    done
    if ! cargo nextest --version >/dev/null 2>&1; then
        say "installing cargo-nextest (runs each test in a process of its own) with cargo install"
        cargo install --locked cargo-nextest
    fi
fi

say "everything is there (Rust $rust); building in $CARGO_TARGET_DIR"

# The build's environment. Source it (`. deploy/env.sh`); the Makefile does, before every cargo command.
#
# Why it exists: the C++ of RocksDB takes about 25 minutes of processor time. So compiled
# dependencies are kept outside the clone, where the next clone finds them, and C and C++ go through
# ccache, where even an emptied target directory finds them.
#
#   KLUIS_TARGET_DIR   where cargo builds; default: the user's cache directory. Own code has another
#                      fingerprint in each clone, dependencies have the same: they are shared. Two
#                      clones that build or test at the same time need a directory each, because the
#                      finished programs (debug/kluis) have one name.
#   CARGO_TARGET_DIR   if it is set already, it wins.

if [ -d "${CARGO_HOME:-$HOME/.cargo}/bin" ]; then
    case ":$PATH:" in
        *":${CARGO_HOME:-$HOME/.cargo}/bin:"*) ;;
        *) PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH" ;;
    esac
fi

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${KLUIS_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/kluis/target}}"

# The programs that were built, so that `kluis` can be typed.
case ":$PATH:" in
    *":$CARGO_TARGET_DIR/debug:"*) ;;
    *) PATH="$CARGO_TARGET_DIR/debug:$PATH" ;;
esac
export PATH

if command -v ccache >/dev/null 2>&1; then
    # One compiler always: cargo builds C and C++ anew when these change.
    export CC="${CC:-ccache gcc}" CXX="${CXX:-ccache g++}"
    # Paths below the home directory and the directory of the compilation are not part of the key, so
    # that another clone or target directory has the same one.
    export CCACHE_BASEDIR="${CCACHE_BASEDIR:-$HOME}" CCACHE_NOHASHDIR="${CCACHE_NOHASHDIR:-1}"
fi

#!/usr/bin/env bash
# Runs every test: formatting, lints, documentation, Rust, JavaScript, browsers, and users' crates outside the workspace. It installs what
# is missing, keeps its data in a temporary folder, and listens on free loopback ports only.
#
#   tests/run.sh          everything
#   tests/run.sh quick    the inner loop: no browsers, no packages, no release build
#
# The last line counts all suites together: `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD

mode=${1:-all}
case $mode in
    all | quick) ;;
    *) echo "usage: tests/run.sh [quick]" >&2; exit 2 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TMPDIR=$work
export CARGO_TERM_COLOR=never
export INSTA_UPDATE=no
passed=0
failed=0
broken=()

say() { printf '\n== %s\n' "$*"; }

# suite NAME COMMAND...: runs it, shows what it prints, and counts. What has no count of its own is one test.
suite() {
    local name=$1 log=$work/log status p f
    shift
    say "$name"
    local begun=$SECONDS
    "$@" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    # cargo test's closing lines, and node's.
    p=$(sed -nE 's/^test result: .* ([0-9]+) passed; .*/\1/p; s/^# pass ([0-9]+)$/\1/p; s/^ℹ pass ([0-9]+)$/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
    f=$(sed -nE 's/^test result: .* ([0-9]+) failed; .*/\1/p; s/^# fail ([0-9]+)$/\1/p; s/^ℹ fail ([0-9]+)$/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
    if [ "$status" -eq 0 ] && [ "$p" -eq 0 ]; then p=1; fi
    # It failed without a failed test: it did not build, or was ended.
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    passed=$((passed + p))
    failed=$((failed + f))
    [ "$status" -eq 0 ] || broken+=("$name")
    printf -- '-- %s: %s passed, %s failed, %s s\n' "$name" "$p" "$f" "$((SECONDS - begun))"
}

# need PROGRAM PACKAGE: installs a Debian package where that is possible, else says what to install.
need() {
    command -v "$1" >/dev/null && return
    if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
        say "installing $2"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$2" >/dev/null
    fi
    command -v "$1" >/dev/null && return
    echo "tests/run.sh needs $1: install the package $2" >&2
    return 1
}

# licences: what the crates that are built in may be, by .cargo/deny.toml. The tool is built once, unoptimised: it runs for 3 seconds.
cargo_deny=0.19.9
licences() {
    local tools=$root/target/tools
    if [ "$("$tools/bin/cargo-deny" --version 2>/dev/null)" != "cargo-deny $cargo_deny" ]; then
        cargo install --locked --debug --quiet --force --root "$tools" --version "$cargo_deny" cargo-deny || return
    fi
    "$tools/bin/cargo-deny" --workspace --locked check licenses bans sources
}

need cargo cargo || exit 2
need node nodejs || exit 2
need npm npm || exit 2
need strace strace || exit 2

say "npm packages of the tests"
(cd tests && { [ -d node_modules ] && [ node_modules -nt package-lock.json ] || npm ci --no-audit --no-fund; }) || exit 2

suite "formatting" cargo fmt --all --check
suite "clippy" cargo clippy --workspace --all-targets --features sync-core/jwt --locked -- -D warnings
suite "rust" cargo test --workspace --features sync-core/jwt --locked --no-fail-fast
suite "javascript" npm --prefix tests run --silent test:unit
suite "javascript types" npm --prefix tests run --silent check

if [ "$mode" = all ]; then
    suite "without the server" cargo clippy -p sync-core --no-default-features --locked -- -D warnings
    suite "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --features sync-core/jwt --locked
    suite "licences" licences
    suite "packages" cargo package -p sync-derive -p sync-core --locked --allow-dirty

    suite "simulator" cargo test --release -p sync-simulator --locked

    # Users' crates, which know nothing of the workspace.
    for crate in tests/outside/*/; do
        suite "outside: $(basename "$crate")" env CARGO_TARGET_DIR="$root/target/outside" cargo test --manifest-path "$crate/Cargo.toml"
    done

    if [ ! -x "${CHROMIUM:-/usr/bin/chromium}" ]; then need chromium chromium || exit 2; fi
    suite "examples" cargo build -p todo -p react-poll -p board -p chat --locked
    suite "react page" bash -c "cd examples/react && npm ci --no-audit --no-fund && npm run build"
    suite "browsers" timeout 1200 env TODO_BIN="$root/target/debug/todo" POLL_BIN="$root/target/debug/react-poll" \
        BOARD_BIN="$root/target/debug/board" CHAT_BIN="$root/target/debug/chat" npm --prefix tests run --silent test:browser

    suite "load" cargo bench -p sync-tests --bench load --locked
    suite "routing" cargo bench -p sync-tests --bench routing --locked
fi

if [ "${#broken[@]}" -gt 0 ]; then
    printf '\nfailed: %s\n' "$(IFS=,; echo "${broken[*]}")"
fi
printf '\n%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]

#!/usr/bin/env bash
# The lanes every change goes through. `./ci.sh` lists them; `./ci.sh LANE…` runs some, in order.
# A lane that cannot run on this machine says why and counts as skipped, never as passed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  cat <<'END'
usage: ./ci.sh LANE…

  smoke        formatting, lints, documentation, house rules    needs rustfmt, clippy
  test         every test: `cargo test --workspace`             needs a C compiler, io_uring
  python       the Python client against its vectors            needs python3
  bench-smoke  every benchmark and load scenario, tiny input    needs io_uring
  fork         the ring's tests with glommio's fork swapped in  needs crates.io
  fuzz         each fuzz target for FUZZ_SECONDS (default 20)   needs nightly, cargo-fuzz

The lanes sim, crash, flips, guests and icount arrive with what they test.
END
}

say() { printf 'lane %s: %s\n' "$lane" "$*"; }

# Ends a lane that this machine cannot run. Its reason is the lane's last line.
skip() {
  say "skipped: $*"
  exit 0
}

# A lane that found nothing to run has not passed.
fail() {
  say "$*"
  exit 1
}

lane_smoke() {
  cargo fmt --all --check
  cargo clippy --workspace --all-targets --locked -- -D warnings
  RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
  cargo test --locked -p trendsrv-tidy
}

lane_test() {
  cargo test --workspace
}

lane_python() {
  command -v python3 >/dev/null || skip "python3 is not installed"
  python3 -m unittest discover --start-directory clients/python --pattern 'test_*.py'
}

# Examples with a benchmark in them read SMOKE=1 and shrink their input.
lane_bench_smoke() {
  local source crate name ran=0
  for source in */examples/*.rs; do
    [ -e "$source" ] || continue
    crate=${source%%/*} name=$(basename "$source" .rs)
    say "example $crate/$name"
    SMOKE=1 timeout 300 cargo run --locked -q -p "trendsrv-$crate" --example "$name"
    ran=$((ran + 1))
  done
  [ "$ran" -gt 0 ] || fail "found no example to run"
}

# The way out of glommio 0.9, kept open: the same server over the fork. The checkout stays as
# it is; the copy is built in a folder of its own (FORK_DIR keeps it between runs).
lane_fork() {
  local copy=${FORK_DIR:-}
  if [ -z "$copy" ]; then
    copy=$(mktemp -d)
    # Expanded now: the function's variable is gone when the trap runs.
    trap "rm -rf '$copy'" EXIT
  fi
  rm -rf "$copy/tree"
  mkdir -p "$copy/tree"
  tar --exclude=./target --exclude=./.git -cf - . | tar -xf - -C "$copy/tree"
  cd "$copy/tree"
  sed -i 's/^glommio = .*/glommio = { package = "glommio-ng", version = "0.12" }/' \
    server/Cargo.toml
  export CARGO_TARGET_DIR="$copy/target"
  cargo tree -p trendsrv-server -i glommio-ng --depth 1
  cargo test -p trendsrv-server --test 'ring_*'
}

lane_fuzz() {
  local manifest folder target ran=0 seconds=${FUZZ_SECONDS:-20}
  command -v rustup >/dev/null || skip "no rustup, so no nightly toolchain"
  rustup toolchain list | grep -q '^nightly' ||
    skip "no nightly toolchain (rustup toolchain install nightly)"
  if ! cargo fuzz --version >/dev/null 2>&1; then
    cargo install cargo-fuzz --locked || skip "cargo-fuzz cannot be installed here"
  fi
  for manifest in tests/fuzz/Cargo.toml */fuzz/Cargo.toml; do
    [ -e "$manifest" ] || continue
    folder=$(dirname "$manifest")
    for target in $(cargo +nightly fuzz list --fuzz-dir "$folder"); do
      say "$folder $target for $seconds s"
      # New inputs go to a scratch corpus: the committed one changes by hand only.
      mkdir -p "target/fuzz-corpus/$target"
      cargo +nightly fuzz run --fuzz-dir "$folder" "$target" "target/fuzz-corpus/$target" \
        "$folder/corpus/$target" -- -max_total_time="$seconds" -rss_limit_mb=2048
      ran=$((ran + 1))
    done
  done
  [ "$ran" -gt 0 ] || fail "found no fuzz target"
}

[ $# -gt 0 ] || {
  usage
  exit 0
}
for lane in "$@"; do
  case $lane in
    smoke | test | python | bench-smoke | fork | fuzz) ;;
    *)
      printf 'no lane is called %s\n\n' "$lane" >&2
      usage >&2
      exit 2
      ;;
  esac
done
for lane in "$@"; do
  say "begins"
  SECONDS=0
  # A lane runs in a shell of its own: it may change folders, and a skip ends only itself.
  # `set -e` is off inside a condition, so the exit code is taken by hand.
  set +e
  (
    set -e
    "lane_${lane//-/_}"
  )
  code=$?
  set -e
  if [ "$code" -ne 0 ]; then
    say "FAILED with exit code $code after $SECONDS s"
    exit "$code"
  fi
  say "ended after $SECONDS s"
done

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
  guests       tenant programs: tests, rebuilt ones compared     needs rustup or the wasm target;
               with the committed, the examples                clang, wasm-ld, node, npm
  bench-smoke  every benchmark and load scenario, tiny input    needs io_uring
  fork         the ring's tests with glommio's fork swapped in  needs crates.io
  fuzz         each fuzz target for FUZZ_SECONDS (default 20)   needs nightly, cargo-fuzz

The lanes sim, crash, flips and icount arrive with what they test.
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

# Programs are committed as they are built: the same bytes again, or the lane fails.
lane_guests() {
  local target=wasm32-unknown-unknown tool program out
  if ! [ -d "$(rustc --print target-libdir --target $target)" ]; then
    command -v rustup >/dev/null || skip "no rustup, so no target $target"
    rustup target add $target || skip "the target $target cannot be installed here"
  fi
  for tool in clang wasm-ld node npm; do
    command -v "$tool" >/dev/null || say "$tool is not installed: its example is not built"
  done
  out=$(mktemp -d)
  # Expanded now: the function's variable is gone when the trap runs.
  trap "rm -rf '$out'" EXIT
  guests/build.sh "$out"
  for program in "$out"/*.wasm guests/wasm/*.wasm; do
    program=$(basename "$program")
    cmp "$out/$program" "guests/wasm/$program" ||
      fail "$program is not what its source gives: run guests/build.sh and commit it"
  done
  cd guests
  cargo fmt --all --check
  cargo clippy --locked --all-targets -- -D warnings
  cargo clippy --locked --release --target $target -p trend-trending -p trend-hashtags \
    -p trend-log-signatures -p my-program -- -D warnings
  cargo test --locked
}

# Each benchmark with its own small arguments, and each load scenario for a second. An example
# that nobody listed here fails the lane: a benchmark that is never run rots.
lane_bench_smoke() {
  local source scenario out
  for source in */examples/*.rs; do
    grep -q "^  bench ${source%%/*} $(basename "$source" .rs)" ci.sh || fail "$source is not listed"
  done
  bench server shard_bench 1000 1
  bench shard window_bench 12
  bench wasm-host host_bench 1000
  bench wasm-host component_bench 100
  bench shard view_bench 1000 1
  bench server echo_ring 4 1

  out=$(mktemp -d)
  # Expanded now: the function's variable is gone when the trap runs.
  trap "rm -rf '$out'" EXIT
  cargo build --locked -p trendsrv-server -p trendsrv-loadgen
  for scenario in smoke smoke-zipf 100k 100k-run16 100k-run64 100k-zipf; do
    load "$out/$scenario" --scenario "$scenario" || fail "scenario $scenario"
  done
  load "$out/native" --scenario 100k-run16 --program native || fail "program native"
  load "$out/observe-pass" --scenario 100k-run16 --program observe-pass ||
    fail "program observe-pass"
  # Exit code 3: every answer was right; the throughput of so small a load proves nothing.
  for scenario in hostile hostile-burn; do
    load "$out/$scenario" --scenario "$scenario" || [ $? -eq 3 ] || fail "scenario $scenario"
  done
}

# A small load into a folder, which must hold its run.json afterwards.
load() {
  local out=$1 code=0
  say "loadgen ${*:2}"
  timeout 180 "${CARGO_TARGET_DIR:-target}/debug/loadgen" run --spawn --tenants 2000 --rate 50000 \
    --seconds 2 --out "$out" "${@:2}" || code=$?
  [ -s "$out/run.json" ] || fail "${*:2} wrote no run.json"
  return "$code"
}

bench() {
  say "example $1/$2"
  timeout 300 cargo run --locked -q -p "trendsrv-$1" --example "$2" -- "${@:3}"
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
  local target ran=0 seconds=${FUZZ_SECONDS:-20}
  command -v rustup >/dev/null || skip "no rustup, so no nightly toolchain"
  rustup toolchain list | grep -q '^nightly' ||
    skip "no nightly toolchain (rustup toolchain install nightly)"
  if ! cargo fuzz --version >/dev/null 2>&1; then
    cargo install cargo-fuzz --locked || skip "cargo-fuzz cannot be installed here"
  fi
  for target in $(cargo +nightly fuzz list --fuzz-dir tests/fuzz); do
    say "$target for $seconds s"
    # New inputs go to a scratch corpus: the committed one changes by hand only.
    mkdir -p "target/fuzz-corpus/$target"
    cargo +nightly fuzz run --fuzz-dir tests/fuzz "$target" "target/fuzz-corpus/$target" \
      "tests/fuzz/corpus/$target" -- -max_total_time="$seconds" -rss_limit_mb=2048
    ran=$((ran + 1))
  done
  [ "$ran" -gt 0 ] || fail "found no fuzz target"
}

[ $# -gt 0 ] || {
  usage
  exit 0
}
for lane in "$@"; do
  case $lane in
    smoke | test | python | guests | bench-smoke | fork | fuzz) ;;
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

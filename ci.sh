#!/usr/bin/env bash
# The lanes every change goes through. `./ci.sh` lists them; `./ci.sh LANE [N]…` runs some, in order.
# A lane that cannot run on this machine says why and counts as skipped, never as passed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  cat <<'END'
usage: ./ci.sh LANE [N]…

  smoke        formatting, lints, documentation, house rules    needs rustfmt, clippy
  test         every test: `cargo test --workspace`             needs a C compiler, io_uring
  python       the Python client against its vectors            needs python3
  guests       tenant programs: tests, rebuilt ones compared     needs rustup or the wasm target;
               with the committed, the examples                clang, wasm-ld, node, npm
  instructions proto's and shard's, against the table in        needs valgrind, and the compiler and
               tests/instructions; --update "reason"            CPU that the table names
               writes it anew
  bench-smoke  every benchmark and load scenario, tiny input    needs io_uring
  peers        the systems that loadgen compares with, each     needs redis-server, Flink and a
               started, fed and checked                         Java development kit, or gets them
  fork         the ring's tests with glommio's fork swapped in  needs crates.io
  fuzz         each fuzz target for FUZZ_SECONDS (default 10)   needs nightly, cargo-fuzz
  sim [N]      N simulated worlds (default 1000), which end
               with `N worlds, V violations`; takes SEED=
  cycles [N]   N crashes and recoveries of simulated logs
               (default 100000); takes SEED=
  crash [N]    kill -9 of the real binary under load, N times   needs io_uring, a disk with O_DIRECT
               (default 20); takes SEED=
  faults [N]   the same on a disk that forgets, fails, is full  needs FUSE and the right to mount
  flips [N]    single bits of a data directory flipped,         needs nothing more; takes SEED=
               N of them (default 10000)
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

# Instructions instead of times: they repeat, on a busy machine too. Exit code 3: not compared.
lane_instructions() {
  local code=0 update=()
  command -v valgrind >/dev/null || skip "valgrind is not installed"
  [ -z "$reason" ] || update=(--update "$reason")
  cargo run --locked --release -q -p trendsrv-instructions -- compare "${update[@]}" || code=$?
  [ "$code" -ne 3 ] || skip "the table is not of this compiler and CPU: see the line above"
  return "$code"
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
  for scenario in smoke smoke-zipf 100k 100k-refresh 100k-run16 100k-run64 100k-zipf 1m; do
    load "$out/$scenario" --scenario "$scenario" || fail "scenario $scenario"
  done
  load "$out/native" --scenario 100k-run16 --program native || fail "program native"
  load "$out/observe-pass" --scenario 100k-run16 --program observe-pass ||
    fail "program observe-pass"
  # Exit code 3: every answer was right; the throughput of so small a load proves nothing.
  for scenario in hostile hostile-burn durability; do
    load "$out/$scenario" --scenario "$scenario" || [ $? -eq 3 ] || fail "scenario $scenario"
  done

  say "loadgen curves"
  timeout 300 "${CARGO_TARGET_DIR:-target}/debug/loadgen" curves --out "$out/curves" \
    --tenants 300 --seconds 1 --warmup-seconds 0 --points tenants=100,1000 \
    --points topics=5,40 --points connections=1,50 --points run-length=1,256 \
    --points shards=1 || fail "curves"
  [ -s "$out/curves/curves.json" ] && [ -s "$out/curves/curves.html" ] ||
    fail "loadgen curves wrote no curves"

  say "loadgen compare"
  timeout 300 "${CARGO_TARGET_DIR:-target}/debug/loadgen" compare --out "$out/compare" \
    --scenario smoke --rounds 1 --seconds 1 --warmup-seconds 1 --rate 20000 \
    --systems trendsrv,naive --require trendsrv,naive --loads saturated,paced,refreshed ||
    fail "compare"
  [ -s "$out/compare/compare.json" ] && [ -s "$out/compare/compare.html" ] ||
    fail "loadgen compare wrote no comparison"
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

# Systems beside ours that the load generator starts, feeds and checks. A missing one is fetched.
lane_peers() {
  if ! command -v redis-server >/dev/null; then
    bring redis-server redis-server
    # Debian starts a server with the package; a test starts its own.
    systemctl disable --now --quiet redis-server 2>/dev/null || say "no service to stop"
  fi
  cargo test --locked -p trendsrv-loadgen --features peers systems::redis
  flink
  cargo test --locked -p trendsrv-loadgen --features peers systems::
}

# Flink's jars, from PyPI into the folder where the load generator looks for them.
flink() {
  local version=2.3.0 home=${LOADGEN_FLINK_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/trendsrv/flink}
  bring javac openjdk-17-jdk-headless
  if [ -f "$home/pyflink/lib/flink-dist-$version.jar" ] || compgen -G "$home/lib/flink-dist-*.jar" >/dev/null
  then
    return
  fi
  bring pip3 python3-pip
  say "fetching Flink $version into $home"
  # Moved when it is whole: a fetch that was cut off leaves nothing to trip over.
  rm -rf "$home.part"
  pip3 install --quiet --no-deps --no-compile --target "$home.part" \
    "apache-flink-libraries==$version" || skip "Flink cannot be fetched from PyPI here"
  mkdir -p "$home"
  rm -rf "$home/pyflink"
  mv "$home.part/pyflink" "$home/pyflink"
  rm -rf "$home.part"
}

# Installs the Debian package that brings a command, where that is allowed.
bring() {
  local command=$1 package=$2
  command -v "$command" >/dev/null && return
  [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null ||
    skip "$command is not installed (apt-get install $package)"
  say "installing $package for $command"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" ||
    skip "$package cannot be installed here"
}

# The way out of glommio 0.9, kept open: the same server over the fork. The checkout stays as
# it is; the copy lies in a folder of its own (FORK_DIR keeps it between runs).
lane_fork() {
  local copy=${FORK_DIR:-}
  if [ -z "$copy" ]; then
    copy=$(mktemp -d)
    # Expanded now: the function's variable is gone when the trap runs.
    trap "rm -rf '$copy'" EXIT
  fi
  rm -rf "$copy/tree"
  mkdir -p "$copy/tree"
  tar --exclude=target --exclude=./.git -cf - . | tar -xf - -C "$copy/tree"
  # All that does not depend on glommio is built already.
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
  cd "$copy/tree"
  sed -i 's/^glommio = .*/glommio = { package = "glommio-ng", version = "0.12" }/' \
    server/Cargo.toml
  cargo tree -p trendsrv-server -i glommio-ng --depth 1
  cargo test -p trendsrv-server --test 'ring_*'
}

lane_fuzz() {
  local target ran=0 seconds=${FUZZ_SECONDS:-10}
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

# The real binary: nothing acknowledged may be lost, nothing counted twice.
lane_crash() {
  cargo build --locked -p trendsrv-server -p trendsrv-loadgen
  "${CARGO_TARGET_DIR:-target}/debug/loadgen" crash --cycles "${1:-20}"
}

# The same on a file system of our own, which loses what was not synced, fails, and fills.
lane_faults() {
  local disk cycles=${1:-10}
  [ -c /dev/fuse ] || skip "there is no /dev/fuse"
  [ "$(id -u)" -eq 0 ] || command -v fusermount3 >/dev/null ||
    skip "mounting needs root, or fusermount3 (package fuse3)"
  cargo build --locked -p trendsrv-server
  cargo build --locked -p trendsrv-loadgen --features fuse
  cargo test --locked -p trendsrv-loadgen --features fuse crash::
  for disk in power-cut failing full; do
    say "disk $disk"
    "${CARGO_TARGET_DIR:-target}/debug/loadgen" crash --disk "$disk" --cycles "$cycles"
  done
}

# Nine tenths of the worlds are the same every time; the rest are those of this commit. SEED=
# names the first one, and then all follow it.
lane_sim() {
  local worlds=${1:-1000} other="" commit out code=0
  if [ -z "${SEED:-}" ] && commit=$(git rev-parse --short=12 HEAD 2>/dev/null); then
    other=$((16#$commit))
  fi
  say "SEED=${SEED:-1}${other:+, and from $other on}"
  out=$(mktemp)
  # Expanded now: the function's variable is gone when the trap runs.
  trap "rm -f '$out'" EXIT
  SEED=${SEED:-1} OTHER_SEED=$other WORLDS=$worlds cargo test --locked -p trendsrv-server \
    --test sim -- --exact worlds_of_the_lane --nocapture | tee "$out" || code=$?
  grep -E '^[0-9]+ worlds, [0-9]+ violations$' "$out" | tail -1
  return "$code"
}

lane_flips() {
  local flips=${1:-10000} out
  out=$(mktemp)
  # Expanded now: the function's variable is gone when the trap runs.
  trap "rm -f '$out'" EXIT
  FLIPS=$flips RUST_BACKTRACE=0 cargo test --locked -p trendsrv-server --lib \
    store::tests::lanes::flips -- --exact --nocapture 2>&1 | tee "$out"
  grep -E "^$flips flips, " "$out" | tail -n 1
}

# Shards, their logs and a simulated disk, without anything around them.
lane_cycles() {
  local cycles=${1:-100000} out code=0
  say "SEED=${SEED:-1}"
  out=$(mktemp)
  # Expanded now: the function's variable is gone when the trap runs.
  trap "rm -f '$out'" EXIT
  SEED=${SEED:-1} CYCLES=$cycles cargo test --locked -p trendsrv-server --test sim -- \
    --exact cycles_of_the_lane --nocapture | tee "$out" || code=$?
  grep -E '^[0-9]+ cycles, [0-9]+ violations$' "$out" | tail -1
  return "$code"
}

[ $# -gt 0 ] || {
  usage
  exit 0
}
lanes=() counts=() reason=""
while [ $# -gt 0 ]; do
  word=$1
  shift
  if [ "$word" = --update ]; then
    if [ "${lanes[*]: -1}" != instructions ] || [ -z "${1:-}" ]; then
      echo 'usage: ./ci.sh instructions --update "reason"' >&2
      exit 2
    fi
    reason=$1
    shift
  elif [[ $word =~ ^[0-9]+$ && ${#lanes[@]} -gt 0 ]]; then
    counts[${#lanes[@]} - 1]=$word
  elif declare -F "lane_${word//-/_}" >/dev/null; then
    lanes+=("$word")
    counts+=("")
  else
    printf 'no lane is called %s\n\n' "$word" >&2
    usage >&2
    exit 2
  fi
done
for index in "${!lanes[@]}"; do
  lane=${lanes[index]}
  say "begins"
  SECONDS=0
  # A lane runs in a shell of its own: it may change folders, and a skip ends only itself.
  # `set -e` is off inside a condition, so the exit code is taken by hand.
  set +e
  (
    set -e
    # No word at all for a lane without a count: it has a default.
    # shellcheck disable=SC2086
    "lane_${lane//-/_}" ${counts[index]}
  )
  code=$?
  set -e
  if [ "$code" -ne 0 ]; then
    say "FAILED with exit code $code after $SECONDS s"
    exit "$code"
  fi
  # The last line of a lane that counts is its count.
  [ -n "${counts[index]}" ] || say "ended after $SECONDS s"
done

#!/usr/bin/env bash
# Builds the shipped programs into guests/wasm, or into the folder given. The same sources and
# toolchain give the same bytes on every machine: no path, no time, no build id is in them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
out=$(realpath -m "${1:-wasm}")
target=wasm32-unknown-unknown
sysroot=$(rustc --print sysroot)
linker=$sysroot/lib/rustlib/$(rustc --print host-tuple)/bin/rust-lld
mkdir -p "$out"

# build NAME OPT-LEVEL EXPORT…: a static library, linked here because rustc's own link step
# exports two symbols that are not part of the ABI.
build() {
  local name=$1 level=$2 symbol exports=()
  shift 2
  for symbol in trend_abi buf cap "$@"; do exports+=("--export=$symbol"); done
  CARGO_PROFILE_RELEASE_OPT_LEVEL=$level cargo rustc --locked -q --release --target $target \
    -p "trend-$name" --crate-type staticlib -- \
    --remap-path-prefix="$PWD"=guests --remap-path-prefix="$sysroot"=rust \
    --remap-path-prefix="${CARGO_HOME:-$HOME/.cargo}"=cargo
  "$linker" -flavor wasm --no-entry --gc-sections --strip-all --stack-first -zstack-size=1024 \
    --initial-memory=65536 --max-memory=65536 "${exports[@]}" \
    -o "$out/$name.wasm" "target/$target/release/libtrend_${name//-/_}.a"
  chmod 644 "$out/$name.wasm"
  echo "$name: $(stat -c %s "$out/$name.wasm") bytes"
}

build trending 3 summarise
build hashtags 3 observe_text summarise
build log-signatures 3 observe_text summarise

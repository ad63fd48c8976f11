#!/usr/bin/env bash
# Builds the example in C with clang and wasm-ld (LLVM 14 or later): build.sh [OUT.wasm]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
out=${1:-../../target/examples/rising.wasm}
mkdir -p "$(dirname "$out")"
# One page of memory with the stack first; -fno-builtin keeps clang from calling memcpy.
clang --target=wasm32 -nostdlib -ffreestanding -fno-builtin -Os -Wall -Wextra -Werror \
  -Wl,--no-entry -Wl,--strip-all -Wl,--stack-first -Wl,-zstack-size=1024 \
  -Wl,--initial-memory=65536 -Wl,--max-memory=65536 -o "$out" rising.c

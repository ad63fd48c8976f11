#!/usr/bin/env bash
# Builds the example in AssemblyScript with node and npm: build.sh [OUT.wasm]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
out=$(realpath -m "${1:-../../target/examples/longest.wasm}")
# The compiler goes where builds go, not into the checkout.
work=$(realpath -m ../../target/assemblyscript)
mkdir -p "$(dirname "$out")" "$work"
cp -r package.json package-lock.json asconfig.json assembly "$work/"
cd "$work"
npm ci --silent --no-audit --no-fund
npx --no-install asc assembly/index.ts --outFile "$out"

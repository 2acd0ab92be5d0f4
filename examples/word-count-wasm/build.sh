#!/usr/bin/env bash
# Builds the modules into the directory given, or beside their sources. Needs ziglang 0.17.1 from PyPI as $ZIG (by default
# `python3 -m ziglang`), and assemblyscript 0.28.20 from npm as $ASC (by default `npx asc`).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
into=$(cd "${1:-$here}" && pwd)
cd "$here"
read -ra zig <<<"${ZIG:-python3 -m ziglang}"
read -ra asc <<<"${ASC:-npx asc}"
"${zig[@]}" cc -target wasm32-wasi -O2 -s streaming.c -o "$into/streaming.wasm"
"${zig[@]}" cc -target wasm32-freestanding -nostdlib -fno-builtin -O2 -s -Wl,--no-entry batched.c -o "$into/batched.wasm"
"${asc[@]}" batched.ts -O3 --runtime stub -o "$into/batched-as.wasm"
(cd "$into" && sha256sum streaming.wasm batched.wasm batched-as.wasm)

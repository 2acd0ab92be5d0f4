// Counts words through the batched interface (docs/wasm.md), in AssemblyScript: maps, combines and reduces.

// @ts-ignore: decorator
@external("gristmill_abi_1", "emit")
declare function emit(records: usize, length: u32): void;

const SAME_KEY: u32 = 0xffffffff;
const OUT_BYTES: u32 = 1 << 16;
const KEY_BYTES: u32 = 1 << 20;
const out: usize = heap.alloc(OUT_BYTES + KEY_BYTES + 32);
const key: usize = heap.alloc(KEY_BYTES);
const digits: usize = heap.alloc(20);
let outLength: u32 = 0;
let keyLength: u32 = 0;
let sum: u64 = 0;

export function gristmill_abi_1(): void {}

export function gristmill_alloc(length: u32): usize {
  return heap.alloc(length);
}

function flush(): void {
  emit(out, outLength);
  outLength = 0;
}

function record(word: usize, length: u32, value: usize, valueLength: u32): void {
  assert(length <= KEY_BYTES, "a word of more than 1 MiB");
  const at = out + outLength;
  store<u32>(at, length);
  store<u32>(at + 4, valueLength);
  memory.copy(at + 8, word, length);
  memory.copy(at + 8 + length, value, valueLength);
  outLength += 8 + length + valueLength;
  if (outLength > OUT_BYTES) flush();
}

export function map_batch(text: usize, length: u32): i32 {
  store<u8>(digits, 0x31);
  const end = text + length;
  let start = text;
  for (let at = text; at < end; at++) {
    const c = load<u8>(at);
    if (c == 0x20 || (c >= 9 && c <= 13)) {
      if (at > start) record(start, <u32>(at - start), digits, 1);
      start = at + 1;
    }
  }
  flush();
  return 0;
}

function endGroup(): void {
  if (sum == 0) return;
  let at: u32 = 20;
  for (let rest = sum; rest > 0; rest /= 10) store<u8>(digits + --at, <u8>(0x30 + (rest % 10)));
  record(key, keyLength, digits + at, 20 - at);
  sum = 0;
}

export function reduce_batch(records: usize, length: u32): i32 {
  const end = records + length;
  let at = records;
  while (at < end) {
    const newKey = load<u32>(at);
    const valueLength = load<u32>(at + 4);
    at += 8;
    if (newKey != SAME_KEY) {
      endGroup();
      assert(newKey <= KEY_BYTES, "a word of more than 1 MiB");
      keyLength = newKey;
      memory.copy(key, at, newKey);
      at += newKey;
    }
    let count: u64 = 0;
    for (let digit: u32 = 0; digit < valueLength; digit++) count = count * 10 + (load<u8>(at + digit) - 0x30);
    sum += count;
    at += valueLength;
  }
  return 0;
}

export function reduce_finish(): i32 {
  endGroup();
  flush();
  return 0;
}

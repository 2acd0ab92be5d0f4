/* Counts words through the batched interface (docs/wasm.md): maps, combines and reduces; no libc. */
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(#name)))
#define IMPORT(name) __attribute__((import_module("gristmill_abi_1"), import_name(#name)))
#define SAME_KEY 0xffffffffu
#define OUT_BYTES (64 << 10)
#define KEY_BYTES (1 << 20)

IMPORT(emit) void emit(const void *records, uint32_t length);
IMPORT(fail) _Noreturn void fail(const char *text, uint32_t length);

static char out[OUT_BYTES + KEY_BYTES + 32], key[KEY_BYTES];
static uint32_t out_length, key_length;
static uint64_t sum;

static void copy(char *to, const char *from, uint32_t length) {
    for (uint32_t at = 0; at < length; at++) to[at] = from[at];
}

EXPORT(gristmill_abi_1) void abi(void) {}

/* The host asks for room once, and again only for a larger batch. */
EXPORT(gristmill_alloc) void *alloc(uint32_t length) {
    uint32_t pages = (length + 65535u) >> 16;
    return (void *)(__builtin_wasm_memory_grow(0, pages) << 16);
}

static void flush(void) {
    emit(out, out_length);
    out_length = 0;
}

static void record(const char *word, uint32_t length, const char *value, uint32_t value_length) {
    uint32_t lengths[2] = {length, value_length};
    if (length > sizeof key) fail("a word of more than 1 MiB", 25);
    __builtin_memcpy(out + out_length, lengths, 8);
    copy(out + out_length + 8, word, length);
    copy(out + out_length + 8 + length, value, value_length);
    out_length += 8 + length + value_length;
    if (out_length > OUT_BYTES) flush();
}

EXPORT(map_batch) int32_t map_batch(const unsigned char *text, uint32_t length) {
    uint32_t start = 0;
    for (uint32_t at = 0; at < length; at++) {
        if (text[at] == ' ' || (text[at] >= '\t' && text[at] <= '\r')) {
            if (at > start) record((const char *)text + start, at - start, "1", 1);
            start = at + 1;
        }
    }
    flush();
    return 0;
}

static void end_group(void) {
    char digits[20], *digit = digits + sizeof digits;
    uint64_t rest = sum;
    if (sum == 0) return;
    for (; rest > 0; rest /= 10) *--digit = (char)('0' + rest % 10);
    record(key, key_length, digit, (uint32_t)(digits + sizeof digits - digit));
    sum = 0;
}

/* Also combines: what it emits for a key is the sum as text, which is what it reads. */
EXPORT(reduce_batch) int32_t reduce_batch(const char *at, uint32_t length) {
    for (const char *end = at + length; at < end;) {
        uint32_t lengths[2];
        __builtin_memcpy(lengths, at, 8);
        at += 8;
        if (lengths[0] != SAME_KEY) {
            end_group();
            if (lengths[0] > sizeof key) fail("a word of more than 1 MiB", 25);
            copy(key, at, key_length = lengths[0]);
            at += key_length;
        }
        uint64_t count = 0;
        for (uint32_t digit = 0; digit < lengths[1]; digit++) count = count * 10 + (uint64_t)(at[digit] - '0');
        sum += count;
        at += lengths[1];
    }
    return 0;
}

EXPORT(reduce_finish) int32_t reduce_finish(void) {
    end_group();
    flush();
    return 0;
}

/* The table of broken files (gguf_broken.h). */
#include "gguf_broken.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Keys of gguf_small by index. */
enum { ARCH, ALIGN, LAYERS, TOKENS, SCORES, FLAGS, FLAG, ONE, TWO };

static const char *const tokens[] = {"a rather long first token", "bc", ""};

static void keys(struct gguf_writer *w, uint32_t alignment)
{
    gguf_key_string(w, "general.architecture", "llama");
    gguf_align(w, alignment);
    gguf_key_u32(w, "llama.block_count", 2);
    gguf_key_strings(w, "test.tokens", 3, tokens);
    gguf_key_array(w, "test.scores", STRATA__META_F32, 3, (float[]){1, -2, 3}, 12);
    gguf_key_array(w, "test.flags", STRATA__META_BOOL, 3, (uint8_t[]){1, 0, 1}, 3);
    gguf_key_bool(w, "test.flag", true);
    gguf_key_u32(w, "test.one", 1);
    gguf_key_i32(w, "test.two", -2);
    gguf_key_raw(w, "test.u8", STRATA__META_U8, (uint8_t[]){200}, 1);
    gguf_key_raw(w, "test.i8", STRATA__META_I8, (int8_t[]){-100}, 1);
    gguf_key_raw(w, "test.u16", STRATA__META_U16, (uint16_t[]){60000}, 2);
    gguf_key_raw(w, "test.i16", STRATA__META_I16, (int16_t[]){30000}, 2);
    gguf_key_raw(w, "test.i64", STRATA__META_I64, (int64_t[]){INT64_MIN}, 8);
    gguf_key_raw(w, "test.f64", STRATA__META_F64, (double[]){0.5}, 8);
    gguf_key_u64(w, "test.u64", UINT64_MAX);
    gguf_key_f32(w, "test.f32", 0.25f);
}

/* Tensors of gguf_small: 64, 108 and 10 bytes. */
static void tensors(struct gguf_writer *w, const char *first)
{
    gguf_tensor(w, first, STRATA_TYPE_F32, 2, (uint64_t[]){8, 2}, NULL);
    gguf_tensor(w, "blk.1.b", STRATA_TYPE_Q4_0, 2, (uint64_t[]){64, 3}, NULL);
    gguf_tensor(w, "output", STRATA_TYPE_F16, 1, (uint64_t[]){5}, NULL);
}

static void build(struct gguf_writer *w, uint32_t version, uint32_t alignment, const char *first)
{
    gguf_begin(w, version);
    keys(w, alignment);
    tensors(w, first);
    gguf_finish(w);
}

void gguf_small(struct gguf_writer *w)
{
    build(w, 3, 32, "blk.0.a");
}

static void version_2(struct gguf_writer *w)
{
    build(w, 2, 32, "blk.0.a");
}

static void alignment_8(struct gguf_writer *w)
{
    build(w, 3, 8, "blk.0.a");
}

static void alignment_max(struct gguf_writer *w)
{
    build(w, 3, 1u << 20, "blk.0.a");
}

#define NAME_63 "sixty-three bytes: 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35"
_Static_assert(sizeof NAME_63 == 64, "63 bytes and the terminator");

static void name_63(struct gguf_writer *w)
{
    build(w, 3, 32, NAME_63);
}

static void name_64(struct gguf_writer *w)
{
    build(w, 3, 32, NAME_63 ".");
}

static void layer_1(struct gguf_writer *w)
{
    build(w, 3, 32, "blk.1.a");
}

static void layer_2(struct gguf_writer *w)
{
    build(w, 3, 32, "blk.2.a");
}

static void layer_huge(struct gguf_writer *w)
{
    build(w, 3, 32, "blk.99999999999.x");
}

static void layer_word(struct gguf_writer *w)
{
    build(w, 3, 32, "blk.one.x");
}

static void layer_without_dot(struct gguf_writer *w)
{
    build(w, 3, 32, "blk.1x");
}

/* One tensor, and no key that limits layers. */
static void layer_without_count(struct gguf_writer *w, const char *name)
{
    gguf_begin(w, 3);
    gguf_tensor(w, name, STRATA_TYPE_F32, 1, (uint64_t[]){8}, NULL);
    gguf_finish(w);
}

static void layer_65535(struct gguf_writer *w)
{
    layer_without_count(w, "blk.65535.a");
}

static void layer_65536(struct gguf_writer *w)
{
    layer_without_count(w, "blk.65536.a");
}

static void long_key(struct gguf_writer *w, size_t size)
{
    char *key = malloc(size + 1);
    if (!key)
        exit(EXIT_FAILURE);
    memset(key, 'k', size);
    key[size] = 0;
    gguf_begin(w, 3);
    gguf_key_u32(w, key, 1);
    gguf_finish(w);
    free(key);
}

static void key_65535(struct gguf_writer *w)
{
    long_key(w, 65535);
}

static void key_65536(struct gguf_writer *w)
{
    long_key(w, 65536);
}

/* Element type and count of an array of one array, many times over. */
static void nested(struct gguf_writer *w)
{
    enum { DEPTH = 10000, LEVEL = 12 };
    unsigned char *bytes = calloc(DEPTH, LEVEL);
    if (!bytes)
        exit(EXIT_FAILURE);
    for (size_t i = 0; i < DEPTH; i++) {
        bytes[i * LEVEL] = STRATA__META_ARRAY;
        bytes[i * LEVEL + 4] = 1;
    }
    gguf_begin(w, 3);
    gguf_key_raw(w, "test.nested", STRATA__META_ARRAY, bytes, (size_t)DEPTH * LEVEL);
    gguf_finish(w);
    free(bytes);
}

static void strings_only(struct gguf_writer *w)
{
    gguf_begin(w, 3);
    gguf_key_strings(w, "test.tokens", 3, tokens);
    gguf_finish(w);
}

static void alignment_string(struct gguf_writer *w)
{
    gguf_begin(w, 3);
    gguf_key_string(w, "general.alignment", "32");
    gguf_finish(w);
}

static void wrong_info(struct gguf_writer *w)
{
    gguf_begin(w, 3);
    gguf_key_u32(w, "general.name", 7);
    gguf_finish(w);
}

static void wrong_layers(struct gguf_writer *w)
{
    gguf_begin(w, 3);
    gguf_key_string(w, "general.architecture", "llama");
    gguf_key_i32(w, "llama.block_count", -1);
    gguf_finish(w);
}

static void four_dimensions(struct gguf_writer *w)
{
    gguf_begin(w, 3);
    gguf_tensor(w, "four", STRATA_TYPE_F32, 4, (uint64_t[]){4, 3, 2, 2}, NULL);
    gguf_finish(w);
}

void gguf_shard(struct gguf_writer *w, unsigned no, unsigned count, unsigned total)
{
    char name[32];
    gguf_begin(w, 3);
    if (no == 0) {
        gguf_key_string(w, "general.architecture", "llama");
        gguf_key_u32(w, "llama.block_count", total);
    }
    gguf_key_raw(w, "split.no", STRATA__META_U16, (uint16_t[]){(uint16_t)no}, 2);
    gguf_key_raw(w, "split.count", STRATA__META_U16, (uint16_t[]){(uint16_t)count}, 2);
    gguf_key_i32(w, "split.tensors.count", (int32_t)total);
    snprintf(name, sizeof name, "blk.%u.weight", no);
    gguf_tensor(w, name, STRATA_TYPE_F32, 1, (uint64_t[]){8}, NULL);
    gguf_finish(w);
}

/* Two shards' worth of keys in a file whose name does not say so. */
static void shard_alone(struct gguf_writer *w)
{
    gguf_shard(w, 0, 2, 2);
}

static void shard_of_one(struct gguf_writer *w)
{
    gguf_shard(w, 0, 1, 1);
}

static void shard_of_1025(struct gguf_writer *w)
{
    gguf_shard(w, 0, 1025, 1);
}

static void shard_2_of_2(struct gguf_writer *w)
{
    gguf_shard(w, 2, 2, 2);
}

#define U64(x) UINT64_C(x)
#define HEADER(plus)         \
    {                        \
        GGUF_HEADER, 0, plus \
    }
#define KEY(field, item, plus)   \
    {                            \
        GGUF_##field, item, plus \
    }
#define TENSOR(field, item, plus) \
    {                             \
        GGUF_##field, item, plus  \
    }
#define DATA(plus)         \
    {                      \
        GGUF_DATA, 0, plus \
    }
#define NOWHERE HEADER(0), 4, 0x46554747 /* writes "GGUF" where it is */

const struct gguf_broken gguf_broken[] = {
    {"01 empty file", gguf_small, NULL, HEADER(0), 0, 0, HEADER(0), "magic: 4 bytes needed",
     "ends after 0"},
    {"02 three bytes", gguf_small, NULL, HEADER(3), 0, 0, HEADER(0), "magic: 4 bytes needed",
     "ends after 3"},
    {"03 bad magic", gguf_small, NULL, HEADER(3), 1, 7, HEADER(0), "magic: \"GGU\\x07\"",
     "expected \"GGUF\""},
    {"04 version 0", version_2, NULL, HEADER(4), 4, 0, HEADER(4), "version: 0", "2 to 3"},
    {"04 version 1", version_2, NULL, HEADER(4), 4, 1, HEADER(4), "version: 1", "2 to 3"},
    {"05 version 4", gguf_small, NULL, HEADER(4), 4, 4, HEADER(4), "version: 4", "2 to 3"},
    {"06 big-endian", gguf_small, NULL, HEADER(4), 4, 0x03000000, HEADER(4),
     "version: 3 in big-endian", NULL},
    {"07 tensors 2^64-1", gguf_small, NULL, HEADER(8), 8, UINT64_MAX, HEADER(8),
     "tensor count: 18446744073709551615", "bytes left"},
    {"07 tensors above the bytes left", gguf_small, NULL, HEADER(8), 8, 64, HEADER(8),
     "tensor count: 64", "bytes left"},
    {"07 tensors above the bytes after the keys", gguf_small, NULL, HEADER(8), 8, 14,
     TENSOR(NAME, 0, 0), "tensor table: 14 tensors", "at least 462 needed"},
    {"08 keys 2^64-1", gguf_small, NULL, HEADER(16), 8, UINT64_MAX, HEADER(16),
     "key count: 18446744073709551615", "bytes left"},
    {"08 keys above the bytes left", gguf_small, NULL, HEADER(16), 8, 100, HEADER(16),
     "key count: 100", "bytes left"},
    {"09 key length 2^63", gguf_small, NULL, KEY(KEY, ONE, 0), 8, U64(1) << 63, KEY(KEY, ONE, 0),
     "key 7: length 9223372036854775808", "at most 65535"},
    {"09 key length 65536", key_65535, key_65536, NOWHERE, KEY(KEY, 0, 0), "key 0: length 65536",
     "at most 65535"},
    {"09 key longer than the file", gguf_small, NULL, KEY(KEY, ONE, 0), 8, 20000, KEY(KEY, ONE, 0),
     "key 7: length 20000", "left in the file"},
    {"10 key empty", gguf_small, NULL, KEY(KEY, ONE, 0), 8, 0, KEY(KEY, ONE, 0), "key 7: empty",
     NULL},
    {"11 NUL in key", gguf_small, NULL, KEY(KEY_TEXT, ONE, 4), 1, 0, KEY(KEY, ONE, 0),
     "key 7: \"test\\x00one\"", "0x00 at 4"},
    {"11 control byte in key", gguf_small, NULL, KEY(KEY_TEXT, ONE, 4), 1, 0x1b, KEY(KEY, ONE, 0),
     "key 7: \"test\\x1bone\"", NULL},
    {"11 DEL in key", gguf_small, NULL, KEY(KEY_TEXT, ONE, 4), 1, 0x7f, KEY(KEY, ONE, 0),
     "key 7: \"test\\x7fone\"", NULL},
    {"11 invalid UTF-8 in key", gguf_small, NULL, KEY(KEY_TEXT, ONE, 4), 1, 0xff, KEY(KEY, ONE, 0),
     "key 7: \"test\\xffone\"", "0xff at 4"},
    {"12 value type 13", gguf_small, NULL, KEY(KEY_TYPE, ONE, 0), 4, 13, KEY(KEY_TYPE, ONE, 0),
     "key \"test.one\": value type 13", "0 to 12"},
    {"12 value type -1", gguf_small, NULL, KEY(KEY_TYPE, ONE, 0), 4, UINT32_MAX,
     KEY(KEY_TYPE, ONE, 0), "key \"test.one\": value type -1", "0 to 12"},
    {"13 element type 13", gguf_small, NULL, KEY(KEY_VALUE, SCORES, 0), 4, 13,
     KEY(KEY_VALUE, SCORES, 0), "key \"test.scores\": element type 13", "0 to 12"},
    {"13 element type -1", gguf_small, NULL, KEY(KEY_VALUE, SCORES, 0), 4, UINT32_MAX,
     KEY(KEY_VALUE, SCORES, 0), "key \"test.scores\": element type -1", NULL},
    {"14 array of arrays", gguf_small, NULL, KEY(KEY_VALUE, SCORES, 0), 4, 9,
     KEY(KEY_VALUE, SCORES, 0), "key \"test.scores\": element type 9 (ARRAY)", "depth"},
    {"14 arrays 10000 deep", gguf_small, nested, NOWHERE, KEY(KEY_VALUE, 0, 0),
     "key \"test.nested\": element type 9 (ARRAY)", "depth"},
    {"15 array length 2^63", gguf_small, NULL, KEY(KEY_VALUE, SCORES, 4), 8, U64(1) << 63,
     KEY(KEY_VALUE, SCORES, 4), "key \"test.scores\": array length 9223372036854775808",
     "bytes left"},
    {"15 string array length 2^63", gguf_small, NULL, KEY(KEY_VALUE, TOKENS, 4), 8, U64(1) << 63,
     KEY(KEY_VALUE, TOKENS, 4), "key \"test.tokens\": array length 9223372036854775808",
     "bytes left"},
    {"16 array length x size wraps", gguf_small, NULL, KEY(KEY_VALUE, SCORES, 4), 8,
     (U64(1) << 62) + 3, KEY(KEY_VALUE, SCORES, 4),
     "key \"test.scores\": array length 4611686018427387907", "bytes left"},
    {"17 string longer than the file", gguf_small, NULL, KEY(KEY_VALUE, ARCH, 0), 8, U64(1) << 40,
     KEY(KEY_VALUE, ARCH, 0), "key \"general.architecture\": length 1099511627776",
     "left in the file"},
    {"17 string of 2^64-1 bytes", gguf_small, NULL, KEY(KEY_VALUE, ARCH, 0), 8, UINT64_MAX,
     KEY(KEY_VALUE, ARCH, 0), "key \"general.architecture\": length 18446744073709551615",
     "left in the file"},
    {"17 element longer than the file", gguf_small, NULL, KEY(KEY_VALUE, TOKENS, 12), 8, UINT64_MAX,
     KEY(KEY_VALUE, TOKENS, 12), "key \"test.tokens\": element 0: length 18446744073709551615",
     "left in the file"},
    {"17 element cut off", strings_only, NULL, KEY(KEY_VALUE, 0, 49), 0, 0, KEY(KEY_VALUE, 0, 45),
     "key \"test.tokens\": element 1 of 3", "cut off"},
    {"17 value cut off", gguf_small, NULL, KEY(KEY_VALUE, ONE, 3), 0, 0, KEY(KEY_VALUE, ONE, 0),
     "key \"test.one\": 1 x 4 bytes", "3 left"},
    {"17 BOOL 2", gguf_small, NULL, KEY(KEY_VALUE, FLAG, 0), 1, 2, KEY(KEY_VALUE, FLAG, 0),
     "key \"test.flag\": BOOL 2", "0 or 1"},
    {"17 BOOL 255 in an array", gguf_small, NULL, KEY(KEY_VALUE, FLAGS, 13), 1, 255,
     KEY(KEY_VALUE, FLAGS, 13), "key \"test.flags\": BOOL 255", "0 or 1"},
    {"18 duplicate key", gguf_small, NULL, KEY(KEY_TEXT, TWO, 5), 3, 0x656e6f, KEY(KEY, TWO, 0),
     "key \"test.one\": duplicate", "the first is at offset 327"},
    {"19 alignment 0", alignment_8, NULL, KEY(KEY_VALUE, ALIGN, 0), 4, 0, KEY(KEY_VALUE, ALIGN, 0),
     "key \"general.alignment\": 0", "power of two"},
    {"20 alignment 13", gguf_small, NULL, KEY(KEY_VALUE, ALIGN, 0), 4, 13, KEY(KEY_VALUE, ALIGN, 0),
     "key \"general.alignment\": 13", "power of two"},
    {"20 alignment 4", alignment_8, NULL, KEY(KEY_VALUE, ALIGN, 0), 4, 4, KEY(KEY_VALUE, ALIGN, 0),
     "key \"general.alignment\": 4,", "from 8"},
    {"21 alignment 2^31", alignment_max, NULL, KEY(KEY_VALUE, ALIGN, 0), 4, U64(1) << 31,
     KEY(KEY_VALUE, ALIGN, 0), "key \"general.alignment\": 2147483648", "to 1048576"},
    {"22 alignment as INT32", gguf_small, NULL, KEY(KEY_TYPE, ALIGN, 0), 4, STRATA__META_I32,
     KEY(KEY_VALUE, ALIGN, 0), "key \"general.alignment\": INT32", "UINT32"},
    {"22 alignment as string", gguf_small, alignment_string, NOWHERE, KEY(KEY_VALUE, 0, 0),
     "key \"general.alignment\": STRING", "UINT32"},
    {"23 tensor name of 64 bytes", name_63, name_64, NOWHERE, TENSOR(NAME, 0, 0),
     "name of tensor 0: length 64", "at most 63"},
    {"23 tensor name empty", gguf_small, NULL, TENSOR(NAME, 2, 0), 8, 0, TENSOR(NAME, 2, 0),
     "name of tensor 2: empty", NULL},
    {"23 newline in tensor name", gguf_small, NULL, TENSOR(NAME_TEXT, 2, 0), 1, 10,
     TENSOR(NAME, 2, 0), "name of tensor 2: \"\\x0autput\"", NULL},
    {"23 duplicate tensor", gguf_small, NULL, TENSOR(NAME_TEXT, 1, 4), 3, 0x612e30,
     TENSOR(NAME, 1, 0), "tensor \"blk.0.a\": duplicate", "the first is at"},
    {"23 layer 99999999999", gguf_small, layer_huge, NOWHERE, TENSOR(NAME, 0, 0),
     "tensor \"blk.99999999999.x\": layer index \"99999999999\"", "below 2"},
    {"23 layer 2 of 2", layer_1, layer_2, NOWHERE, TENSOR(NAME, 0, 0),
     "tensor \"blk.2.a\": layer index \"2\"", "below 2"},
    {"23 layer one", gguf_small, layer_word, NOWHERE, TENSOR(NAME, 0, 0),
     "tensor \"blk.one.x\": layer index \"one\"", "below 2"},
    {"23 layer without dot", gguf_small, layer_without_dot, NOWHERE, TENSOR(NAME, 0, 0),
     "tensor \"blk.1x\": layer index \"1x\"", NULL},
    {"23 layer 65536", layer_65535, layer_65536, NOWHERE, TENSOR(NAME, 0, 0),
     "tensor \"blk.65536.a\": layer index \"65536\"", "below 65536"},
    {"24 no dimensions", gguf_small, NULL, TENSOR(N_DIMS, 2, 0), 4, 0, TENSOR(N_DIMS, 2, 0),
     "tensor \"output\": 0 dimensions", "1 to 4"},
    {"24 five dimensions", four_dimensions, NULL, TENSOR(N_DIMS, 0, 0), 4, 5, TENSOR(N_DIMS, 0, 0),
     "tensor \"four\": 5 dimensions", "1 to 4"},
    {"24 2^32-1 dimensions", gguf_small, NULL, TENSOR(N_DIMS, 2, 0), 4, UINT32_MAX,
     TENSOR(N_DIMS, 2, 0), "tensor \"output\": 4294967295 dimensions", "1 to 4"},
    {"25 dimension 0", gguf_small, NULL, TENSOR(SHAPE, 1, 8), 8, 0, TENSOR(SHAPE, 1, 8),
     "tensor \"blk.1.b\": dimension 1 is 0", "at least 1"},
    {"26 dimension -1", gguf_small, NULL, TENSOR(SHAPE, 1, 8), 8, UINT64_MAX, TENSOR(SHAPE, 1, 8),
     "tensor \"blk.1.b\": dimension 1 is -1", "at least 1"},
    {"27 product wraps", gguf_small, NULL, TENSOR(SHAPE, 0, 8), 8, (U64(1) << 61) + 1,
     TENSOR(SHAPE, 0, 8), "tensor \"blk.0.a\": dimension 1 is 2305843009213693953",
     "above 2^63 - 1"},
    {"27 product 2^63", gguf_small, NULL, TENSOR(SHAPE, 0, 8), 8, U64(1) << 60, TENSOR(SHAPE, 0, 8),
     "tensor \"blk.0.a\": dimension 1 is 1152921504606846976", "above 2^63 - 1"},
    {"28 bytes wrap", gguf_small, NULL, TENSOR(SHAPE, 0, 8), 8, U64(1) << 59, TENSOR(TYPE, 0, 0),
     "tensor \"blk.0.a\": 4611686018427387904 elements of F32", "more than 2^64 bytes"},
    {"29 padding wraps", gguf_small, NULL, TENSOR(SHAPE, 2, 0), 8, (U64(1) << 63) - 1,
     TENSOR(TYPE, 2, 0), "tensor \"output\": 9223372036854775807 elements of F16",
     "more than 2^64 bytes"},
    {"29 sizes far above the file", gguf_small, NULL, TENSOR(SHAPE, 0, 8), 8, U64(1) << 58,
     TENSOR(OFFSET, 0, 0), "tensor \"blk.0.a\": data offset 0 + 9223372036854775808 bytes",
     "bytes of data"},
    {"30 row of 48 in blocks of 32", gguf_small, NULL, TENSOR(SHAPE, 1, 0), 8, 48,
     TENSOR(TYPE, 1, 0), "tensor \"blk.1.b\": row length 48",
     "multiple of 32, the block size of Q4_0"},
    {"31 type 4, removed", gguf_small, NULL, TENSOR(TYPE, 1, 0), 4, 4, TENSOR(TYPE, 1, 0),
     "tensor \"blk.1.b\": type 4,", "not a known type"},
    {"31 type 1000", gguf_small, NULL, TENSOR(TYPE, 1, 0), 4, 1000, TENSOR(TYPE, 1, 0),
     "tensor \"blk.1.b\": type 1000,", NULL},
    {"31 type -1", gguf_small, NULL, TENSOR(TYPE, 1, 0), 4, UINT32_MAX, TENSOR(TYPE, 1, 0),
     "tensor \"blk.1.b\": type -1,", NULL},
    {"32 offset unaligned", gguf_small, NULL, TENSOR(OFFSET, 1, 0), 8, 72, TENSOR(OFFSET, 1, 0),
     "tensor \"blk.1.b\": data offset 72", "alignment 32"},
    {"33 offset beyond the end", gguf_small, NULL, TENSOR(OFFSET, 1, 0), 8, 1 << 20,
     TENSOR(OFFSET, 1, 0), "tensor \"blk.1.b\": data offset 1048576 + 108 bytes",
     "224 bytes of data"},
    {"34 offset + size wraps", gguf_small, NULL, TENSOR(OFFSET, 1, 0), 8, UINT64_MAX - 31,
     TENSOR(OFFSET, 1, 0), "tensor \"blk.1.b\": data offset 18446744073709551584 + 108 bytes",
     "2^64"},
    {"35 overlap", gguf_small, NULL, TENSOR(OFFSET, 1, 0), 8, 32, DATA(32),
     "tensor \"blk.1.b\": begins inside", "tensor \"blk.0.a\""},
    {"35 overlap, in another order", gguf_small, NULL, TENSOR(OFFSET, 2, 0), 8, 32, DATA(32),
     "tensor \"output\": begins inside", "tensor \"blk.0.a\""},
    {"35 same offset", gguf_small, NULL, TENSOR(OFFSET, 2, 0), 8, 64, DATA(64), ": begins inside",
     "which ends at"},
    {"37 a byte of data missing", gguf_small, NULL, DATA(192 + 9), 0, 0, TENSOR(OFFSET, 2, 0),
     "tensor \"output\": data offset 192 + 10 bytes", "201 bytes of data"},
    {"37 all data missing", gguf_small, NULL, TENSOR(OFFSET, 2, 8), 0, 0, TENSOR(OFFSET, 0, 0),
     "tensor \"blk.0.a\": data offset 0 + 64 bytes", "0 bytes of data"},
    {"39 name stored as UINT32", gguf_small, wrong_info, NOWHERE, KEY(KEY_VALUE, 0, 0),
     "key \"general.name\": UINT32", "expected STRING"},
    {"39 block_count -1", gguf_small, wrong_layers, NOWHERE, KEY(KEY_VALUE, 1, 0),
     "key \"llama.block_count\": -1", "0 or more"},
    {"42 shard under another name", shard_of_one, shard_alone, NOWHERE, KEY(KEY_VALUE, 3, 0),
     "key \"split.count\": shard 1 of 2", "\"-00001-of-00002.gguf\""},
    {"42 1025 shards", shard_of_one, shard_of_1025, NOWHERE, KEY(KEY_VALUE, 3, 0),
     "key \"split.count\": 1025", "at most 1024"},
    {"42 shard number beyond the count", shard_of_one, shard_2_of_2, NOWHERE, KEY(KEY_VALUE, 0, 0),
     "key \"split.no\": 2", "below split.count, 2"},
};
const size_t gguf_broken_count = sizeof gguf_broken / sizeof *gguf_broken;

static size_t resolve(const struct gguf_writer *w, struct gguf_place place)
{
    size_t base = 0;
    if (place.field >= GGUF_KEY && place.field <= GGUF_KEY_VALUE) {
        struct gguf_key_at at = gguf_key_at(w, place.item);
        const size_t fields[] = {at.key, at.text, at.type, at.value};
        base = fields[place.field - GGUF_KEY];
    } else if (place.field >= GGUF_NAME && place.field <= GGUF_OFFSET) {
        struct gguf_tensor_at at = gguf_tensor_at(w, place.item);
        const size_t fields[] = {at.name, at.text, at.n_dims, at.shape, at.type, at.offset};
        base = fields[place.field - GGUF_NAME];
    } else if (place.field == GGUF_DATA) {
        base = w->data_at;
    }
    return base + place.plus;
}

size_t gguf_break(const struct gguf_broken *row, struct gguf_writer *w)
{
    (row->start ? row->start : row->valid)(w);
    size_t at = resolve(w, row->at), reported = resolve(w, row->reported);
    if (row->bytes == 0)
        gguf_resize(w, at + row->value);
    else
        memcpy(w->file.bytes + at, &row->value, row->bytes);
    return reported;
}

/* A validated GGUF file inside the runtime: tensors by name, metadata by key.
 *
 * Format: the GGUF specification (ggml, docs/gguf.md), versions 2 and 3, little-endian.  Everything
 * that these functions return was checked when the file was opened; pointers lead into the
 * read-only mappings and live until strata_file_close.  All functions may be called from any
 * thread.
 */
#ifndef STRATA_GGUF_H
#define STRATA_GGUF_H

#include "block_formats.h"
#include "status.h"

/* Bytes in the mapping; not terminated. */
struct strata__string {
    const char *text;
    size_t size;
};

struct strata__tensor {
    const char *name; /* terminated, UTF-8 */
    enum strata_type type;
    unsigned n_dims;
    uint64_t shape[4]; /* GGUF order: shape[0] is the row length; unused dimensions are 1 */
    uint64_t rows;     /* product of shape[1..3] */
    uint64_t row_bytes;
    uint64_t bytes;   /* rows * row_bytes */
    const void *data; /* aligned to the file's alignment */
    unsigned shard;
    uint64_t offset;        /* of the data in its shard */
    uint64_t header_offset; /* of its description in its shard, for messages */
};

/* GGUF metadata value types. */
enum strata__meta_type {
    STRATA__META_U8,
    STRATA__META_I8,
    STRATA__META_U16,
    STRATA__META_I16,
    STRATA__META_U32,
    STRATA__META_I32,
    STRATA__META_F32,
    STRATA__META_BOOL,
    STRATA__META_STRING,
    STRATA__META_ARRAY,
    STRATA__META_U64,
    STRATA__META_I64,
    STRATA__META_F64,
    STRATA__META_TYPE_COUNT
};

/* Tensor `index` (below strata_file_tensor_count), in the order of the files. */
const struct strata__tensor *strata__file_tensor(const strata_file *file, uint32_t index);

/* The tensor with this name, or NULL. */
const struct strata__tensor *strata__file_find(const strata_file *file, const char *name);

/* The same, required: E_FORMAT naming the file and the tensor when it is absent or its shape is not
 * rows x cols (a vector has rows 1; `rows` and `cols` in memory order, cols = shape[0]); expected
 * and found shape are printed. */
strata_status strata__file_need(const strata_file *file, const char *name, uint64_t rows,
                                uint64_t cols, const struct strata__tensor **out);

/* Metadata by key.  Each returns STRATA_OK with *found = false and *out untouched when the key is
 * absent, so that the caller sets the default beforehand; `found` may be NULL, and then an absent
 * key is E_FORMAT ("key: missing").  A value of another type (integers of any width are accepted
 * where they fit) is E_FORMAT with file, offset, key, found and expected type or range. */
strata_status strata__meta_u64(const strata_file *file, const char *key, uint64_t *out,
                               bool *found);
/* Integer `index` of an array of `count`, or the one integer that stands for all of them. */
strata_status strata__meta_u64_of(const strata_file *file, const char *key, uint32_t index,
                                  uint32_t count, uint64_t *out, bool *found);
strata_status strata__meta_f32(const strata_file *file, const char *key, float *out, bool *found);
strata_status strata__meta_bool(const strata_file *file, const char *key, bool *out, bool *found);
strata_status strata__meta_string(const strata_file *file, const char *key,
                                  struct strata__string *out, bool *found);

/* Arrays: count, and element i by the typed calls below (i < count; arrays of another element type
 * than asked for are E_FORMAT when the array is opened). */
struct strata__meta_array {
    uint64_t count;
    enum strata__meta_type type; /* of the elements */
    const void *data;            /* raw values; for strings use strata__meta_array_strings */
    uint64_t offset;             /* in the file, of the first element */
};
strata_status strata__meta_array(const strata_file *file, const char *key,
                                 enum strata__meta_type type, struct strata__meta_array *out,
                                 bool *found);

/* All strings of a string array into strings[0..count), one walk.  The caller provides array->count
 * entries. */
void strata__meta_array_strings(const struct strata__meta_array *array,
                                struct strata__string *strings);

/* The metadata one by one, in the order of the (first) file: how many, and of each the key, its
 * type and its bytes as they lie in the file (index < strata__meta_count(file)). */
struct strata__meta_value {
    struct strata__string key;
    enum strata__meta_type type;
    struct strata__string bytes;
};
uint32_t strata__meta_count(const strata_file *file);
struct strata__meta_value strata__meta_value(const strata_file *file, uint32_t index);

/* "path:offset" of a key's value or "path" when absent, for messages: fills and returns `out`. */
const char *strata__file_where(const strata_file *file, const char *key, char *out, size_t cap);

/* Path of the first shard, as given by the caller (escaped for printing), and as it was opened. */
const char *strata__file_path(const strata_file *file);
const char *strata__file_opened_path(const strata_file *file);

/* How the data will be read, which matters where it is not in memory: all of it, as after opening,
 * or (false) vectors, which the system begins to fetch, and few rows of matrices, around which
 * nothing is to be read.  Advice only: it changes no result and cannot fail. */
void strata__file_read_all(const strata_file *file, bool all);

/* The mapping of a shard; index is below strata_file_info.shards. */
struct strata__file_map;
const struct strata__file_map *strata__file_shard(const strata_file *file, unsigned index);

/* Device, inode, size and time of change of all shards, as one number. */
uint64_t strata__file_identity(const strata_file *file);

#endif

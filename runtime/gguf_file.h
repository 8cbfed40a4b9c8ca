/* Inside the GGUF reader: the open file, and how its parts work together.
 *
 *   gguf.c           opens and closes, accessors
 *   gguf_shards.c    paths of split files; opens all shards of one
 *   gguf_parse.c     header and metadata of a shard
 *   gguf_tensors.c   tensor table of a shard and the layout of its data
 *   gguf_metadata.c  typed look-ups
 *
 * Everything from the file is checked in the order in which it lies there; the first fault refuses
 * the file with "path:offset: field: found, limit".
 */
#ifndef STRATA_GGUF_FILE_H
#define STRATA_GGUF_FILE_H

#include "file_map.h"
#include "gguf.h"
#include "name_index.h"

/* Limits that the format itself does not set, or sets in words only. */
#define STRATA__GGUF_COUNT_MAX (UINT64_C(1) << 24) /* keys, tensors */
#define STRATA__GGUF_KEY_MAX 65535u                /* bytes */
#define STRATA__GGUF_NAME_MAX 63u                  /* bytes of a tensor name */
#define STRATA__GGUF_ALIGNMENT_MIN 8u
#define STRATA__GGUF_ALIGNMENT_MAX (1u << 20)
#define STRATA__GGUF_ALIGNMENT_DEFAULT 32u
#define STRATA__GGUF_LAYERS_MAX 65536u /* the index in "blk.N." is below */
#define STRATA__GGUF_SHARDS_MAX 1024u

/* The fewest bytes a key with its value, and a tensor's description, can take. */
#define STRATA__GGUF_KEY_BYTES_MIN 14u    /* length, one byte of key, type, one byte of value */
#define STRATA__GGUF_TENSOR_BYTES_MIN 33u /* length, one byte, n_dims, one size, type, offset */

struct strata__key {
    const char *text; /* in the mapping */
    uint32_t size;
    uint32_t type;  /* enum strata__meta_type */
    uint64_t value; /* offset in the shard; of an array: of its element type */
};

struct strata__shard {
    struct strata__file_map map;
    char *path;  /* as opened */
    char *shown; /* for messages: escaped, the end of a very long path */
    uint32_t version;
    uint32_t alignment;
    uint64_t tensor_count;
    uint64_t tensors_at; /* offset of the tensor table */
    uint32_t key_count;
    struct strata__key *keys;
    struct strata__name_index key_index;
};

struct strata_file {
    struct strata__shard *shards; /* by split.no */
    unsigned shard_count;
    struct strata__tensor *tensors; /* in the order of the files */
    uint32_t tensor_count;
    char *names; /* the tensors' names, terminated */
    struct strata__name_index tensor_index;
    strata_file_info info;
    char architecture[64], name[256], tokenizer[64], pre_tokenizer[64]; /* what `info` points to */
};

/* Where warnings go. */
struct strata__gguf_log {
    strata_log_fn *log; /* may be NULL */
    void *user;
};
void strata__gguf_warn(const struct strata__gguf_log *log, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Fails with E_FORMAT "path:offset: ...". */
strata_status strata__gguf_bad(const struct strata__shard *shard, uint64_t offset,
                               const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Reading forward through a shard; `at` never passes the end.  Each read fails with E_FORMAT when
 * the bytes are not there, *out is 0 then; `field` names what is read. */
struct strata__reader {
    const struct strata__shard *shard;
    uint64_t at;
};
uint64_t strata__gguf_left(const struct strata__reader *reader);
strata_status strata__gguf_u32(struct strata__reader *reader, const char *field, uint32_t *out);
strata_status strata__gguf_u64(struct strata__reader *reader, const char *field, uint64_t *out);

/* A name (key or tensor): 1 to `limit` bytes of UTF-8 without control characters. */
strata_status strata__gguf_name(struct strata__reader *reader, const char *field, uint32_t limit,
                                struct strata__string *out);

/* Maps `path` and reads header and metadata; on failure close the shard all the same. */
strata_status strata__shard_open(struct strata__shard *shard, const char *path);
void strata__shard_close(struct strata__shard *shard);

/* Opens `path` and, when it is a shard, its companions: sets shards and shard_count, header and
 * metadata read.  On failure close the shards all the same. */
strata_status strata__shards_open(strata_file *file, const char *path);

/* Reads the tensor tables of all shards (metadata read before) and checks where the data lies.
 * `layers` is the limit of the index in "blk.N."; on failure free the tables all the same. */
strata_status strata__tensors_open(strata_file *file, uint64_t layers,
                                   const struct strata__gguf_log *log);

/* The key, or NULL; typed look-ups as in gguf.h, in one shard. */
const struct strata__key *strata__shard_key(const struct strata__shard *shard, const char *key);
strata_status strata__shard_u64(const struct strata__shard *shard, const char *key, uint64_t *out,
                                bool *found);

/* Bytes of a value of this type; 0 for strings and arrays.  type < STRATA__META_TYPE_COUNT. */
uint32_t strata__meta_type_bytes(uint32_t type);
/* "UINT32", as the specification names it. */
const char *strata__meta_type_name(uint32_t type);

#endif

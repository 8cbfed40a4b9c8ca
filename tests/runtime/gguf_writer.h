/* Writes GGUF files for tests: small models, and files with one field broken.
 *
 *   struct gguf_writer w;
 *   gguf_begin(&w, 3);
 *   gguf_key_string(&w, "general.architecture", "llama");
 *   gguf_tensor(&w, "output.weight", STRATA_TYPE_F32, 2, (uint64_t[]){8, 4}, values);
 *   gguf_finish(&w);
 *   gguf_put_u32(&w, gguf_tensor_at(&w, 0).n_dims, 5);    (now it is broken)
 *   gguf_save(&w, path);
 *   gguf_free(&w);
 *
 * Layout after the GGUF specification, versions 2 and 3.  Nothing is checked: what is asked for is
 * written.  A call that cannot do its work (no memory, no disk) ends the program with a message.
 */
#ifndef GGUF_WRITER_H
#define GGUF_WRITER_H

#include "gguf.h"

struct gguf_buffer {
    unsigned char *bytes;
    size_t size, capacity;
};

struct gguf_writer {
    struct gguf_buffer file; /* complete after gguf_finish */
    uint32_t version, alignment;
    size_t n_keys, n_tensors, data_at;
    struct gguf_buffer keys, tensors, data;       /* the three sections */
    struct gguf_buffer key_starts, tensor_starts; /* size_t each: offsets in their section */
};

/* An empty file of this version; alignment 32 until gguf_align. */
void gguf_begin(struct gguf_writer *w, uint32_t version);
void gguf_free(struct gguf_writer *w);

/* ---- Metadata, written in the order of the calls ---- */

/* A key with any type word and the bytes of its value as they are. */
void gguf_key_raw(struct gguf_writer *w, const char *key, uint32_t type, const void *value,
                  size_t size);
void gguf_key_u32(struct gguf_writer *w, const char *key, uint32_t value);
void gguf_key_u64(struct gguf_writer *w, const char *key, uint64_t value);
void gguf_key_i32(struct gguf_writer *w, const char *key, int32_t value);
void gguf_key_f32(struct gguf_writer *w, const char *key, float value);
void gguf_key_bool(struct gguf_writer *w, const char *key, bool value);
void gguf_key_string(struct gguf_writer *w, const char *key, const char *value);
/* An array of `count` values of a fixed-size type, `size` bytes in all. */
void gguf_key_array(struct gguf_writer *w, const char *key, enum strata__meta_type type,
                    uint64_t count, const void *values, size_t size);
void gguf_key_strings(struct gguf_writer *w, const char *key, uint64_t count,
                      const char *const *strings);
/* The same for bytes with NULs in them. */
void gguf_key_byte_strings(struct gguf_writer *w, const char *key, uint64_t count,
                           const struct strata__string *strings);
/* Sets the alignment of what follows and writes general.alignment. */
void gguf_align(struct gguf_writer *w, uint32_t alignment);

/* ---- Tensors ---- */

/* Appends a tensor; shape in GGUF order (row length first), `data` of the type's size, NULL for
 * zeros.  Returns its index. */
size_t gguf_tensor(struct gguf_writer *w, const char *name, enum strata_type type, unsigned n_dims,
                   const uint64_t *shape, const void *data);
/* Leaves `bytes` of unused data before the next tensor. */
void gguf_hole(struct gguf_writer *w, size_t bytes);

/* ---- The file ---- */

/* Puts the sections together into `file`: header, keys, tensor table, padding, data.  Tensors and
 * keys may be added no more. */
void gguf_finish(struct gguf_writer *w);

/* Offsets in the finished file of the fields of key i, and of tensor i; read them before anything
 * is broken. */
struct gguf_key_at {
    size_t key; /* length of the key */
    size_t text, type, value;
};
struct gguf_key_at gguf_key_at(const struct gguf_writer *w, size_t i);
struct gguf_tensor_at {
    size_t name; /* length of the name */
    size_t text, n_dims, shape, type, offset;
};
struct gguf_tensor_at gguf_tensor_at(const struct gguf_writer *w, size_t i);

/* Overwrites, reads, and changes the length of the finished file. */
void gguf_put_u32(struct gguf_writer *w, size_t at, uint32_t value);
void gguf_put_u64(struct gguf_writer *w, size_t at, uint64_t value);
uint64_t gguf_get_u64(const struct gguf_writer *w, size_t at);
void gguf_resize(struct gguf_writer *w, size_t size); /* new bytes are 0 */

/* Writes the file, replacing what was there. */
void gguf_save(const struct gguf_writer *w, const char *path);

#endif

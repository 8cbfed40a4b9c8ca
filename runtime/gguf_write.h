/* Writing a GGUF file.
 *
 *   strata__gguf_write_open(&w, path)
 *   strata__gguf_write_string(w, "general.architecture", "llama") ...   all metadata and, in the
 *   strata__gguf_write_tensor(w, "token_embd.weight", ...) ...          order of their data, all
 *                                                                       tensors
 *   strata__gguf_write_data(w, values, bytes) ...                       the data of each in turn
 *   strata__gguf_write_finish(&w)
 *
 * Everything goes to a temporary file in the folder of `path`, which takes its name when it is
 * whole: a file that is there stays as it is until then, and nothing is left behind by an error or
 * strata__gguf_write_abort.  Metadata and the tensor table are in memory until the first data; data
 * are not kept.
 *
 * Format: the GGUF specification (ggml, docs/gguf.md), version 3, little-endian, alignment 32.
 *
 * Threads: one writer is used by one thread at a time.  Errors of all calls: E_NOMEM; E_IO with the
 * path and the system's reason (also a full disk); E_INTERNAL: the calls are not in the order
 * above, or data and tensor table do not agree.  After an error, abort is the one call left to
 * make.
 */
#ifndef STRATA_GGUF_WRITE_H
#define STRATA_GGUF_WRITE_H

#include "gguf.h"

struct strata__gguf_writer;

/* Makes the temporary file (new_file.h).  E_INVALID: path
 * is empty or ends in '/'; E_IO also: something is there that is not a plain file. */
strata_status strata__gguf_write_open(struct strata__gguf_writer **out, const char *path);

/* E_INVALID when `path` is one of the files that `file` is read from: it is not to be replaced. */
strata_status strata__gguf_write_check(const strata_file *file, const char *path);

/* Metadata.  Keys are given once each; strings may hold any bytes. */
strata_status strata__gguf_write_u32(struct strata__gguf_writer *w, const char *key,
                                     uint32_t value);
strata_status strata__gguf_write_u64(struct strata__gguf_writer *w, const char *key,
                                     uint64_t value);
strata_status strata__gguf_write_f32(struct strata__gguf_writer *w, const char *key, float value);
strata_status strata__gguf_write_bool(struct strata__gguf_writer *w, const char *key, bool value);
strata_status strata__gguf_write_string(struct strata__gguf_writer *w, const char *key,
                                        struct strata__string value);

/* An array of `count` values of a type of fixed size (no strings, no arrays). */
strata_status strata__gguf_write_array(struct strata__gguf_writer *w, const char *key,
                                       enum strata__meta_type type, const void *values,
                                       uint64_t count);
strata_status strata__gguf_write_strings(struct strata__gguf_writer *w, const char *key,
                                         const struct strata__string *strings, uint64_t count);

/* The metadata `index` (below strata__meta_count) of an open file, of any type, as it is there.
 * What it says of that file's layout (general.alignment, split.*) is left out: it is not true of
 * this one. */
strata_status strata__gguf_write_copy(struct strata__gguf_writer *w, const strata_file *file,
                                      uint32_t index);

/* Declares the next tensor: shape[0..n_dims) in GGUF order, as in struct strata__tensor.
 * E_INVALID: a name or shape that the format does not allow (also a row length that is not a
 * multiple of the type's block). */
strata_status strata__gguf_write_tensor(struct strata__gguf_writer *w, const char *name,
                                        enum strata_type type, unsigned n_dims,
                                        const uint64_t *shape);

/* The next `bytes` bytes of the tensor whose turn it is, any number up to what it lacks; the first
 * call writes the header. */
strata_status strata__gguf_write_data(struct strata__gguf_writer *w, const void *data,
                                      size_t bytes);

/* Checks that all data came, writes them through to the disk, and gives the file its name.  *w is
 * NULL afterwards, also when it fails. */
strata_status strata__gguf_write_finish(struct strata__gguf_writer **w);

/* Removes the temporary file.  NULL and a pointer to NULL are accepted. */
void strata__gguf_write_abort(struct strata__gguf_writer **w);

#endif

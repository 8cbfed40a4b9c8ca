/* What make_model puts its files together from: shapes, weights, vocabularies and their bytes. */
#ifndef STRATA_BENCH_MODEL_PARTS_H
#define STRATA_BENCH_MODEL_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block_formats.h"

#define MODEL_ALIGNMENT 32 /* of tensor data, GGUF's default */
#define MODEL_MOST_THREADS 256

/* Types of GGUF metadata values. */
enum { GGUF_U32 = 4, GGUF_I32 = 5, GGUF_F32 = 6, GGUF_STRING = 8, GGUF_ARRAY = 9 };

/* Prints a line on stderr, after the name of the program. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- The bytes of a file before the data of its tensors (make_model.c) ---- */

struct header {
    uint8_t *data;
    size_t size, room;
    uint64_t keys; /* how many of them are in it */
    bool failed;   /* memory ran out, and something is missing */
};

/* Room for so many bytes more at its end, which the caller writes; NULL when memory ran out. */
uint8_t *header_room(struct header *h, size_t size);
void header_u32(struct header *h, uint32_t value);
void header_u64(struct header *h, uint64_t value);
void header_f32(struct header *h, float value);
void header_text(struct header *h, const char *text); /* its length, then its bytes */

/* The next multiple of MODEL_ALIGNMENT. */
uint64_t model_aligned(uint64_t size);

/* ---- Types of weights (model_weights.c): one row each ---- */

struct weight_type {
    const char *name; /* "q4_k" */
    enum strata_type type;
    double deviation;          /* of a block's weights whose scale is 1 */
    double ratio;              /* see CENTRED there; 0: without a second scale */
    uint8_t scale_at, more_at; /* where the block has its scales */
    uint8_t keep, bits;        /* floats: random bits of the last byte, and the others */
};

/* The row `i`, NULL after the last one; the row of this name, NULL when there is none. */
const struct weight_type *weight_type_row(size_t i);
const struct weight_type *weight_type_named(const char *name);
const struct weight_type *weight_type_of(enum strata_type type);

/* Fills whole blocks with weights of a mean near 0 that deviate by some 0.02.  The same seed and
 * chunk give the same ones, another chunk independent ones. */
void fill_weights(uint8_t *out, const struct weight_type *row, size_t blocks, uint64_t seed,
                  uint64_t chunk);

/* ---- Shapes and their tensors (model_shapes.c) ---- */

struct model_shape;

const struct model_shape *model_shape_row(size_t i);
const struct model_shape *model_shape_named(const char *name);
const char *model_shape_name(const struct model_shape *shape);
uint32_t model_shape_vocab(const struct model_shape *shape);

/* The keys of a model of this shape, without its vocabulary's. */
void header_shape(struct header *h, const struct model_shape *shape, const char *type);

struct model_tensor {
    char name[48];
    uint64_t columns, rows; /* rows is 0 for a vector: norms and biases, all ones */
    enum strata_type type;
};

uint64_t model_tensor_bytes(const struct model_tensor *tensor);

/* All tensors with matrices of `type`, for free(), and how many; NULL when memory ran out. */
struct model_tensor *model_tensors(const struct model_shape *shape, const struct weight_type *type,
                                   size_t *n);

/* ---- Vocabularies (model_vocabulary.c) ---- */

/* Adds the tokenizer keys of the GGUF file at `path`, made up to `size` tokens with placeholders;
 * for NULL placeholders only.  False with a message on stderr. */
bool header_vocabulary(struct header *h, const char *path, uint32_t size);

/* ---- The file (model_file.c) ---- */

/* Writes beside `out`, an absolute name, and renames the whole file.  The same tensors and seed
 * give the same bytes on any number of threads.  Returns the exit status of the program, with a
 * message on stderr for a failure; then, and after a signal, `out` is as it was before. */
int model_file_write(const char *out, const struct header *h, const struct model_tensor *tensors,
                     size_t n, uint64_t seed, size_t threads);

#endif

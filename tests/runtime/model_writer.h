/* Writes small llama models for tests, with one thing changed. */
#ifndef MODEL_WRITER_H
#define MODEL_WRITER_H

#include "gguf_fixture.h"

/* As architecture "openelm": with attn_qkv and norms of heads.  Two layers, embedding 32, four
 * heads over two, feed-forward 64, 8 tokens, context 128; weights are small numbers that follow
 * from their place.  Changes, each by key or tensor name: */
struct model_spec {
    const char *architecture;    /* NULL: "llama" */
    const char *without;         /* a key or tensor that is left out, or NULL */
    const char *key;             /* a key written with another value, or added; NULL: none */
    enum strata__meta_type type; /* U32, U64, F32, STRING or ARRAY */
    uint64_t number;             /* its value; for F32 the bits of a float */
    const char *text;
    enum strata__meta_type element; /* of an array: a type of four bytes */
    int32_t elements[4];            /* their bits */
    uint32_t count;
    const char *reshaped;      /* a tensor whose rows are doubled, or NULL */
    const char *poisoned;      /* a tensor whose values are all NaN, or NULL */
    const char *retyped;       /* a tensor written as I8, or NULL */
    const char *extra;         /* a vector that is added, or NULL */
    const float *rope_factors; /* rope_freqs.weight (4 values), or NULL */
    uint32_t context, window;  /* 0: 128, and no key */
    uint32_t layers;           /* 0: 2 */
};

/* Saves the model under `name` in the test's folder and returns its path. */
const char *model_write(const struct model_spec *spec, const char *name);

#endif

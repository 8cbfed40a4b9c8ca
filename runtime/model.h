/* A loaded model: hyper-parameters, and its layers as one list of steps.
 *
 * An architecture (arch_*.c) reads its metadata keys and tensors and writes the steps; everything
 * after that is common.  Steps are data: forward.c executes them on the CPU, other devices
 * translate them.  Every step works on all tokens of a chunk and ends with a barrier.
 */
#ifndef STRATA_MODEL_H
#define STRATA_MODEL_H

#include <stdatomic.h>

#include "gguf.h"
#include "packed_weights.h"
#include "runtime.h"

/* Activation matrices of a chunk, one row a token. */
enum strata__buffer {
    STRATA__BUF_X,      /* residual stream, embedding wide */
    STRATA__BUF_Q,      /* queries, heads * head_dim */
    STRATA__BUF_K,      /* keys, kv_heads * head_dim */
    STRATA__BUF_V,      /* values, likewise */
    STRATA__BUF_MIX,    /* attention's result, as wide as Q */
    STRATA__BUF_GATE,   /* feed-forward, ffn wide */
    STRATA__BUF_UP,     /* likewise */
    STRATA__BUF_DELTA,  /* what a step adds to X, embedding wide */
    STRATA__BUF_LOGITS, /* vocab wide */
    STRATA__BUF_COUNT
};

enum strata__step_kind {
    STRATA__STEP_PROJECT,    /* out[i] = product[i] * norm(in), then combine */
    STRATA__STEP_ROPE_STORE, /* rotates Q and K, stores K and V in the cache */
    STRATA__STEP_ATTEND,     /* MIX = attention of Q over the cache */
};

enum strata__combine {
    STRATA__KEEP,      /* outputs stay as they are */
    STRATA__ADD_TO_X,  /* X += outputs[0]; the output buffer holds the addend */
    STRATA__SILU_GATE, /* outputs[0] = silu(outputs[0]) * outputs[1]; both as wide */
};

struct strata__product {
    const struct strata__tensor *weight;
    const unsigned char *panels; /* packed, for block types, else NULL (strata__packed_open) */
    const float *bias;           /* or NULL */
    enum strata__buffer out;
};

struct strata__step {
    enum strata__step_kind kind;
    unsigned layer;
    enum strata__buffer in;       /* PROJECT */
    const float *norm;            /* RMSNorm weight applied to `in` first, or NULL */
    enum strata__combine combine; /* PROJECT */
    unsigned products;            /* PROJECT: 1 .. 3 */
    struct strata__product product[3];
};

struct strata__hparams {
    unsigned layers, embedding, ffn, heads, kv_heads, head_dim, vocab, context;
    float norm_eps;
    unsigned window;     /* positions that a token sees, its own among them; 0: all before it */
    unsigned rope_pairs; /* dimensions rotated / 2 */
    bool rope_neox;      /* else adjacent pairs */
};

struct strata_model {
    _Atomic unsigned refs;
    strata_runtime *runtime;
    strata_file *file;
    strata_tokenizer *tokenizer;
    strata_compute compute;
    bool no_weights; /* only to be described */
    struct strata__hparams hp;
    struct strata__step *steps; /* layers' steps in order; the last one is the output head */
    size_t n_steps;
    struct strata__packed_weights packed;
    const struct strata__tensor *embedding;
    double *rope_frequency; /* rope_pairs values: radians a position */
    float **vectors;        /* norm weights and biases as float */
    size_t n_vectors, vector_capacity;
    size_t n_used; /* tensors that the architecture took */
};

/* An architecture: its GGUF name and the function that fills hp, embedding, rope_frequency and
 * steps.  E_FORMAT for files that contradict themselves, E_UNSUPPORTED for what strata lacks. */
struct strata__arch {
    const char *name;
    strata_status (*build)(struct strata_model *model, const struct strata__arch *arch);
    bool rope_neox;
};

/* The architecture with this name, or NULL.  names[] of all, for messages: strata__arch_names. */
const struct strata__arch *strata__arch_find(const char *name);
const char *strata__arch_names(char *out, size_t cap);

/* For architectures.  The required weight `name` of rows x cols, of a type that this runtime can
 * multiply with (else E_UNSUPPORTED naming tensor and type). */
strata_status strata__model_weight(struct strata_model *model, const char *name, uint64_t rows,
                                   uint64_t cols, const struct strata__tensor **out);

/* A vector of n elements of any float type, as floats owned by the model.  An absent one is
 * E_FORMAT, or *out = NULL when `optional`. */
strata_status strata__model_vector(struct strata_model *model, const char *name, uint64_t n,
                                   bool optional, const float **out);

/* Reads the metadata key ARCH.`key` as an integer in [low, high]; absent: the present *out when
 * `optional`, else E_FORMAT.  Out of range: E_FORMAT with value and limits. */
strata_status strata__model_key(struct strata_model *model, const char *key, unsigned low,
                                unsigned high, bool optional, unsigned *out);

/* True when products with this weight take 8-bit activations in this model. */
bool strata__model_uses_q8(const struct strata_model *model, const struct strata__tensor *weight);

#endif

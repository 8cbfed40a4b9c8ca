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
    STRATA__STEP_POOL,       /* the last step of an encoder: one vector for each sequence */
};

/* What becomes of a step's input rows first, one after the other. */
enum strata__prelude_kind {
    STRATA__AS_IT_IS,
    STRATA__RMS_NORM,   /* the input is rms_norm(in, weight); `in` stays */
    STRATA__LAYER_NORM, /* in = layer_norm(in [+ DELTA + addend], weight, bias) */
    STRATA__GELU,       /* in = gelu(in + addend) */
};

/* Bias vectors that the step before left out are added here, where a row is in the cache. */
struct strata__prelude {
    enum strata__prelude_kind kind;
    const float *weight, *bias; /* of the norm */
    const float *addend;        /* as wide as the input; LAYER_NORM: NULL where there is no DELTA */
};

/* How an encoder makes one vector of a sequence's rows (Reimers & Gurevych 2019). */
enum strata__pooling { STRATA__POOL_MEAN, STRATA__POOL_FIRST, STRATA__POOL_LAST };

enum strata__combine {
    STRATA__KEEP,      /* outputs stay as they are */
    STRATA__ADD_TO_X,  /* X += outputs[0]; the output buffer holds the addend */
    STRATA__SILU_GATE, /* outputs[0] = silu(outputs[0]) * outputs[1]; both as wide */
};

struct strata__product {
    const struct strata__tensor *weight; /* shape and type; the elements are: */
    const unsigned char *panels;         /* packed, or NULL: */
    const unsigned char *rows;           /* float rows as in the file */
    enum strata_type type;               /* of panels or rows; all three by strata__packed_open */
    const float *bias;                   /* or NULL */
    enum strata__buffer out;
};

struct strata__step {
    enum strata__step_kind kind;
    unsigned layer;
    enum strata__buffer in;         /* PROJECT, POOL */
    struct strata__prelude prelude; /* PROJECT, POOL */
    enum strata__combine combine;   /* PROJECT */
    unsigned products;              /* PROJECT: 1 .. 3; else 0 */
    struct strata__product product[3];
    const float *q_norm, *k_norm; /* ROPE_STORE, ATTEND: RMS norms of each head before it is
                                   * rotated, or NULL */
};

/* What layers may have different numbers of. */
struct strata__layer_shape {
    unsigned heads, kv_heads, ffn;
};

struct strata__hparams {
    unsigned layers, embedding, head_dim, vocab, context;
    unsigned heads, kv_heads, ffn;     /* the greatest of all layers, which buffers have room for */
    struct strata__layer_shape *shape; /* [layers] */
    float norm_eps;
    unsigned window;     /* positions that a token sees, its own among them; 0: all before it */
    unsigned rope_pairs; /* dimensions rotated / 2 */
    bool rope_neox;      /* else adjacent pairs */
    bool encoder;        /* tokens see all of their sequence, and nothing is kept of them */
    enum strata__pooling pooling; /* of an encoder */
    unsigned longest;             /* sequence of an encoder, special tokens included */
};

struct strata_model {
    _Atomic unsigned refs;
    strata_runtime *runtime;
    strata_file *file;
    strata_tokenizer *tokenizer;
    strata_compute compute;
    bool no_weights; /* only to be described */
    char name[64];   /* in the ledger */
    /* What is charged for it: weights; keys, values and activations; tokenizer and all else. */
    struct strata__scope for_weights, for_context, for_rest;
    struct strata__hparams hp;
    struct strata__step *steps; /* layers' steps in order; the last one is the output head */
    size_t n_steps;
    struct strata__residency *residency; /* where each layer lives (residency.h) */
    struct strata__packed_weights packed;
    const struct strata__tensor *embedding;
    const struct strata__tensor *position_embedding; /* added to it, or NULL */
    const float *type_embedding;                     /* likewise: of the first token type */
    double *rope_frequency;                          /* rope_pairs values: radians a position */
    float **vectors;                                 /* norm weights and biases as float */
    size_t n_vectors, vector_capacity;
    struct strata__tensor *slices; /* rows of a tensor that are a weight of their own, or NULL */
    size_t n_slices;
    size_t n_used;                   /* tensors that the architecture took */
    struct strata__encoder *encoder; /* what strata_embed works with (embed.c), or NULL */
};

/* An architecture: its GGUF name and the function that fills hp, embedding, rope_frequency and
 * steps.  E_FORMAT for files that contradict themselves, E_UNSUPPORTED for what strata lacks. */
struct strata__arch {
    const char *name;
    strata_status (*build)(struct strata_model *model, const struct strata__arch *arch);
    bool rope_neox;
    bool fused_qkv;  /* attn_q, attn_k and attn_v are rows of one tensor */
    bool head_norms; /* of queries and keys */
};

extern const struct strata__arch strata__arch_llama, strata__arch_qwen2, strata__arch_openelm,
    strata__arch_bert;

/* For architectures.  The required weight `name` of rows x cols, of a type that this runtime can
 * multiply with (else E_UNSUPPORTED naming tensor and type). */
strata_status strata__model_weight(struct strata_model *model, const char *name, uint64_t rows,
                                   uint64_t cols, const struct strata__tensor **out);

/* A vector of n elements of any float type, as floats owned by the model.  An absent one is
 * E_FORMAT, or *out = NULL when `optional`. */
strata_status strata__model_vector(struct strata_model *model, const char *name, uint64_t n,
                                   bool optional, const float **out);

/* The first row, of n elements, of a required table of any float type; owned by the model. */
strata_status strata__model_row(struct strata_model *model, const char *name, uint64_t n,
                                const float **out);

/* Reads the metadata key ARCH.`key` as an integer in [low, high]; absent: the present *out when
 * `optional`, else E_FORMAT.  Out of range: E_FORMAT with value and limits. */
strata_status strata__model_key(struct strata_model *model, const char *key, unsigned low,
                                unsigned high, bool optional, unsigned *out);

/* The same of a key that has one integer for all layers, or an array of one for each. */
strata_status strata__model_layer_key(struct strata_model *model, const char *key, unsigned layer,
                                      unsigned low, unsigned high, bool optional, unsigned *out);

/* Makes hp.shape, in which all layers are as hp says. */
strata_status strata__model_shapes(struct strata_model *model);

/* Appends a step to model->steps, which has room for it. */
struct strata__step *strata__model_step(struct strata_model *model, enum strata__step_kind kind,
                                        unsigned layer, enum strata__buffer in,
                                        enum strata__combine combine);

/* Appends a product of `step` with the weight blk.LAYER.NAME.weight and the bias beside it: an
 * optional one that is the product's, or with `bias` a required one that goes there. */
strata_status strata__model_product(struct strata_model *model, struct strata__step *step,
                                    const char *name, unsigned rows, unsigned cols,
                                    enum strata__buffer out, const float **bias);

/* Appends products of `step` with runs of the rows of blk.LAYER.NAME.weight, which follow each
 * other: three, for Q, K and V.  model->slices has room for them. */
strata_status strata__model_slices(struct strata_model *model, struct strata__step *step,
                                   const char *name, const unsigned rows[3], unsigned cols);

/* Reads ARCH.KEY, a float in [0, 1): the epsilon of a norm. */
strata_status strata__model_epsilon(struct strata_model *model, const char *key);

/* E_FORMAT: "PATH: RULE: found A and B". */
strata_status strata__model_broken(const struct strata_model *model, const char *rule, unsigned a,
                                   unsigned b);

/* Elements of a row of activations. */
size_t strata__buffer_width(const struct strata__hparams *hp, enum strata__buffer buffer);

/* True when this product takes 8-bit activations. */
static inline bool strata__product_uses_q8(const struct strata_model *model,
                                           const struct strata__product *product)
{
    return model->compute != STRATA_COMPUTE_F32 && product->panels;
}

#endif

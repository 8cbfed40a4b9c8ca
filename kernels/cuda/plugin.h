/* The CUDA plug-in as the runtime sees it: libstrata_cuda.so exports one function,
 * strata_cuda_entry, that returns a table.  No CUDA header is needed to include this.
 *
 * Versions.  `abi` and `size` come first and never move.  The runtime uses a table whose abi is its
 * own STRATA_CUDA_ABI and whose size is at least its own sizeof: a function appended to the table
 * raises the size, any other change the abi.
 *
 * Errors.  Functions return 0, or another number (strata_cuda_status) after writing a sentence
 * without a full stop (at most `capacity` bytes with its terminator) to `message`.  No function
 * exits, aborts, prints or throws.  Threads: any; of one context `run` once at a time, all others
 * beside it. */
#ifndef STRATA_CUDA_PLUGIN_H
#define STRATA_CUDA_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#define STRATA_CUDA_ABI 5u
#define STRATA_CUDA_LIBRARY "libstrata_cuda.so"
#define STRATA_CUDA_ENTRY "strata_cuda_entry"

/* A device that the CUDA driver shows to this process. */
struct strata_cuda_device {
    char name[128]; /* terminated */
    uint32_t pci_domain, pci_bus, pci_device, pci_function;
    uint32_t compute_major, compute_minor; /* compute capability */
    uint64_t memory_bytes, memory_free_bytes;
    char blas[64]; /* terminated: the library of products of many tokens, or that there is none */
    uint32_t has_blas;
};

enum strata_cuda_status {
    STRATA_CUDA_OK,
    STRATA_CUDA_NO_MEMORY, /* the device has no room: freeing some helps */
    STRATA_CUDA_FAILED,    /* anything else: the device is not to be used any more */
};

/* ---- Work (run) ---- */

/* Rows of activations of a run's tokens, in its workspace. */
enum strata_cuda_buffer {
    STRATA_CUDA_X,      /* the residual stream, `embedding` wide */
    STRATA_CUDA_Q,      /* queries, heads * head_dim */
    STRATA_CUDA_K,      /* keys, kv_heads * head_dim */
    STRATA_CUDA_V,      /* values, likewise */
    STRATA_CUDA_MIX,    /* attention's result, as wide as Q */
    STRATA_CUDA_GATE,   /* ffn wide */
    STRATA_CUDA_UP,     /* likewise */
    STRATA_CUDA_DELTA,  /* what an encoder's next layer norm adds to X */
    STRATA_CUDA_LOGITS, /* vocab wide, of the last logit_rows tokens */
    STRATA_CUDA_BUFFERS
};

enum strata_cuda_combine {
    STRATA_CUDA_KEEP,     /* out = product */
    STRATA_CUDA_ADD_TO_X, /* X += product of the only one, in place of `out`; `in` is not X */
};

/* More tokens than these are many to the choice of a tile. */
#define STRATA_CUDA_FEW_TOKENS 64u

/* out = weights * in: panels of packed weights (packed.h), or float rows as in a file. */
struct strata_cuda_product {
    const void *weights; /* of the device, like the other addresses but where it says "host" */
    uint32_t type;       /* GGUF id */
    uint32_t packed;
    uint32_t rows, cols;
    uint64_t row_bytes; /* of float rows */
    const float *bias;  /* or NULL */
    uint32_t out;       /* enum strata_cuda_buffer */
    /* Tokens from which it goes through cuBLAS, where that is, and up to which a packed one is
     * computed without tensor cores; 0: as the plug-in thinks best.  UINT32_MAX: never; always. */
    uint32_t blas_from, gemv_tokens;
    /* Tokens of the tile (`tiles`) that a packed one on tensor cores is computed by: with up to
     * STRATA_CUDA_FEW_TOKENS of them, and with more; 0: as the plug-in thinks best. */
    uint32_t tile_few, tile_many;
};

enum strata_cuda_kind {
    STRATA_CUDA_PROJECT,      /* out[i] = product[i] * prelude(in), combined */
    STRATA_CUDA_ROPE_STORE,   /* rotates Q and K, stores K and V in the cache */
    STRATA_CUDA_ATTEND,       /* MIX = attention of Q over the cache */
    STRATA_CUDA_ATTEND_SPANS, /* MIX = attention of Q over K and V of all of the token's span */
    STRATA_CUDA_POOL,         /* the last step: pooled vectors of prelude(in) */
};

/* What becomes of a step's input rows first. */
enum strata_cuda_prelude {
    STRATA_CUDA_AS_IT_IS,
    STRATA_CUDA_RMS_NORM,   /* rms_norm(in); `in` stays */
    STRATA_CUDA_SILU_GATE,  /* silu(in) * UP; `in` stays */
    STRATA_CUDA_LAYER_NORM, /* in = layer_norm(in [+ DELTA + addend]) */
    STRATA_CUDA_GELU,       /* gelu(in + addend); `in` is not looked at again */
};

/* What a span's rows become; a mean unless the first or the last row. */
enum strata_cuda_pooling { STRATA_CUDA_POOL_MEAN, STRATA_CUDA_POOL_FIRST, STRATA_CUDA_POOL_LAST };

struct strata_cuda_step {
    uint32_t kind, in, prelude, combine, products;
    const float *norm, *bias; /* of the prelude's norm; an RMS norm has no bias */
    const float *addend;      /* as wide as `in`; LAYER_NORM: NULL where there is no DELTA */
    struct strata_cuda_product product[3];
    uint32_t layer; /* of `kv`: the layers of a run are numbered from 0 on */
};

/* Successive tokens of one sequence, and where a layer keeps its keys and values: rows of positions
 * for each key/value head, `context` positions each. */
struct strata_cuda_span {
    uint32_t first, count;
    uint64_t position, context;
    uint32_t kv_q8; /* keys and values are Q8_0, else F16 */
};
struct strata_cuda_kv {
    void *keys, *values;
};

/* The tokens of a run whose only span is some of a tree's: each sees the positions before the
 * tree's, and of these its ancestors' and its own, which caches hold in preorder. */
struct strata_cuda_tree {
    uint64_t from;         /* the position of the tree's first token */
    const uint32_t *until; /* host: the end of the subtree of each token, from the tree's first to
                            * the span's last; its own row where nobody sees it */
    /* host: what comes of the output head, in place of logits: the log-probabilities after token t
     * of next[first[t]] .. next[first[t + 1] - 1], in the same places of `logprob` */
    const uint32_t *first; /* [tokens + 1] */
    const int32_t *next;
    float *logprob;
};

/* One of the greatest logits of a row. */
struct strata_cuda_candidate {
    int32_t id;
    float logit;
};

/* How one of a row's `top_k` best is drawn (draw.h): at least 1; above n_best, of these. */
struct strata_cuda_draw {
    uint32_t top_k;
    float temperature, top_p, min_p;
    double random;
};

struct strata_cuda_run {
    uint32_t tokens, embedding, ffn, heads, kv_heads, head_dim, vocab;
    uint32_t rope_pairs, rope_neox; /* rotated dimensions / 2; else adjacent pairs */
    uint32_t window;                /* positions that a token sees; 0: all before it */
    uint32_t q8;                    /* packed weights take 8-bit activations */
    float norm_eps;
    const struct strata_cuda_span *spans; /* host */
    uint32_t n_spans;
    const struct strata_cuda_step *steps; /* host */
    uint32_t n_steps, n_layers;
    const struct strata_cuda_kv *kv; /* host: [n_layers][n_spans]; NULL: there are no caches */
    float *x;                        /* host: rows of X, before, and after unless the run pools */
    float *delta;                    /* host: rows of DELTA, likewise, or NULL */
    uint32_t pooling;                /* enum strata_cuda_pooling */
    float *pooled;                   /* host: a row, as wide as X, for each span, or NULL */
    const float *rope;               /* host: [tokens][2 * rope_pairs], cos and sin */
    float *logits;                   /* host: rows of logits */
    uint32_t logit_rows;
    void *workspace; /* of workspace_bytes */
    void *mirror;    /* host: pinned memory of mirror_bytes, that crosses the link */
    /* host: instead of the logits the n_best (1 .. 256, at most vocab; 0: logits) greatest of each
     * row, greater first, the lower id first among equals; the id of a row's first is -1 where one
     * of its logits is not finite */
    struct strata_cuda_candidate *best;
    uint32_t n_best;
    /* host: tokens, whose rows of the table (`embedding` columns) X begins with; NULL: `x` */
    const int32_t *ids;
    struct strata_cuda_product table; /* `bias` and `out` are not looked at */
    uint32_t x_stays;                 /* nobody needs X after the run: it is not copied to `x` */
    /* host: one for each row of logits, whose `best` is then a single one: that which is drawn from
     * n_best (not 0); its id is -1 where a logit of the row is not finite.  NULL: all of them */
    const struct strata_cuda_draw *draws;
    const struct strata_cuda_tree *tree; /* host, or NULL; logit_rows is then `tokens` */
};

struct strata_cuda_context; /* a device in use */

/* ---- Kernels, one by one (rows) ---- */

#define STRATA_CUDA_NO_TYPE UINT32_MAX

/* Two sizes of a call; what they are say n_name and m_name. */
struct strata_cuda_shape {
    uint32_t n, m;
};

/* A kernel.  All strings are static. */
struct strata_cuda_row {
    const char *name;                       /* "packed_q8_Q4_0_cuda", by the grammar of kernels.h */
    const char *op;                         /* "packed_q8" */
    uint32_t type;                          /* GGUF id, or STRATA_CUDA_NO_TYPE */
    uint32_t needs_blas;                    /* it serves products through cuBLAS alone */
    const char *n_name, *m_name;            /* "k", "m"; m_name NULL: shapes have no m */
    const struct strata_cuda_shape *shapes; /* to measure; the first is a small one, to try it */
    uint32_t n_shapes;
};

#define STRATA_CUDA_MAX_TILES 8

/* A shape of packed products on tensor cores. */
struct strata_cuda_tile {
    uint32_t tokens; /* that a block takes: a multiple of 8 */
    const char *op;  /* "packed_halves_64", of its rows; of "packed_halves" the plug-in chooses */
};

/* What a call of a kernel took, and the bytes that it reads and writes, each counted once, and its
 * operations (a multiply-add is two). */
struct strata_cuda_cost {
    double seconds, bytes, ops;
};

struct strata_cuda_bench; /* memory of a device to measure kernels in, and a stream of its own */

struct strata_cuda_plugin {
    uint32_t abi;  /* STRATA_CUDA_ABI */
    uint32_t size; /* sizeof(struct strata_cuda_plugin) */

    /* Starts the driver; *count is the number of devices, 0 allowed.  Fails where there is no
     * driver, or an older one than the plug-in needs. */
    int (*device_count)(uint32_t *count, char *message, size_t capacity);

    /* What device `index` < count is, *device being zeroed before.  Fails when it cannot be used:
     * lost, forbidden, or of a compute capability that the plug-in has no code for; the PCI address
     * is filled then too, where it is known. */
    int (*device_info)(uint32_t index, struct strata_cuda_device *device, char *message,
                       size_t capacity);

    /* Computes a norm on the device and compares it with the known result. */
    int (*self_test)(uint32_t index, char *message, size_t capacity);

    /* Takes a device into use, until `close`. */
    int (*open)(uint32_t index, struct strata_cuda_context **out, char *message, size_t capacity);
    void (*close)(struct strata_cuda_context *context);

    /* Memory of the device, aligned to 256; copies that are finished when the call returns. */
    int (*alloc)(struct strata_cuda_context *context, size_t bytes, void **out, char *message,
                 size_t capacity);
    void (*free)(struct strata_cuda_context *context, void *memory);
    int (*upload)(struct strata_cuda_context *context, void *to, const void *from, size_t bytes,
                  char *message, size_t capacity);
    int (*download)(struct strata_cuda_context *context, void *to, const void *from, size_t bytes,
                    char *message, size_t capacity);
    int (*memory)(struct strata_cuda_context *context, uint64_t *free_bytes, uint64_t *total,
                  char *message, size_t capacity);

    /* Pinned memory of the host; and what an open context has of it for upload and download. */
    int (*pin)(struct strata_cuda_context *context, size_t bytes, void **out, char *message,
               size_t capacity);
    void (*unpin)(struct strata_cuda_context *context, void *memory);
    uint64_t staging_bytes;

    /* Bytes of a workspace and of a mirror for the run, whose own ones are not looked at. */
    uint64_t (*workspace_bytes)(const struct strata_cuda_run *run);
    uint64_t (*mirror_bytes)(const struct strata_cuda_run *run);

    /* Executes the steps; finished when it returns. */
    int (*run)(struct strata_cuda_context *context, const struct strata_cuda_run *run,
               char *message, size_t capacity);

    /* All kernels, each once. */
    const struct strata_cuda_row *rows;
    uint32_t n_rows;
    const struct strata_cuda_tile *tiles; /* of different tokens, at most STRATA_CUDA_MAX_TILES */
    uint32_t n_tiles;
    uint32_t blas_from, gemv_tokens; /* of packed products that do not say */

    /* Gets ready to measure kernels that read weights, keys and values from `bytes` of memory, call
     * after call further on: more than caches hold.  *copy: bytes that copying on the device reads
     * and writes a second.  One thread at a time uses a bench; other calls go on beside it. */
    int (*bench_open)(struct strata_cuda_context *context, uint64_t bytes,
                      struct strata_cuda_bench **out, double *copy, char *message, size_t capacity);
    void (*bench_close)(struct strata_cuda_bench *bench);

    /* Calls the kernel `row` < n_rows with random values `repeats` times after a call that does not
     * count; with 0 repeats it is not called, and has taken no time. */
    int (*bench_run)(struct strata_cuda_bench *bench, uint32_t row, struct strata_cuda_shape shape,
                     uint32_t repeats, struct strata_cuda_cost *cost, char *message,
                     size_t capacity);
};

typedef const struct strata_cuda_plugin *strata_cuda_entry_fn(void);

#endif

/* Executes a model's steps for one chunk of tokens. */
#ifndef STRATA_FORWARD_H
#define STRATA_FORWARD_H

#include "kv_cache.h"
#include "model.h"

/* Tokens evaluated together, at most: long enough that unpacking a weight panel is spread over many
 * tokens, short enough that activations stay in the caches; and where all layers are on devices,
 * whose many processors want more. */
#define STRATA__CHUNK 512
#define STRATA__LONG_CHUNK 4096

/* Positions that a single token sees are cut into parts, which threads share and which are put
 * together in order: of 256 positions, of 512 or 1024 where there would be more than four, since
 * each part starts reading its stretch of memory anew.  Results depend on nothing but the
 * positions.
 */
#define STRATA__ATTENTION_PART 256
#define STRATA__ATTENTION_LONGEST_PART 1024
#define STRATA__ATTENTION_FEW_PARTS 4

/* Buffers for chunks of up to `tokens` tokens, and scratch for every thread.  Belongs to a session
 * or an encoder. */
struct strata__workspace {
    size_t tokens;
    size_t longest; /* chunk where all layers are on devices; less once such a one found no room */
    size_t rows;    /* of X, DELTA, rope, place and visible: at least `tokens` */
    float *buffer[STRATA__BUF_COUNT]; /* LOGITS is the caller's */
    size_t width[STRATA__BUF_COUNT];
    float *rope;       /* [rows][2 * rope_pairs]: cos, sin of each position */
    uint32_t *place;   /* [rows]: position of a token in its sequence */
    uint32_t *visible; /* [rows]: positions, from the first on, that it attends to */
    struct strata__input {
        float *norm; /* [tokens][widest input] */
        struct strata_q8_rows q8;
    } shared; /* prepared once for all threads (several tokens, or in place) */
    /* Attention of single tokens in parts: [span][head][part], head_dim sums each; the parts of a
     * span's key/value head that are done ([span][kv_head], 0 between steps). */
    struct strata__parts {
        float *sums, *largest, *denominator;
        _Atomic uint32_t *done;
        size_t each; /* parts that a head has room for; 0: none */
    } parts;
    struct strata__lane {
        struct strata__input input; /* one row: prepared by each thread for itself (one token) */
        float *queries;             /* of a key/value head, rotated: STRATA_ATTENTION_HEADS */
        void *scratch;
    } * lanes; /* one a thread */
    size_t n_lanes;
};

/* Frees with strata__workspace_close, also after a failure. */
strata_status strata__workspace_open(struct strata__workspace *workspace,
                                     const struct strata_model *model, size_t tokens,
                                     size_t context);
void strata__workspace_close(struct strata__workspace *workspace);

/* Room for `tokens` tokens (at most ws->longest) in the buffers that devices share with the host,
 * which lose what they hold.  E_NOMEM, E_BUDGET: those that there were serve as before. */
strata_status strata__workspace_extend(struct strata__workspace *workspace,
                                       const struct strata_model *model, size_t tokens);

/* Successive tokens of one sequence in a chunk; of an encoder all of it, without cache. */
struct strata__span {
    struct strata__kv_cache *kv;
    const _Atomic bool *cancel; /* or NULL */
    size_t first, count;        /* tokens of the chunk */
    size_t position;            /* of the first one; position + count <= kv->context */
};

/* Rows of logits that are computed together of a tree's tokens. */
#define STRATA__TREE_LOGITS 64

/* Tokens of a tree, in preorder, that chunks of one span each evaluate from the first to the last;
 * each sees what the cache has before the first one, its ancestors and, where it is seen at all,
 * itself. */
struct strata__tree {
    size_t from, count; /* token i is in row from + i of the cache */
    int32_t *ids;
    uint32_t *place; /* positions in their sequences */
    uint32_t *until; /* the rows behind their last descendants'; `from` of one that is not seen */
    /* The log-probabilities that are wanted after token i: those of the tokens next[first[i]] ..
     * next[first[i + 1] - 1] become logprob[first[i]] .. logprob[first[i + 1] - 1]. */
    uint32_t *first;
    int32_t *next;
    float *logprob;
};

struct strata__chunk {
    const struct strata_model *model;
    struct strata__workspace *workspace;
    struct strata__span *spans; /* in order, covering all tokens */
    size_t n_spans;
    const int32_t *ids; /* checked by the caller */
    size_t count;       /* 1 or more */
    float *logits;      /* rows of vocab floats for the last `logit_rows` tokens */
    size_t logit_rows;  /* 0 .. count */
    /* Or NULL: the only span is part of it, and logit_rows is count; there are STRATA__TREE_LOGITS
     * rows of logits, only to make its log-probabilities. */
    const struct strata__tree *tree;
    strata_candidate *candidates; /* [logit_rows][n_candidates]: what is wanted of the logits, */
    size_t n_candidates;          /* if not 0; `logits` are then only where they may be */
    const strata_draw *draws; /* [logit_rows], or NULL: `candidates` then has one a row, drawn from
                               * n_candidates of them (at least each top_k) */
    bool chosen;   /* set by a device that has filled in the candidates, and no logits: the id of a
                    * row's first is -1 where one of its logits is not finite */
    float *pooled; /* of an encoder instead: a row of embedding floats for each span */
    double *const *column_sums; /* or NULL: the squared inputs of each step's columns are added to
                                 * it (imatrix.c), of all tokens, the output head's too, which is
                                 * not computed; logit_rows is 0 */
    bool look_up; /* the device that runs the first layer embeds the tokens: the table of embeddings
                   * is the output head's weights, which it has; X has nothing before */
    bool find_bad_layer;       /* check the residual stream after every layer */
    _Atomic size_t stop_layer; /* set by the run: the layer at which it was cancelled or went bad */
};

/* Candidates that are left of each row of logits. */
static inline size_t strata__candidates_left(const struct strata__chunk *chunk)
{
    return chunk->draws ? 1 : chunk->n_candidates;
}

/* True when the last step, the output head, has something to do. */
static inline bool strata__needs_head(const struct strata__chunk *chunk)
{
    return chunk->model->hp.encoder || chunk->column_sums || chunk->logit_rows;
}

/* True when every sequence of the chunk has one token. */
static inline bool strata__is_decoding(const struct strata__chunk *chunk)
{
    return chunk->count == chunk->n_spans && !chunk->tree;
}

/* Number of the chunk's first token in its tree. */
static inline size_t strata__tree_at(const struct strata__chunk *chunk)
{
    return chunk->spans->position - chunk->tree->from;
}

static inline const struct strata_kernels *strata__kernels_of(const struct strata__chunk *chunk)
{
    const strata_runtime *runtime = chunk->model->runtime;
    return strata__is_decoding(chunk) ? &runtime->decode : &runtime->kernels;
}

static inline struct strata__threads *strata__pool_of(const struct strata__chunk *chunk)
{
    return chunk->model->runtime->threads;
}

static inline float *strata__row_of(const struct strata__chunk *chunk, enum strata__buffer buffer,
                                    size_t token)
{
    const struct strata__workspace *ws = chunk->workspace;
    return ws->buffer[buffer] + token * ws->width[buffer];
}

/* Rotates `heads` vectors at x by the position of token t; stores key and value of token t, of the
 * span, and key/value head h in the cache, the key rotated (attend.c). */
void strata__rope(const struct strata__chunk *chunk, size_t t, float *x, size_t heads);
void strata__store(const struct strata__chunk *chunk, const struct strata__step *step,
                   const struct strata__span *span, size_t t, size_t h);

/* True when all spans have one token and whoever attends to the newest position of a key/value head
 * can rotate and store it too, so that no step and barrier of its own is needed. */
static inline bool strata__attends_alone(const struct strata__chunk *chunk)
{
    const struct strata__hparams *hp = &chunk->model->hp;
    return !hp->encoder && strata__is_decoding(chunk) &&
           hp->heads / hp->kv_heads <= STRATA_ATTENTION_HEADS;
}

/* The attention step, by every thread of a run. */
void strata__attend(struct strata__chunk *chunk, const struct strata__step *step, unsigned thread);

/* Parts of an evaluation, by every thread of a run: the embeddings of the tokens, a step. */
void strata__embed_tokens(struct strata__chunk *chunk, unsigned thread);
void strata__run_step(struct strata__chunk *chunk, const struct strata__step *step,
                      unsigned thread);

/* Runs steps of whole layers on the CPU's threads; the tokens are embedded (evaluate.c). */
void strata__run_steps(struct strata__chunk *chunk, const struct strata__step *steps, size_t count);

/* Tokens of a chunk of the model, at most, while its layers are where they are now. */
size_t strata__chunk_tokens(const struct strata_model *model,
                            const struct strata__workspace *workspace);

/* Stores keys and values of the tokens and computes the logits or candidates; of an encoder,
 * computes the pooled vectors.  A chunk that is longer than can be evaluated together is cut: what
 * is left of it then (count, spans, of an encoder whole ones, and logit_rows) was evaluated, and
 * the rest is for the caller to go on with.  Every key/value cache of the spans is where the
 * model's layers are (residency.h). E_CANCELLED when a span's *cancel became true (within two
 * layers; nothing is to be used then); E_FORMAT naming the first layer whose result is not finite
 * when the logits (vectors) are not; E_DEVICE (without a message) when caches of the spans were on
 * a device that was lost, now or before: its layers are on the host, and those caches (kv.lost) are
 * to be settled (residency.h) and evaluated again.  A device that lacks room for a run, or that is
 * lost without a cache, only has its layers moved. */
strata_status strata__forward(struct strata__chunk *chunk);

#endif

/* Attention of a chunk over the caches of its sequences, cut into items that threads claim.
 *
 * Several tokens of a sequence are cut into tiles.  A single token, whose work is to read the
 * cache, is cut into parts of its positions, of fixed size; the heads that share keys and values
 * are taken together, so that each row is read once.  Whatever the cut, results depend on neither
 * threads nor the other sequences. */
#include <math.h>
#include <string.h>

#include "forward.h"

static size_t clip(size_t value, size_t limit)
{
    return value < limit ? value : limit;
}

void strata__rope(const struct strata__chunk *chunk, size_t t, float *x, size_t heads)
{
    const struct strata__hparams *hp = &chunk->model->hp;
    const struct strata_kernels *kernels = strata__kernels_of(chunk);
    const float *cs = chunk->workspace->rope + t * 2 * hp->rope_pairs;
    (hp->rope_neox ? kernels->rope_neox : kernels->rope_norm)(x, cs, heads, hp->head_dim,
                                                              hp->rope_pairs);
}

void strata__store(const struct strata__chunk *chunk, const struct strata__step *step,
                   const struct strata__span *span, size_t t, size_t h)
{
    size_t dim = chunk->model->hp.head_dim;
    float *k = strata__row_of(chunk, STRATA__BUF_K, t) + h * dim;
    const float *v = strata__row_of(chunk, STRATA__BUF_V, t) + h * dim;
    const struct strata__kv_layer *layer = &span->kv->layer[step->layer];
    size_t at = strata__kv_at(span->kv, h, span->position + t - span->first);
    strata_encode_fn *encode = strata__kernels_of(chunk)->encode[span->kv->type];
    strata__rope(chunk, t, k, 1);
    encode(layer->keys + at, k, dim);
    encode(layer->values + at, v, dim);
}

/* How the attention of a span is cut: several tokens into tiles, one token into parts of its
 * positions; and into groups of the query heads that share a key/value head. */
struct cut {
    size_t tile, tiles, group, groups;
    size_t part, parts; /* positions of a part; parts: 1 when the token's positions are not cut */
};

/* The first position that the only token of a span sees. */
static size_t first_seen(const struct strata__chunk *chunk, const struct strata__span *span)
{
    size_t window = chunk->model->hp.window;
    return window && span->position >= window ? span->position + 1 - window : 0;
}

/* Positions of a part, of `seen` positions. */
static size_t part_of(size_t seen)
{
    size_t part = STRATA__ATTENTION_PART;
    while (part < STRATA__ATTENTION_LONGEST_PART && seen > STRATA__ATTENTION_FEW_PARTS * part)
        part *= 2;
    return part;
}

static struct cut cut_of(const struct strata__chunk *chunk, const struct strata__span *span)
{
    const struct strata__hparams *hp = &chunk->model->hp;
    size_t share = hp->heads / hp->kv_heads; /* query heads a key/value head */
    bool single = span->count == 1 && !chunk->tree;
    struct cut cut = {.group = clip(share, single ? STRATA_ATTENTION_HEADS : STRATA_ATTENTION_ROWS),
                      .parts = 1};
    cut.groups = (share + cut.group - 1) / cut.group;
    cut.tile = STRATA_ATTENTION_ROWS / cut.group;
    cut.tiles = (span->count + cut.tile - 1) / cut.tile;
    if (single) {
        size_t seen = span->position + 1 - first_seen(chunk, span);
        cut.part = part_of(seen);
        cut.parts = (seen - 1) / cut.part + 1;
    }
    return cut;
}

/* The call for the tokens of a span from `begin` on (of the span) and the query heads from `sub` on
 * of a key/value head. */
static struct strata_attention attention_of(const struct strata__chunk *chunk,
                                            const struct strata__step *step,
                                            const struct strata__span *span, const struct cut *cut,
                                            size_t begin, size_t kv_head, size_t sub)
{
    const struct strata__hparams *hp = &chunk->model->hp;
    const struct strata__workspace *ws = chunk->workspace;
    size_t share = hp->heads / hp->kv_heads, first = span->first + begin;
    size_t column = (kv_head * share + sub) * hp->head_dim;
    struct strata_attention a = {
        .out = strata__row_of(chunk, STRATA__BUF_MIX, first) + column,
        .out_token_stride = ws->width[STRATA__BUF_MIX],
        .out_head_stride = hp->head_dim,
        .q = strata__row_of(chunk, STRATA__BUF_Q, first) + column,
        .q_token_stride = ws->width[STRATA__BUF_Q],
        .q_head_stride = hp->head_dim,
        .visible = ws->visible + first,
        .window = hp->window ? hp->window : SIZE_MAX,
        .tokens = clip(cut->tile, span->count - begin),
        .heads = clip(cut->group, share - sub),
        .head_dim = hp->head_dim,
        .scale = 1 / sqrtf((float)hp->head_dim),
    };
    if (hp->encoder) {
        a.k = strata__row_of(chunk, STRATA__BUF_K, span->first) + kv_head * hp->head_dim;
        a.v = strata__row_of(chunk, STRATA__BUF_V, span->first) + kv_head * hp->head_dim;
        a.k_stride = a.v_stride = ws->width[STRATA__BUF_K] * sizeof(float);
    } else {
        const struct strata__kv_layer *layer = &span->kv->layer[step->layer];
        size_t at = strata__kv_at(span->kv, kv_head, 0);
        a.k = layer->keys + at;
        a.v = layer->values + at;
        a.k_stride = a.v_stride = span->kv->row_bytes;
    }
    if (chunk->tree) { /* of which a window would hide nothing */
        a.window = SIZE_MAX;
        a.until = chunk->tree->until;
        a.tree = chunk->tree->from;
        a.row = span->position + begin;
    }
    return a;
}

/* How the keys and values that a span attends to are kept. */
static enum strata_type kept_type(const struct strata__chunk *chunk,
                                  const struct strata__span *span)
{
    return chunk->model->hp.encoder ? STRATA_TYPE_F32 : span->kv->type;
}

/* Index of the first part of a head in workspace.parts. */
static size_t part_at(const struct strata__chunk *chunk, const struct strata__span *span,
                      size_t head)
{
    size_t index = (size_t)(span - chunk->spans);
    return (index * chunk->model->hp.heads + head) * chunk->workspace->parts.each;
}

/* Puts the parts of the heads of the call together. */
static void merge_parts(const struct strata__chunk *chunk, const struct strata__span *span,
                        const struct strata_attention *a, size_t head, size_t parts)
{
    const struct strata__parts *ws = &chunk->workspace->parts;
    for (size_t h = 0; h < a->heads; h++) {
        size_t at = part_at(chunk, span, head + h);
        struct strata_attention_parts merge = {
            .out = a->out + h * a->out_head_stride,
            .sums = ws->sums + at * a->head_dim,
            .largest = ws->largest + at,
            .denominator = ws->denominator + at,
            .parts = parts,
            .head_dim = a->head_dim,
        };
        strata__kernels_of(chunk)->attention_merge(&merge);
    }
}

/* Part `part` of a single token's positions, for the heads of the call.  Whoever finishes the last
 * part of a key/value head puts them together. */
static void attend_part(struct strata__chunk *chunk, const struct strata__span *span,
                        const struct cut *cut, struct strata_attention a, size_t head, size_t part)
{
    const struct strata__hparams *hp = &chunk->model->hp;
    struct strata__parts *ws = &chunk->workspace->parts;
    size_t from = first_seen(chunk, span) + part * cut->part;
    size_t share = hp->heads / hp->kv_heads;
    uint32_t visible = (uint32_t)clip(span->position + 1 - from, cut->part);
    struct strata_attention open = a;
    float largest[STRATA_ATTENTION_HEADS], denominator[STRATA_ATTENTION_HEADS];
    open.out = ws->sums + (part_at(chunk, span, head) + part) * a.head_dim;
    open.out_head_stride = ws->each * a.head_dim;
    open.k = (const char *)a.k + from * a.k_stride;
    open.v = (const char *)a.v + from * a.v_stride;
    open.visible = &visible;
    open.largest = largest;
    open.denominator = denominator;
    strata__kernels_of(chunk)->attention[kept_type(chunk, span)](&open);
    for (size_t h = 0; h < a.heads; h++) {
        size_t at = part_at(chunk, span, head + h) + part;
        ws->largest[at] = largest[h];
        ws->denominator[at] = denominator[h];
    }
    _Atomic uint32_t *done = &ws->done[(size_t)(span - chunk->spans) * hp->kv_heads + head / share];
    if (atomic_fetch_add(done, 1) + 1 < cut->parts * cut->groups)
        return;
    atomic_store(done, 0);
    a.heads = share;
    a.out = strata__row_of(chunk, STRATA__BUF_MIX, span->first) + head / share * share * a.head_dim;
    merge_parts(chunk, span, &a, head / share * share, cut->parts);
}

/* Item `index` of a span; of several tokens the last tiles, which see the most, come first. */
static void attend_item(struct strata__chunk *chunk, const struct strata__step *step,
                        const struct strata__span *span, const struct cut *cut, size_t index,
                        unsigned thread)
{
    const struct strata__hparams *hp = &chunk->model->hp;
    size_t groups = hp->kv_heads * cut->groups, group = index % groups, piece = index / groups;
    size_t kv_head = group / cut->groups, sub = group % cut->groups * cut->group;
    size_t begin = cut->parts > 1 ? 0 : (cut->tiles - 1 - piece) * cut->tile;
    struct strata_attention a = attention_of(chunk, step, span, cut, begin, kv_head, sub);
    struct strata__lane *lane = &chunk->workspace->lanes[thread];
    a.scratch = lane->scratch;
    if (strata__attends_alone(chunk)) {
        memcpy(lane->queries, a.q, a.heads * a.head_dim * sizeof *a.q);
        strata__rope(chunk, span->first, lane->queries, a.heads);
        a.q = lane->queries;
        if (piece + 1 == cut->parts)
            strata__store(chunk, step, span, span->first, kv_head);
    }
    if (cut->parts > 1)
        attend_part(chunk, span, cut, a, kv_head * (hp->heads / hp->kv_heads) + sub, piece);
    else
        strata__kernels_of(chunk)->attention[kept_type(chunk, span)](&a);
}

void strata__attend(struct strata__chunk *chunk, const struct strata__step *step, unsigned thread)
{
    size_t claim = strata__threads_claim(strata__pool_of(chunk)), done = 0;
    for (size_t i = 0; i < chunk->n_spans;) {
        const struct strata__span *span = &chunk->spans[i];
        struct cut cut = cut_of(chunk, span);
        size_t items = cut.tiles * cut.parts * chunk->model->hp.kv_heads * cut.groups;
        if (claim - done >= items) {
            done += items;
            i++;
            continue;
        }
        attend_item(chunk, step, span, &cut, claim - done, thread);
        claim = strata__threads_claim(strata__pool_of(chunk));
    }
    strata__threads_barrier(strata__pool_of(chunk));
}

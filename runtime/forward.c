/* One chunk through all steps.
 *
 * All threads of the pool walk the step list together.  A step cuts its work into items whose
 * results do not depend on who computes them (rows of a product, tokens, heads), so that the logits
 * are the same for any number of threads; a barrier ends it.  With a single token every thread
 * normalises and quantises the input for itself: that costs less than the barrier it saves, and
 * leaves six barriers a layer (five steps and rope; see struct strata__step).
 */
#include "forward.h"

#include <math.h>
#include <string.h>

#include "gemm_blas.h"

/* Claims a thread makes of a product of few tokens, about: enough to even out threads that run at
 * different speeds, few enough that a claim's cost is lost in its work. */
#define CLAIMS_PER_THREAD 4
#define FEW_TOKENS 32

static const struct strata_kernels *kernels_of(const struct strata__chunk *chunk)
{
    return &chunk->model->runtime->kernels;
}

static struct strata__threads *pool_of(const struct strata__chunk *chunk)
{
    return chunk->model->runtime->threads;
}

static float *row_of(const struct strata__chunk *chunk, enum strata__buffer buffer, size_t token)
{
    const struct strata__workspace *ws = chunk->workspace;
    return ws->buffer[buffer] + token * ws->width[buffer];
}

/* This thread's share [*begin, *end) of n items in equal parts. */
static void share_of(const struct strata__chunk *chunk, unsigned thread, size_t n, size_t *begin,
                     size_t *end)
{
    size_t threads = strata__threads_count(pool_of(chunk));
    *begin = n * thread / threads;
    *end = n * (thread + 1) / threads;
}

/* ---- Tokens to rows ---- */

static void embed(struct strata__chunk *chunk, unsigned thread)
{
    const struct strata_model *model = chunk->model;
    const struct strata__tensor *table = model->embedding;
    struct strata__workspace *ws = chunk->workspace;
    size_t begin, end, pairs = model->hp.rope_pairs;
    share_of(chunk, thread, chunk->count, &begin, &end);
    for (size_t t = begin; t < end; t++) {
        const char *row = (const char *)table->data + (size_t)chunk->ids[t] * table->row_bytes;
        kernels_of(chunk)->dequantize[table->type](row_of(chunk, STRATA__BUF_X, t), row,
                                                   model->hp.embedding);
        for (size_t i = 0; i < pairs; i++) {
            double angle = (double)(ws->visible[t] - 1) * model->rope_frequency[i];
            ws->rope[(t * pairs + i) * 2] = (float)cos(angle);
            ws->rope[(t * pairs + i) * 2 + 1] = (float)sin(angle);
        }
    }
    strata__threads_barrier(pool_of(chunk));
}

/* ---- Products ---- */

/* A product step in execution: the rows of `in` and what has been made of them. */
struct projection {
    const struct strata__chunk *chunk;
    const struct strata__step *step;
    size_t first, m, k; /* tokens first .. first + m - 1, of k elements */
    const float *x;     /* normalised, or as they are */
    size_t ldx;
    struct strata_q8_rows q8;
    void *scratch;
};

static struct strata_q8_rows q8_from(const struct strata_q8_rows *rows, size_t row, size_t k)
{
    return (struct strata_q8_rows){rows->q + row * k, rows->scale + row * (k / 32),
                                   rows->sum + row * (k / 16), rows->total + row * (k / 32)};
}

/* Normalises and quantises tokens [begin, end) of the projection, as its step asks, into `out`. */
static void prepare_rows(struct projection *p, const struct strata__input *out, size_t begin,
                         size_t end)
{
    const struct strata_model *model = p->chunk->model;
    const struct strata_kernels *kernels = kernels_of(p->chunk);
    bool q8 = false;
    for (unsigned i = 0; i < p->step->products; i++)
        q8 |= strata__model_uses_q8(model, p->step->product[i].weight);
    for (size_t t = begin; t < end; t++) {
        const float *x = row_of(p->chunk, p->step->in, p->first + t);
        if (p->step->norm) {
            float *y = out->norm + t * p->k;
            kernels->rms_norm(y, x, p->step->norm, p->k, model->hp.norm_eps);
            x = y;
        }
        if (q8) {
            struct strata_q8_rows row = q8_from(&out->q8, t, p->k);
            kernels->quantize_q8(&row, x, 1, p->k);
        }
    }
    p->x = p->step->norm ? out->norm : row_of(p->chunk, p->step->in, p->first);
    p->ldx = p->k;
    p->q8 = out->q8;
}

static void prepare(struct projection *p, unsigned thread)
{
    struct strata__workspace *ws = p->chunk->workspace;
    if (p->m == 1) {
        prepare_rows(p, &ws->lanes[thread].input, 0, 1);
        return;
    }
    size_t begin, end;
    share_of(p->chunk, thread, p->m, &begin, &end);
    prepare_rows(p, &ws->shared, begin, end);
    strata__threads_barrier(pool_of(p->chunk));
}

/* Float products of several tokens go to OpenBLAS where it is faster than our own kernels: below
 * AVX2. (Zen 4, one core, tiles of 16 rows: OpenBLAS 36 to 52 G multiply-adds a second, our AVX2
 * and AVX-512 products 47 to 58, the reference below 1.) */
static bool use_blas(const strata_runtime *runtime, size_t m)
{
    if (!runtime->blas_name || m == 1)
        return false;
    return runtime->blas == STRATA__BLAS_ON || runtime->level == STRATA_LEVEL_ref;
}

/* Rows [begin, end) of product `index`, for all tokens; `begin` begins a panel. */
static void multiply(const struct projection *p, unsigned index, size_t begin, size_t end)
{
    const struct strata__product *product = &p->step->product[index];
    const struct strata__tensor *weight = product->weight;
    const struct strata_model *model = p->chunk->model;
    const struct strata_kernels *kernels = kernels_of(p->chunk);
    enum strata_type type = weight->type;
    size_t width = p->chunk->workspace->width[product->out];
    float *y = p->chunk->workspace->buffer[product->out];
    if (product->out == STRATA__BUF_LOGITS)
        y = p->chunk->logits;
    struct strata_matmul a = {
        .y = y + begin,
        .ldy = width,
        .w = (const char *)weight->data + begin * weight->row_bytes,
        .row_bytes = weight->row_bytes,
        .rows = end - begin,
        .x = p->x,
        .ldx = p->ldx,
        .xq = p->q8,
        .m = p->m,
        .k = p->k,
        .scratch = p->scratch,
    };
    bool q8 = strata__model_uses_q8(model, weight);
    if (!q8 && use_blas(model->runtime, p->m)) {
        strata_gemm_f32_blas(&a, kernels->dequantize[type]);
    } else if (product->panels) {
        a.w = product->panels + begin / STRATA_PANEL_ROWS * strata_panel_bytes(type, p->k);
        (q8 ? kernels->packed_q8 : kernels->packed_f32)[type](&a);
    } else {
        (p->m == 1 ? kernels->gemv_f32 : kernels->gemm_f32)[type](&a);
    }
    if (product->bias)
        for (size_t t = 0; t < p->m; t++)
            kernels->add(a.y + t * width, product->bias + begin, end - begin);
}

/* Rows [begin, end) of the step's combined output, once the products have them. */
static void combine(const struct projection *p, size_t begin, size_t end)
{
    const struct strata_kernels *kernels = kernels_of(p->chunk);
    const struct strata__step *step = p->step;
    size_t n = end - begin;
    for (size_t t = 0; t < p->m && step->combine != STRATA__KEEP; t++) {
        float *y = row_of(p->chunk, step->product[0].out, t) + begin;
        if (step->combine == STRATA__ADD_TO_X)
            kernels->add(row_of(p->chunk, STRATA__BUF_X, p->first + t) + begin, y, n);
        else
            kernels->silu_mul(y, y, row_of(p->chunk, step->product[1].out, t) + begin, n);
    }
}

/* Rows that one claim takes of a step with `rows` in all: whole panels.  With few tokens products
 * wait for memory, which threads should read in long runs (kernels prefetch beyond the panel at
 * hand); with many, small claims even out the threads. */
static size_t claim_rows(const struct projection *p, size_t rows)
{
    size_t panels = (rows + STRATA_PANEL_ROWS - 1) / STRATA_PANEL_ROWS;
    size_t claims = strata__threads_count(pool_of(p->chunk)) * CLAIMS_PER_THREAD;
    size_t each = p->m > FEW_TOKENS ? 1 : (panels + claims - 1) / claims;
    return each * STRATA_PANEL_ROWS;
}

static size_t clip(size_t value, size_t limit)
{
    return value < limit ? value : limit;
}

/* The products of `step` for tokens first .. first + m - 1. */
static void project(struct strata__chunk *chunk, const struct strata__step *step, size_t first,
                    size_t m, unsigned thread)
{
    struct projection p = {.chunk = chunk,
                           .step = step,
                           .first = first,
                           .m = m,
                           .k = chunk->workspace->width[step->in],
                           .scratch = chunk->workspace->lanes[thread].scratch};
    prepare(&p, thread);
    /* Products that are combined row by row advance together; others follow each other. */
    bool together = step->combine == STRATA__SILU_GATE;
    size_t rows[3], total = 0;
    for (unsigned i = 0; i < step->products; i++) {
        rows[i] = step->product[i].weight->rows;
        total = together ? rows[i] : total + rows[i];
    }
    size_t each = claim_rows(&p, total);
    for (unsigned i = 0, claim = strata__threads_claim(pool_of(chunk)), done = 0;
         i < step->products;) {
        size_t claims = (rows[i] + each - 1) / each;
        if (claim - done >= claims) {
            done += (unsigned)claims;
            i = together ? step->products : i + 1;
            continue;
        }
        size_t begin = (claim - done) * each, end = clip(begin + each, rows[i]);
        multiply(&p, i, begin, end);
        if (together)
            multiply(&p, i + 1, begin, end);
        combine(&p, begin, end);
        claim = strata__threads_claim(pool_of(chunk));
    }
    strata__threads_barrier(pool_of(chunk));
}

/* ---- Attention ---- */

/* The span of token t. */
static const struct strata__span *span_of(const struct strata__chunk *chunk, size_t t)
{
    const struct strata__span *span = chunk->spans;
    while (t >= span->first + span->count)
        span++;
    return span;
}

static void rope_store(struct strata__chunk *chunk, const struct strata__step *step,
                       unsigned thread)
{
    const struct strata__hparams *hp = &chunk->model->hp;
    const struct strata_kernels *kernels = kernels_of(chunk);
    strata_rope_fn *rope = hp->rope_neox ? kernels->rope_neox : kernels->rope_norm;
    size_t begin, end;
    share_of(chunk, thread, chunk->count, &begin, &end);
    for (size_t t = begin; t < end; t++) {
        const struct strata__span *span = span_of(chunk, t);
        size_t position = span->position + t - span->first;
        const float *cs = chunk->workspace->rope + t * 2 * hp->rope_pairs;
        float *k = row_of(chunk, STRATA__BUF_K, t), *v = row_of(chunk, STRATA__BUF_V, t);
        rope(row_of(chunk, STRATA__BUF_Q, t), cs, hp->heads, hp->head_dim, hp->rope_pairs);
        rope(k, cs, hp->kv_heads, hp->head_dim, hp->rope_pairs);
        for (size_t h = 0; h < hp->kv_heads; h++) {
            size_t at = strata__kv_at(span->kv, step->layer, h, position);
            kernels->f32_to_f16(span->kv->keys + at, k + h * hp->head_dim, hp->head_dim);
            kernels->f32_to_f16(span->kv->values + at, v + h * hp->head_dim, hp->head_dim);
        }
    }
    strata__threads_barrier(pool_of(chunk));
}

/* How the attention of a span is cut: into tiles of tokens, and groups of the query heads that
 * share a key/value head. */
struct cut {
    size_t tile, tiles, group, groups;
};

static struct cut cut_of(const struct strata__chunk *chunk, const struct strata__span *span)
{
    const struct strata__hparams *hp = &chunk->model->hp;
    size_t share = hp->heads / hp->kv_heads; /* query heads a key/value head */
    size_t most = span->count == 1 ? STRATA_ATTENTION_HEADS : STRATA_ATTENTION_ROWS;
    struct cut cut = {.group = clip(share, most)};
    /* The number of threads may change the cut only where the kernel promises equal results. */
    if (span->count == 1 && hp->kv_heads * chunk->n_spans % chunk->workspace->n_lanes != 0 &&
        share <= STRATA_ATTENTION_HEADS)
        cut.group = 1;
    cut.groups = (share + cut.group - 1) / cut.group;
    cut.tile = STRATA_ATTENTION_ROWS / cut.group;
    cut.tiles = (span->count + cut.tile - 1) / cut.tile;
    return cut;
}

/* Item `index` of a span: the last tiles, which see the most positions, come first. */
static void attend_item(struct strata__chunk *chunk, const struct strata__step *step,
                        const struct strata__span *span, const struct cut *cut, size_t index,
                        void *scratch)
{
    const struct strata__hparams *hp = &chunk->model->hp;
    struct strata__workspace *ws = chunk->workspace;
    size_t share = hp->heads / hp->kv_heads, heads = hp->kv_heads * cut->groups;
    size_t head = index % heads, begin = (cut->tiles - 1 - index / heads) * cut->tile;
    size_t kv_head = head / cut->groups, sub = head % cut->groups * cut->group;
    size_t column = (kv_head * share + sub) * hp->head_dim, first = span->first + begin;
    size_t at = strata__kv_at(span->kv, step->layer, kv_head, 0);
    struct strata_attention a = {
        .out = row_of(chunk, STRATA__BUF_MIX, first) + column,
        .out_token_stride = ws->width[STRATA__BUF_MIX],
        .out_head_stride = hp->head_dim,
        .q = row_of(chunk, STRATA__BUF_Q, first) + column,
        .q_token_stride = ws->width[STRATA__BUF_Q],
        .q_head_stride = hp->head_dim,
        .k = span->kv->keys + at,
        .k_stride = hp->head_dim,
        .v = span->kv->values + at,
        .v_stride = hp->head_dim,
        .visible = ws->visible + first,
        .tokens = clip(cut->tile, span->count - begin),
        .heads = clip(cut->group, share - sub),
        .head_dim = hp->head_dim,
        .scale = 1 / sqrtf((float)hp->head_dim),
        .scratch = scratch,
    };
    kernels_of(chunk)->attention_f16(&a);
}

static void attend(struct strata__chunk *chunk, const struct strata__step *step, unsigned thread)
{
    void *scratch = chunk->workspace->lanes[thread].scratch;
    size_t claim = strata__threads_claim(pool_of(chunk)), done = 0;
    for (size_t i = 0; i < chunk->n_spans;) {
        const struct strata__span *span = &chunk->spans[i];
        struct cut cut = cut_of(chunk, span);
        size_t items = cut.tiles * chunk->model->hp.kv_heads * cut.groups;
        if (claim - done >= items) {
            done += items;
            i++;
            continue;
        }
        attend_item(chunk, step, span, &cut, claim - done, scratch);
        claim = strata__threads_claim(pool_of(chunk));
    }
    strata__threads_barrier(pool_of(chunk));
}

/* ---- All steps ---- */

/* Looks at exponents only, without branches: a token's logits are checked every time. */
static bool all_finite(const float *x, size_t n)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bad |= (bits & 0x7f800000) == 0x7f800000;
    }
    return !bad;
}

static bool is_cancelled(const struct strata__chunk *chunk)
{
    bool cancelled = false;
    for (size_t i = 0; i < chunk->n_spans; i++)
        cancelled |= atomic_load_explicit(chunk->spans[i].cancel, memory_order_relaxed);
    return cancelled;
}

/* Thread 0, between layers: stops everybody at the next layer when asked to, or when the residual
 * stream has gone bad.  A stop is announced one layer ahead, so that all threads see it alike. */
static void watch(struct strata__chunk *chunk, size_t layer)
{
    bool stop = is_cancelled(chunk);
    if (chunk->find_bad_layer)
        stop =
            !all_finite(row_of(chunk, STRATA__BUF_X, 0), chunk->count * chunk->model->hp.embedding);
    if (stop && layer + 1 < atomic_load(&chunk->stop_layer))
        atomic_store(&chunk->stop_layer, layer + 1);
}

static void run_steps(void *context, unsigned thread)
{
    struct strata__chunk *chunk = context;
    const struct strata_model *model = chunk->model;
    embed(chunk, thread);
    for (size_t i = 0; i + 1 < model->n_steps; i++) {
        const struct strata__step *step = &model->steps[i];
        if (i == 0 || step->layer != model->steps[i - 1].layer) {
            if (step->layer >= atomic_load(&chunk->stop_layer))
                return;
            if (thread == 0)
                watch(chunk, step->layer);
        }
        switch (step->kind) {
        case STRATA__STEP_PROJECT:
            project(chunk, step, 0, chunk->count, thread);
            break;
        case STRATA__STEP_ROPE_STORE:
            rope_store(chunk, step, thread);
            break;
        case STRATA__STEP_ATTEND:
            attend(chunk, step, thread);
            break;
        }
    }
    if (chunk->logit_rows)
        project(chunk, &model->steps[model->n_steps - 1], chunk->count - chunk->logit_rows,
                chunk->logit_rows, thread);
}

strata_status strata__forward(struct strata__chunk *chunk)
{
    const struct strata__hparams *hp = &chunk->model->hp;
    struct strata__threads *pool = pool_of(chunk);
    for (size_t i = 0; i < chunk->n_spans; i++)
        for (size_t t = 0; t < chunk->spans[i].count; t++)
            chunk->workspace->visible[chunk->spans[i].first + t] =
                (uint32_t)(chunk->spans[i].position + t + 1);
    chunk->find_bad_layer = false;
    atomic_store(&chunk->stop_layer, SIZE_MAX);
    strata__threads_run(pool, run_steps, chunk);
    if (is_cancelled(chunk))
        return strata__fail(STRATA_E_CANCELLED, "evaluation cancelled");
    if (all_finite(chunk->logits, chunk->logit_rows * hp->vocab))
        return STRATA_OK;
    chunk->find_bad_layer = true;
    strata__threads_run(pool, run_steps, chunk);
    size_t bad = atomic_load(&chunk->stop_layer);
    const char *path = strata__file_path(chunk->model->file);
    if (bad == SIZE_MAX)
        return strata__fail(STRATA_E_FORMAT,
                            "%s: the last layer or the output head gives values that are not "
                            "finite: its weights hold NaN, Inf or overflowing scales",
                            path);
    if (bad == 1)
        return strata__fail(STRATA_E_FORMAT, "%s: token_embd.weight: values are not finite", path);
    /* watch() looks at a layer's result at the beginning of the next and stops the one after. */
    return strata__fail(STRATA_E_FORMAT,
                        "%s: layer %zu gives values that are not finite: its weights hold NaN, Inf "
                        "or overflowing scales",
                        path, bad - 2);
}

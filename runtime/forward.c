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

/* This thread's share [*begin, *end) of n items in equal parts. */
static void share_of(const struct strata__chunk *chunk, unsigned thread, size_t n, size_t *begin,
                     size_t *end)
{
    size_t threads = strata__threads_count(strata__pool_of(chunk));
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
        strata__kernels_of(chunk)->dequantize[table->type](strata__row_of(chunk, STRATA__BUF_X, t),
                                                           row, model->hp.embedding);
        for (size_t i = 0; i < pairs; i++) {
            double angle = (double)(ws->visible[t] - 1) * model->rope_frequency[i];
            ws->rope[(t * pairs + i) * 2] = (float)cos(angle);
            ws->rope[(t * pairs + i) * 2 + 1] = (float)sin(angle);
        }
    }
    strata__threads_barrier(strata__pool_of(chunk));
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
    const struct strata_kernels *kernels = strata__kernels_of(p->chunk);
    bool q8 = false;
    for (unsigned i = 0; i < p->step->products; i++)
        q8 |= strata__model_uses_q8(model, p->step->product[i].weight);
    for (size_t t = begin; t < end; t++) {
        const float *x = strata__row_of(p->chunk, p->step->in, p->first + t);
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
    p->x = p->step->norm ? out->norm : strata__row_of(p->chunk, p->step->in, p->first);
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
    strata__threads_barrier(strata__pool_of(p->chunk));
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
    const struct strata_kernels *kernels = strata__kernels_of(p->chunk);
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
    const struct strata_kernels *kernels = strata__kernels_of(p->chunk);
    const struct strata__step *step = p->step;
    size_t n = end - begin;
    for (size_t t = 0; t < p->m && step->combine != STRATA__KEEP; t++) {
        float *y = strata__row_of(p->chunk, step->product[0].out, t) + begin;
        if (step->combine == STRATA__ADD_TO_X)
            kernels->add(strata__row_of(p->chunk, STRATA__BUF_X, p->first + t) + begin, y, n);
        else
            kernels->silu_mul(y, y, strata__row_of(p->chunk, step->product[1].out, t) + begin, n);
    }
}

static size_t clip(size_t value, size_t limit)
{
    return value < limit ? value : limit;
}

/* Rows that one claim takes of a step with `rows` in all: whole panels.  With few tokens products
 * wait for memory, which threads should read in long runs (kernels prefetch beyond the panel at
 * hand); with many, small claims even out the threads. */
static size_t claim_rows(const struct projection *p, size_t rows)
{
    size_t panels = (rows + STRATA_PANEL_ROWS - 1) / STRATA_PANEL_ROWS;
    size_t claims = strata__threads_count(strata__pool_of(p->chunk)) * CLAIMS_PER_THREAD;
    size_t each = p->m > FEW_TOKENS ? 1 : (panels + claims - 1) / claims;
    return each * STRATA_PANEL_ROWS;
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
    for (unsigned i = 0, claim = strata__threads_claim(strata__pool_of(chunk)), done = 0;
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
        claim = strata__threads_claim(strata__pool_of(chunk));
    }
    strata__threads_barrier(strata__pool_of(chunk));
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
    const struct strata_kernels *kernels = strata__kernels_of(chunk);
    strata_rope_fn *rope = hp->rope_neox ? kernels->rope_neox : kernels->rope_norm;
    size_t begin, end;
    share_of(chunk, thread, chunk->count, &begin, &end);
    for (size_t t = begin; t < end; t++) {
        const struct strata__span *span = span_of(chunk, t);
        size_t position = span->position + t - span->first;
        const float *cs = chunk->workspace->rope + t * 2 * hp->rope_pairs;
        float *k = strata__row_of(chunk, STRATA__BUF_K, t),
              *v = strata__row_of(chunk, STRATA__BUF_V, t);
        rope(strata__row_of(chunk, STRATA__BUF_Q, t), cs, hp->heads, hp->head_dim, hp->rope_pairs);
        rope(k, cs, hp->kv_heads, hp->head_dim, hp->rope_pairs);
        for (size_t h = 0; h < hp->kv_heads; h++) {
            size_t at = strata__kv_at(span->kv, step->layer, h, position);
            strata_encode_fn *encode = kernels->encode[span->kv->type];
            encode(span->kv->keys + at, k + h * hp->head_dim, hp->head_dim);
            encode(span->kv->values + at, v + h * hp->head_dim, hp->head_dim);
        }
    }
    strata__threads_barrier(strata__pool_of(chunk));
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
        stop = !all_finite(strata__row_of(chunk, STRATA__BUF_X, 0),
                           chunk->count * chunk->model->hp.embedding);
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
            strata__attend(chunk, step, thread);
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
    struct strata__threads *pool = strata__pool_of(chunk);
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

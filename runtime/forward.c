/* The steps, as the CPU executes them.
 *
 * All threads of the pool walk the step list together (evaluate.c).  A step cuts its work into
 * items whose results do not depend on who computes them (rows of a product, tokens, heads), so
 * that the logits are the same for any number of threads; a barrier ends it.  With a single token
 * every thread normalises and quantises the input for itself: that costs less than the barrier it
 * saves, and leaves five barriers a layer, one a step, where data pass from all threads to all:
 * keys and values are rotated and stored by the thread that attends to them (see attend.c).  Chunks
 * of several tokens take six, and three more that end the preparation of inputs.
 */
#include "forward.h"

#include <math.h>
#include <string.h>

#include "gemm_blas.h"

/* Claims a thread makes of a product of few tokens, about: enough to even out threads that run at
 * different speeds, few enough that a claim's cost is lost in its work. */
#define CLAIMS_PER_THREAD 4
#define FEW_TOKENS 32

/* Quantised activations of a piece, at most, and what its tokens are a multiple of (OpenBLAS's
 * tiles, see gemm_blas.h). */
#define ACTIVATION_BYTES ((size_t)256 << 10)
#define TOKEN_UNIT 64
_Static_assert(TOKEN_UNIT % STRATA_BLAS_TOKENS == 0, "pieces are whole tiles of OpenBLAS");

/* This thread's share [*begin, *end) of n items in equal parts. */
static void share_of(const struct strata__chunk *chunk, unsigned thread, size_t n, size_t *begin,
                     size_t *end)
{
    size_t threads = strata__threads_count(strata__pool_of(chunk));
    *begin = n * thread / threads;
    *end = n * (thread + 1) / threads;
}

/* ---- Tokens to rows ---- */

/* Adds the embeddings of the token's place in its sequence and of its type. */
static void add_position(const struct strata__chunk *chunk, size_t t, float *x)
{
    const struct strata_model *model = chunk->model;
    const struct strata_kernels *kernels = strata__kernels_of(chunk);
    const struct strata__tensor *table = model->position_embedding;
    const char *row = (const char *)table->data + chunk->workspace->place[t] * table->row_bytes;
    float *place = strata__row_of(chunk, STRATA__BUF_DELTA, t);
    kernels->dequantize[table->type](place, row, model->hp.embedding);
    kernels->add(x, place, model->hp.embedding);
    kernels->add(x, model->type_embedding, model->hp.embedding);
}

void strata__embed_tokens(struct strata__chunk *chunk, unsigned thread)
{
    const struct strata_model *model = chunk->model;
    const struct strata__tensor *table = model->embedding;
    struct strata__workspace *ws = chunk->workspace;
    size_t begin, end, pairs = model->hp.rope_pairs;
    const struct strata_kernels *kernels = strata__kernels_of(chunk);
    share_of(chunk, thread, chunk->count, &begin, &end);
    for (size_t t = begin; t < end; t++) {
        const char *row = (const char *)table->data + (size_t)chunk->ids[t] * table->row_bytes;
        float *x = strata__row_of(chunk, STRATA__BUF_X, t);
        if (!chunk->look_up)
            kernels->dequantize[table->type](x, row, model->hp.embedding);
        if (model->position_embedding)
            add_position(chunk, t, x);
        for (size_t i = 0; i < pairs; i++) {
            double angle = (double)ws->place[t] * model->rope_frequency[i];
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

/* True when the step's input rows are changed where they lie. */
static bool in_place(const struct strata__step *step)
{
    return step->prelude.kind == STRATA__LAYER_NORM || step->prelude.kind == STRATA__GELU;
}

/* The input row at x as the step's prelude makes it: there, or in y. */
static const float *prelude(const struct projection *p, float *x, size_t t, float *y)
{
    const struct strata_kernels *kernels = strata__kernels_of(p->chunk);
    const struct strata__prelude *how = &p->step->prelude;
    float eps = p->chunk->model->hp.norm_eps;
    switch (how->kind) {
    case STRATA__AS_IT_IS:
        break;
    case STRATA__RMS_NORM:
        kernels->rms_norm(y, x, how->weight, p->k, eps);
        return y;
    case STRATA__LAYER_NORM:
        if (how->addend) {
            kernels->add(x, strata__row_of(p->chunk, STRATA__BUF_DELTA, p->first + t), p->k);
            kernels->add(x, how->addend, p->k);
        }
        kernels->layer_norm(x, x, how->weight, how->bias, p->k, eps);
        break;
    case STRATA__GELU:
        kernels->add(x, how->addend, p->k);
        kernels->gelu(x, x, p->k);
        break;
    }
    return x;
}

/* Makes the inputs of tokens [begin, end) of the projection, as its step asks, in `out` or where
 * they are. */
static void prepare_rows(struct projection *p, const struct strata__input *out, size_t begin,
                         size_t end)
{
    const struct strata_model *model = p->chunk->model;
    const struct strata_kernels *kernels = strata__kernels_of(p->chunk);
    bool q8 = false;
    for (unsigned i = 0; i < p->step->products; i++)
        q8 |= strata__product_uses_q8(model, &p->step->product[i]);
    for (size_t t = begin; t < end; t++) {
        float *row = strata__row_of(p->chunk, p->step->in, p->first + t);
        const float *x = prelude(p, row, t, out->norm + t * p->k);
        if (q8) {
            struct strata_q8_rows row = q8_from(&out->q8, t, p->k);
            kernels->quantize_q8(&row, x, 1, p->k);
        }
    }
    p->x = strata__row_of(p->chunk, p->step->in, p->first);
    if (p->step->prelude.kind == STRATA__RMS_NORM)
        p->x = out->norm;
    p->ldx = p->k;
    p->q8 = out->q8;
}

/* Adds the squares of this thread's share of the columns. */
static void sum_columns(const struct projection *p, unsigned thread)
{
    double *sums = p->chunk->column_sums[p->step - p->chunk->model->steps];
    size_t begin, end;
    share_of(p->chunk, thread, p->k, &begin, &end);
    for (size_t t = 0; t < p->m; t++)
        for (size_t c = begin; c < end; c++)
            sums[c] += (double)p->x[t * p->ldx + c] * (double)p->x[t * p->ldx + c];
}

static void prepare(struct projection *p, unsigned thread)
{
    struct strata__workspace *ws = p->chunk->workspace;
    if (p->m == 1 && !in_place(p->step)) {
        prepare_rows(p, &ws->lanes[thread].input, 0, 1);
    } else {
        size_t begin, end;
        share_of(p->chunk, thread, p->m, &begin, &end);
        prepare_rows(p, &ws->shared, begin, end);
        strata__threads_barrier(strata__pool_of(p->chunk));
    }
    if (p->chunk->column_sums)
        sum_columns(p, thread);
}

/* The columns of the output head, which is not computed. */
static void sum_head(struct strata__chunk *chunk, const struct strata__step *head, unsigned thread)
{
    struct projection p = {
        .chunk = chunk, .step = head, .m = chunk->count, .k = chunk->workspace->width[head->in]};
    prepare(&p, thread);
}

/* Float products of several tokens go to OpenBLAS where it is faster than our own kernels. */
static bool use_blas(const strata_runtime *runtime, enum strata_type type, size_t m)
{
    size_t from = runtime->tuning.blas_from[type];
    if (!runtime->blas_name || m == 1)
        return false;
    return runtime->blas == STRATA__BLAS_ON || (from > 0 && m >= from);
}

/* A piece of a step's output: rows begin .. end - 1 of its products, `begin` beginning a panel, for
 * `tokens` tokens of the projection from `first` on. */
struct piece {
    size_t begin, end, first, tokens;
};

static void multiply(const struct projection *p, unsigned index, struct piece piece)
{
    const struct strata__product *product = &p->step->product[index];
    const struct strata_model *model = p->chunk->model;
    const struct strata_kernels *kernels = strata__kernels_of(p->chunk);
    enum strata_type type = product->type;
    size_t width = p->chunk->workspace->width[product->out];
    float *y = p->chunk->workspace->buffer[product->out];
    if (product->out == STRATA__BUF_LOGITS)
        y = p->chunk->logits;
    struct strata_matmul a = {
        .y = y + piece.first * width + piece.begin,
        .ldy = width,
        .w = product->rows + piece.begin * product->weight->row_bytes,
        .row_bytes = product->weight->row_bytes,
        .rows = piece.end - piece.begin,
        .x = p->x + piece.first * p->ldx,
        .ldx = p->ldx,
        .xq = q8_from(&p->q8, piece.first, p->k),
        .m = piece.tokens,
        .k = p->k,
        .scratch = p->scratch,
    };
    bool q8 = strata__product_uses_q8(model, product);
    if (!product->panels && use_blas(model->runtime, type, p->m)) {
        strata_gemm_f32_blas(&a, kernels->dequantize[type]);
    } else if (product->panels) {
        a.w = product->panels + piece.begin / STRATA_PANEL_ROWS * strata_panel_bytes(type, p->k);
        (q8 ? kernels->packed_q8 : kernels->packed_f32)[type](&a);
    } else {
        (p->m == 1 ? kernels->gemv_f32 : kernels->gemm_f32)[type](&a);
    }
    if (product->bias)
        for (size_t t = 0; t < piece.tokens; t++)
            kernels->add(a.y + t * width, product->bias + piece.begin, a.rows);
}

/* A piece of the step's combined output, once the products have it. */
static void combine(const struct projection *p, struct piece piece)
{
    const struct strata_kernels *kernels = strata__kernels_of(p->chunk);
    const struct strata__step *step = p->step;
    size_t n = piece.end - piece.begin;
    for (size_t t = piece.first; t < piece.first + piece.tokens; t++) {
        float *y = strata__row_of(p->chunk, step->product[0].out, t) + piece.begin;
        if (step->combine == STRATA__ADD_TO_X)
            kernels->add(strata__row_of(p->chunk, STRATA__BUF_X, p->first + t) + piece.begin, y, n);
        else if (step->combine == STRATA__SILU_GATE)
            kernels->silu_mul(y, y, strata__row_of(p->chunk, step->product[1].out, t) + piece.begin,
                              n);
    }
}

static size_t clip(size_t value, size_t limit)
{
    return value < limit ? value : limit;
}

/* How a step's products are cut into pieces that threads claim. */
struct grid {
    size_t rows;         /* of a piece */
    size_t tokens, runs; /* of a piece; so many runs of tokens are all */
};

/* Rows that kernels take together, at best. */
static size_t unit_of(const struct strata__step *step)
{
    for (unsigned i = 0; i < step->products; i++)
        if (!step->product[i].panels)
            return STRATA_GEMM_ROWS;
    return STRATA_PANEL_ROWS;
}

/* With few tokens products wait for memory, which threads should read in long runs (kernels
 * prefetch beyond the panel at hand).  With many, small pieces even out the threads, and of packed
 * weights the tokens of a piece are as many as have their activations in the second-level cache, so
 * that all of a thread's panels find them there.  Float weights are unpacked for each piece, and
 * take all tokens. */
static struct grid grid_of(const struct projection *p, size_t rows)
{
    size_t unit = unit_of(p->step), units = (rows + unit - 1) / unit;
    size_t claims = strata__threads_count(strata__pool_of(p->chunk)) * CLAIMS_PER_THREAD;
    struct grid grid = {.rows = unit, .tokens = p->m, .runs = 1};
    if (p->m <= FEW_TOKENS)
        grid.rows *= (units + claims - 1) / claims;
    if (p->m <= FEW_TOKENS || unit == STRATA_GEMM_ROWS)
        return grid;
    size_t fitting = ACTIVATION_BYTES / p->k / TOKEN_UNIT * TOKEN_UNIT;
    grid.tokens = clip(fitting > TOKEN_UNIT ? fitting : TOKEN_UNIT, p->m);
    grid.runs = (p->m + grid.tokens - 1) / grid.tokens;
    return grid;
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
    struct grid grid = grid_of(&p, total);
    size_t run = 0, done = 0, claim = strata__threads_claim(strata__pool_of(chunk));
    for (unsigned i = 0; run < grid.runs;) {
        size_t claims = (rows[i] + grid.rows - 1) / grid.rows;
        if (claim - done >= claims) {
            done += claims;
            i = together || i + 1 == step->products ? 0 : i + 1;
            run += i == 0;
            continue;
        }
        struct piece piece = {.begin = (claim - done) * grid.rows, .first = run * grid.tokens};
        piece.end = clip(piece.begin + grid.rows, rows[i]);
        piece.tokens = clip(grid.tokens, m - piece.first);
        multiply(&p, i, piece);
        if (together)
            multiply(&p, i + 1, piece);
        combine(&p, piece);
        claim = strata__threads_claim(strata__pool_of(chunk));
    }
    strata__threads_barrier(strata__pool_of(chunk));
}

/* ---- Attention ---- */

/* Rotates queries and keys of all tokens and stores keys and values. */
static void rope_store(struct strata__chunk *chunk, const struct strata__step *step,
                       unsigned thread)
{
    const struct strata__hparams *hp = &chunk->model->hp;
    size_t begin, end;
    share_of(chunk, thread, chunk->count, &begin, &end);
    const struct strata__span *span = chunk->spans;
    for (size_t t = begin; t < end; t++) {
        while (t >= span->first + span->count)
            span++;
        strata__rope(chunk, t, strata__row_of(chunk, STRATA__BUF_Q, t), hp->heads);
        for (size_t h = 0; h < hp->kv_heads; h++)
            strata__store(chunk, step, span, t, h);
    }
    strata__threads_barrier(strata__pool_of(chunk));
}

/* ---- Trees ---- */

/* Makes the log-probabilities that are wanted after token t of its logits, which are used up: the
 * largest one's share of the softmax is the inverse of the sum. */
static void take_logprobs(const struct strata__chunk *chunk, size_t t, float *row)
{
    const struct strata__tree *tree = chunk->tree;
    const struct strata_kernels *kernels = strata__kernels_of(chunk);
    const uint32_t *first = tree->first + strata__tree_at(chunk) + t;
    size_t vocab = chunk->model->hp.vocab, best = kernels->argmax(row, vocab);
    float largest = row[best];
    for (size_t i = first[0]; i < first[1]; i++)
        tree->logprob[i] = row[tree->next[i]] - largest;
    kernels->softmax(row, vocab);
    float rest = logf(row[best]);
    for (size_t i = first[0]; i < first[1]; i++)
        tree->logprob[i] += rest;
}

/* The output head of a tree's tokens, some rows of logits after the other. */
static void score(struct strata__chunk *chunk, const struct strata__step *head, unsigned thread)
{
    size_t vocab = chunk->model->hp.vocab, begin, end;
    for (size_t first = 0, m; first < chunk->count; first += m) {
        m = clip(STRATA__TREE_LOGITS, chunk->count - first);
        project(chunk, head, first, m, thread);
        share_of(chunk, thread, m, &begin, &end);
        for (size_t t = begin; t < end; t++)
            take_logprobs(chunk, first + t, chunk->logits + t * vocab);
        strata__threads_barrier(strata__pool_of(chunk));
    }
}

/* ---- Pooling ---- */

/* The vector of a sequence, of its rows after the last norm. */
static void pool_span(const struct strata__chunk *chunk, const struct strata__span *span,
                      float *out)
{
    const struct strata__hparams *hp = &chunk->model->hp;
    size_t first = hp->pooling == STRATA__POOL_LAST ? span->count - 1 : 0;
    memcpy(out, strata__row_of(chunk, STRATA__BUF_X, span->first + first),
           hp->embedding * sizeof *out);
    if (hp->pooling != STRATA__POOL_MEAN)
        return;
    for (size_t t = 1; t < span->count; t++)
        strata__kernels_of(chunk)->add(out, strata__row_of(chunk, STRATA__BUF_X, span->first + t),
                                       hp->embedding);
    for (size_t i = 0; i < hp->embedding; i++)
        out[i] /= (float)span->count;
}

static void pool(struct strata__chunk *chunk, const struct strata__step *step, unsigned thread)
{
    size_t width = chunk->model->hp.embedding, begin, end;
    struct projection p = {.chunk = chunk, .step = step, .m = chunk->count, .k = width};
    prepare(&p, thread);
    share_of(chunk, thread, chunk->n_spans, &begin, &end);
    for (size_t i = begin; i < end; i++)
        pool_span(chunk, &chunk->spans[i], chunk->pooled + i * width);
}

/* ---- Steps ---- */

void strata__run_step(struct strata__chunk *chunk, const struct strata__step *step, unsigned thread)
{
    bool head = step->products && step->product[0].out == STRATA__BUF_LOGITS;
    size_t first = head ? chunk->count - chunk->logit_rows : 0;
    switch (step->kind) {
    case STRATA__STEP_PROJECT:
        if (head && chunk->column_sums)
            sum_head(chunk, step, thread);
        else if (head && chunk->tree)
            score(chunk, step, thread);
        else if (!head || chunk->logit_rows)
            project(chunk, step, first, chunk->count - first, thread);
        break;
    case STRATA__STEP_ROPE_STORE:
        if (!strata__attends_alone(chunk))
            rope_store(chunk, step, thread);
        break;
    case STRATA__STEP_ATTEND:
        strata__attend(chunk, step, thread);
        break;
    case STRATA__STEP_POOL:
        pool(chunk, step, thread);
        break;
    }
}

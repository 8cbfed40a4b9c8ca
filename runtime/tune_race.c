/* Workloads and their timing (tune_race.h). */
#include "tune_race.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gemm_blas.h"
#include "memory.h"

#define PACKED_K 2048   /* columns of packed weights */
#define FLOAT_K 1024    /* and of float weights */
#define PREFILL 64      /* tokens */
#define L2_PANELS 4     /* of packed weights that stay in a core's own cache: at most 144 kB */
#define STEP_PANELS 128 /* between two barriers: 2048 rows */
#define CLAIMS 4        /* a thread's share of a step, as forward.c has it */
#define FLOAT_ROWS (L2_PANELS * STRATA_PANEL_ROWS)

#define MAX_REPEATS 10000

#define MIN_BYTES ((size_t)64 << 20)
#define MAX_BYTES ((size_t)256 << 20)

/* Floats of a thread's results, and bytes of its scratch. */
#define Y_FLOATS ((size_t)STRATA__TUNE_TOKENS * FLOAT_ROWS)
#define SCRATCH_BYTES ((STRATA_GEMM_SCRATCH_BYTES(FLOAT_K) + 63) / 64 * 64)

_Static_assert(STRATA__TUNE_TOKENS *FLOAT_K >= PREFILL * PACKED_K, "x has room for both");
_Static_assert(Y_FLOATS >= STEP_PANELS * STRATA_PANEL_ROWS, "y has room for a step");

/* ---- The bench ---- */

/* Twice what the last level of caches holds, within limits. */
static strata_status stream_bytes(size_t *bytes)
{
    strata_topology *topology;
    STRATA_TRY(strata_topology_load(&topology));
    unsigned last = 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < topology->n_caches; i++)
        if (topology->caches[i].level > last)
            last = topology->caches[i].level;
    for (size_t i = 0; i < topology->n_caches; i++)
        if (topology->caches[i].level == last && sum < MAX_BYTES)
            sum += topology->caches[i].bytes * topology->caches[i].count;
    strata_topology_free(&topology);
    *bytes = sum < MIN_BYTES / 2 ? MIN_BYTES : sum > MAX_BYTES / 2 ? MAX_BYTES : 2 * (size_t)sum;
    return STRATA_OK;
}

/* Bytes that make small finite numbers in every type; each thread touches its share first, which
 * spreads the pages over the memory nodes. */
static void fill_weights(void *context, unsigned thread)
{
    const struct strata__tune_bench *bench = context;
    size_t threads = strata__threads_count(bench->pool);
    size_t begin = bench->bytes / threads * thread;
    size_t end = thread + 1 == threads ? bench->bytes : begin + bench->bytes / threads;
    memset(bench->weights + begin, 0x2c, end - begin);
}

static strata_status allocate(struct strata__tune_bench *bench, unsigned threads)
{
    const char *what = "buffers of the tuner";
    const size_t elements = (size_t)PREFILL * PACKED_K;
    STRATA_TRY(stream_bytes(&bench->bytes));
    STRATA_TRY(strata__alloc_aligned(&bench->weights, bench->bytes, what));
    STRATA_TRY(
        strata__alloc_aligned(&bench->x, STRATA__TUNE_TOKENS * FLOAT_K * sizeof *bench->x, what));
    STRATA_TRY(strata__alloc_aligned(&bench->q8.q, elements, what));
    STRATA_TRY(strata__alloc_aligned(&bench->q8.scale, elements / 32 * sizeof(float), what));
    STRATA_TRY(strata__alloc_aligned(&bench->q8.sum, elements / 16 * sizeof(int16_t), what));
    STRATA_TRY(strata__alloc_aligned(&bench->q8.total, elements / 32 * sizeof(float), what));
    STRATA_TRY(strata__alloc_aligned(&bench->y, threads * Y_FLOATS * sizeof *bench->y, what));
    return strata__alloc_aligned(&bench->scratch, threads * SCRATCH_BYTES, what);
}

strata_status strata__tune_bench_open(struct strata__tune_bench *bench,
                                      struct strata__threads *pool,
                                      const struct strata_kernels *kernels, unsigned threads)
{
    *bench = (struct strata__tune_bench){.pool = pool};
    STRATA_TRY(allocate(bench, threads));
    strata__threads_run(pool, fill_weights, bench);
    for (size_t i = 0; i < (size_t)STRATA__TUNE_TOKENS * FLOAT_K; i++)
        bench->x[i] = (float)(i % 15) / 8 - 0.875f;
    kernels->quantize_q8(&bench->q8, bench->x, PREFILL, PACKED_K);
    return STRATA_OK;
}

void strata__tune_bench_close(struct strata__tune_bench *bench)
{
    strata__free(bench->weights);
    strata__free(bench->x);
    strata__free(bench->q8.q);
    strata__free(bench->q8.scale);
    strata__free(bench->q8.sum);
    strata__free(bench->q8.total);
    strata__free(bench->y);
    strata__free(bench->scratch);
    *bench = (struct strata__tune_bench){.pool = NULL};
}

/* ---- Workloads ---- */

/* A product of rows at `w`; the results go to the thread's own buffer. */
static struct strata_matmul product_of(const struct strata__trial *trial, const char *w,
                                       size_t rows, unsigned thread)
{
    const struct strata__tune_bench *bench = trial->bench;
    return (struct strata_matmul){
        .y = bench->y + thread * Y_FLOATS,
        .ldy = rows,
        .w = w,
        .rows = rows,
        .x = bench->x,
        .xq = bench->q8,
        .m = trial->tokens,
        .scratch = bench->scratch + thread * SCRATCH_BYTES,
    };
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t row_bytes(enum strata_type type)
{
    const struct strata_block_format *format = strata_block_format(type);
    return PACKED_K / format->block_elems * format->block_bytes;
}

/* Bytes of STRATA_PANEL_ROWS rows, packed where the type is. */
static size_t panel_bytes(enum strata_type type)
{
    return strata_packed_format(type).bits ? strata_panel_bytes(type, PACKED_K)
                                           : STRATA_PANEL_ROWS * row_bytes(type);
}

static void stream_all(const struct strata__trial *trial, unsigned thread)
{
    size_t panel = panel_bytes(trial->type), panels = trial->bench->bytes / panel;
    size_t claims = strata__threads_count(trial->pool) * CLAIMS, begin;
    size_t each = (STEP_PANELS + claims - 1) / claims;
    for (size_t first = 0; first < panels; first += STEP_PANELS) {
        size_t n = smaller(STEP_PANELS, panels - first);
        while ((begin = strata__threads_claim(trial->pool) * each) < n) {
            struct strata_matmul a =
                product_of(trial, trial->bench->weights + (first + begin) * panel,
                           smaller(each, n - begin) * STRATA_PANEL_ROWS, thread);
            a.k = a.ldx = PACKED_K;
            a.row_bytes = row_bytes(trial->type);
            trial->kernel(&a);
        }
        strata__threads_barrier(trial->pool);
    }
}

static void decode_task(void *context, unsigned thread)
{
    const struct strata__trial *trial = context;
    for (size_t i = 0; i < trial->repeats; i++)
        stream_all(trial, thread);
}

static void prefill_task(void *context, unsigned thread)
{
    const struct strata__trial *trial = context;
    struct strata_matmul a =
        product_of(trial, trial->bench->weights, L2_PANELS * STRATA_PANEL_ROWS, thread);
    a.k = PACKED_K;
    for (size_t i = 0; i < trial->repeats; i++)
        trial->kernel(&a);
}

static void float_task(void *context, unsigned thread)
{
    const struct strata__trial *trial = context;
    const struct strata_block_format *format = strata_block_format(trial->type);
    struct strata_matmul a = product_of(trial, trial->bench->weights, FLOAT_ROWS, thread);
    a.k = a.ldx = FLOAT_K;
    a.row_bytes = FLOAT_K / format->block_elems * format->block_bytes;
    for (size_t i = 0; i < trial->repeats; i++) {
        if (trial->kernel)
            trial->kernel(&a);
        else
            strata_gemm_f32_blas(&a, trial->dequantize);
    }
}

void strata__trial_decode(struct strata__trial *trial, const struct strata__tune_bench *bench,
                          struct strata__threads *pool, enum strata_type type,
                          strata_matmul_fn *kernel)
{
    size_t panels = bench->bytes / panel_bytes(type);
    *trial = (struct strata__trial){.bench = bench,
                                    .pool = pool,
                                    .task = decode_task,
                                    .type = type,
                                    .kernel = kernel,
                                    .tokens = 1,
                                    .work = (double)panels * STRATA_PANEL_ROWS * PACKED_K};
}

void strata__trial_prefill(struct strata__trial *trial, const struct strata__tune_bench *bench,
                           enum strata_type type, strata_packed_q8_fn *kernel)
{
    *trial = (struct strata__trial){.bench = bench,
                                    .pool = bench->pool,
                                    .task = prefill_task,
                                    .type = type,
                                    .kernel = kernel,
                                    .tokens = PREFILL,
                                    .work = (double)strata__threads_count(bench->pool) * PREFILL *
                                            L2_PANELS * STRATA_PANEL_ROWS * PACKED_K};
}

void strata__trial_float(struct strata__trial *trial, const struct strata__tune_bench *bench,
                         enum strata_type type, strata_gemm_f32_fn *kernel,
                         strata_dequantize_fn *dequantize, size_t tokens)
{
    *trial = (struct strata__trial){.bench = bench,
                                    .pool = bench->pool,
                                    .task = float_task,
                                    .type = type,
                                    .kernel = kernel,
                                    .dequantize = dequantize,
                                    .tokens = tokens,
                                    .work = (double)strata__threads_count(bench->pool) *
                                            (double)tokens * FLOAT_ROWS * FLOAT_K};
}

/* ---- Timing ---- */

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* One run; its seconds. */
static double measure(struct strata__trial *trial)
{
    double begin = seconds(CLOCK_MONOTONIC), processor = seconds(CLOCK_PROCESS_CPUTIME_ID);
    strata__threads_run(trial->pool, trial->task, trial);
    double passed = seconds(CLOCK_MONOTONIC) - begin;
    trial->wall += passed;
    trial->processor += seconds(CLOCK_PROCESS_CPUTIME_ID) - processor;
    return passed > 1e-9 ? passed : 1e-9;
}

/* The second run finds the caches as later ones do. */
static void choose_repeats(struct strata__trial *trial, double run_seconds)
{
    trial->repeats = 1;
    measure(trial);
    double repeats = run_seconds / measure(trial) + 1;
    trial->repeats = repeats > MAX_REPEATS ? MAX_REPEATS : (size_t)repeats;
    trial->wall = trial->processor = 0;
}

void strata__tune_race(struct strata__trial *trials, size_t n, double run_seconds)
{
    for (size_t i = 0; i < n; i++)
        choose_repeats(&trials[i], run_seconds);
    for (size_t round = 0; round < STRATA__TUNE_ROUNDS; round++)
        for (size_t i = 0; i < n; i++) {
            struct strata__trial *trial = &trials[round % 2 ? n - 1 - i : i];
            double work = trial->work * (double)trial->repeats;
            trial->rate[round] = work / measure(trial);
        }
}

double strata__tune_share(const struct strata__trial *trial)
{
    return trial->processor / (trial->wall * strata__threads_count(trial->pool));
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double strata__tune_rate(const struct strata__trial *trial)
{
    double sorted[STRATA__TUNE_ROUNDS];
    memcpy(sorted, trial->rate, sizeof sorted);
    qsort(sorted, STRATA__TUNE_ROUNDS, sizeof *sorted, by_value);
    return sorted[STRATA__TUNE_ROUNDS / 2];
}

static bool convinces(const struct strata__trial *trial, const struct strata__trial *usual,
                      double gain)
{
    unsigned wins = 0;
    for (size_t round = 0; round < STRATA__TUNE_ROUNDS; round++)
        wins += trial->rate[round] > usual->rate[round];
    return wins >= STRATA__TUNE_WINS &&
           strata__tune_rate(trial) > (1 + gain) * strata__tune_rate(usual);
}

struct strata__verdict strata__tune_judge(const struct strata__trial *trials, size_t n, double gain)
{
    struct strata__verdict verdict = {.best = 0};
    for (size_t i = 1; i < n; i++) {
        bool sure = convinces(&trials[i], &trials[0], gain);
        bool faster = strata__tune_rate(&trials[i]) > strata__tune_rate(&trials[verdict.best]);
        if (sure == verdict.convinces ? faster : sure)
            verdict = (struct strata__verdict){.best = i, .convinces = sure};
    }
    return verdict;
}

double strata__tune_product_rate(const struct strata__tune_bench *bench,
                                 struct strata__threads *pool, const struct strata_kernels *kernels,
                                 enum strata_type type, enum strata__phase phase, bool q8,
                                 double run_seconds)
{
    struct strata__trial trial;
    bool packed = strata_packed_format(type).bits > 0, decodes = phase == STRATA__DECODE;
    strata_matmul_fn *kernel = packed ? (q8 ? kernels->packed_q8 : kernels->packed_f32)[type]
                                      : (decodes ? kernels->gemv_f32 : kernels->gemm_f32)[type];
    if (decodes)
        strata__trial_decode(&trial, bench, pool, type, kernel);
    else if (packed)
        strata__trial_prefill(&trial, bench, type, kernel);
    else
        strata__trial_float(&trial, bench, type, kernel, kernels->dequantize[type], PREFILL);
    strata__tune_race(&trial, 1, run_seconds);
    return strata__tune_rate(&trial);
}

/* ---- Crossings ---- */

struct strata__crossing strata__tune_cross(const struct strata__trial trials[2], size_t tokens,
                                           bool usual_other, double gain)
{
    struct strata__verdict verdict = strata__tune_judge(trials, 2, gain);
    return (struct strata__crossing){.tokens = tokens,
                                     .default_rate = strata__tune_rate(&trials[0]),
                                     .other_rate = strata__tune_rate(&trials[1]),
                                     .fast = usual_other != (verdict.best == 1),
                                     .sure = usual_other != verdict.convinces};
}

/* The least tokens from which the other kernel is the better one for all numbers of them; never (0)
 * only when it is for none; the default when that is as good. */
static size_t least_tokens(const struct strata__crossing *at, size_t n, bool sure, size_t usual)
{
    size_t from = 0;
    bool any = false, as_usual = true, all = true;
    for (size_t i = n; i-- > 0;) {
        bool other = sure ? at[i].sure : at[i].fast;
        any |= other;
        all &= other;
        as_usual &= other == (usual > 0 && at[i].tokens >= usual);
        from = all ? at[i].tokens : from;
    }
    return as_usual || (any && !from) ? usual : from;
}

struct strata__crossing_choice strata__tune_border(const struct strata__crossing *at, size_t n,
                                                   size_t usual)
{
    struct strata__crossing_choice choice = {.kept = least_tokens(at, n, true, usual)};
    size_t shown = 0;
    choice.best = choice.kept != usual ? choice.kept : least_tokens(at, n, false, usual);
    while (shown + 1 < n && at[shown].tokens != choice.best)
        shown++;
    choice.default_rate = at[shown].default_rate;
    choice.best_rate = choice.best == usual ? at[shown].default_rate : at[shown].other_rate;
    return choice;
}

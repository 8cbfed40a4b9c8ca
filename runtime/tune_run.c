/* strata_tune: which choices are measured, and which are kept (tune.h, tune_race.h). */
#include <stdio.h>
#include <string.h>

#include "cpu_features.h"
#include "device_cuda_run.h"
#include "devices.h"
#include "forward.h"
#include "gemm_blas.h"
#include "memory.h"
#include "runtime.h"
#include "topology.h"
#include "tune_device.h"
#include "tune_race.h"

#define GAIN 0.03         /* that a kernel must have to replace the default */
#define THREADS_GAIN 0.05 /* and fewer threads */

/* Seconds of a run.  When numbers of threads take turns, Linux needs some milliseconds to move the
 * calling thread away from the core of one that wakes up: long runs hide that. */
#define RUN 0.004
#define THREADS_RUN 0.05
#define RATE_RUN 0.02

#define MAX_PUS 1024

/* What is measured for F32, F16 and BF16, in tokens. */
static const size_t blas_tokens[] = {2, 8, 32, 128, STRATA__TUNE_TOKENS};
#define N_BLAS_TOKENS (sizeof blas_tokens / sizeof *blas_tokens)

_Static_assert(N_BLAS_TOKENS <= STRATA__CROSSINGS, "as many as are compared");
_Static_assert(STRATA__TUNE_TOKENS <= STRATA__CHUNK, "products have no more tokens than a chunk");

/* One choice to be made. */
struct item {
    enum kind { KERNEL, BLAS, DEVICE_TILES, DEVICE_GEMV, DEVICE_BLAS, THREADS, RATES } kind;
    enum strata__phase phase; /* of kernels */
    enum strata_type type;    /* of all but threads and rates */
    struct strata__device *device;
    bool quick; /* of rates */
};

struct run {
    const strata_runtime *runtime;
    struct strata_kernels kernels; /* the defaults of the level */
    struct strata__tune_bench bench;
    struct strata__tuning tuning; /* what is kept so far */
    struct strata__tune_result *result;
    struct item items[STRATA__TUNE_CHOICES + 1];
    size_t n_items;
    const char *kinds[STRATA__TUNED_DEVICES]; /* of the devices that are measured */
    size_t n_kinds;
    struct strata__tune_device *device; /* of `open`, or NULL */
    struct strata__device *open;
};

/* ---- What there is to measure ---- */

/* Levels with a kernel of their own for the type, the default first; returns how many. */
static size_t find_levels(const struct run *run, enum strata_type type,
                          enum strata_level levels[STRATA_LEVEL_COUNT])
{
    size_t n = 0;
    for (enum strata_level level = run->runtime->level; level > STRATA_LEVEL_ref; level--)
        if (strata__tuning_kernel(type, level))
            levels[n++] = level;
    return n;
}

static bool is_common(enum strata_type type)
{
    return type == STRATA_TYPE_Q4_0 || type == STRATA_TYPE_Q8_0 || type == STRATA_TYPE_Q4_K ||
           type == STRATA_TYPE_F16;
}

/* ---- Kernels ---- */

static strata_status tune_kernel(struct run *run, const struct item *item)
{
    enum strata_level levels[STRATA_LEVEL_COUNT];
    struct strata__trial trials[STRATA_LEVEL_COUNT];
    size_t n = find_levels(run, item->type, levels);
    for (size_t i = 0; i < n; i++) {
        strata_packed_q8_fn *kernel = strata__tuning_kernel(item->type, levels[i]);
        if (item->phase == STRATA__DECODE)
            strata__trial_decode(&trials[i], &run->bench, run->bench.pool, item->type, kernel);
        else
            strata__trial_prefill(&trials[i], &run->bench, item->type, kernel);
    }
    strata__tune_race(trials, n, RUN);
    struct strata__verdict verdict = strata__tune_judge(trials, n, GAIN);
    strata_tune_choice *choice = strata__tune_add_kernel(run->result, item->phase, item->type,
                                                         levels[0], levels[verdict.best]);
    choice->default_rate = strata__tune_rate(&trials[0]);
    choice->best_rate = strata__tune_rate(&trials[verdict.best]);
    choice->kept = verdict.convinces;
    if (verdict.convinces)
        run->tuning.level[item->phase][item->type] = levels[verdict.best];
    return STRATA_OK;
}

/* ---- OpenBLAS ---- */

static struct strata__crossing cross(const struct run *run, enum strata_type type, size_t tokens,
                                     bool usual_blas)
{
    struct strata__trial trials[2];
    strata_gemm_f32_fn *own = run->kernels.gemm_f32[type];
    strata_dequantize_fn *dequantize = run->kernels.dequantize[type];
    for (size_t i = 0; i < 2; i++)
        strata__trial_float(&trials[i], &run->bench, type, (i == 0) == usual_blas ? NULL : own,
                            dequantize, tokens);
    strata__tune_race(trials, 2, RUN);
    return strata__tune_cross(trials, tokens, usual_blas, GAIN);
}

static strata_status tune_blas(struct run *run, const struct item *item)
{
    struct strata__crossing at[N_BLAS_TOKENS];
    size_t usual = run->tuning.blas_from[item->type];
    for (size_t i = 0; i < N_BLAS_TOKENS; i++)
        at[i] = cross(run, item->type, blas_tokens[i], usual > 0 && blas_tokens[i] >= usual);
    struct strata__crossing_choice found = strata__tune_border(at, N_BLAS_TOKENS, usual);
    strata_tune_choice *choice = strata__tune_add_blas(run->result, item->type, usual, found.best);
    choice->default_rate = found.default_rate;
    choice->best_rate = found.best_rate;
    choice->kept = found.kept != usual;
    run->tuning.blas_from[item->type] = found.kept;
    return STRATA_OK;
}

/* ---- Devices ---- */

/* The one at hand stays open while items are of it. */
static strata_status open_device(struct run *run, struct strata__device *device)
{
    if (run->open == device)
        return STRATA_OK;
    strata__tune_device_close(&run->device);
    run->open = NULL;
    STRATA_TRY(
        strata__tune_device_open(&run->device, device, run->runtime->device == STRATA__DEVICE_EMU));
    run->open = device;
    return STRATA_OK;
}

static strata_status tune_device(struct run *run, const struct item *item)
{
    STRATA_TRY(open_device(run, item->device));
    return (item->kind == DEVICE_TILES ? strata__tune_device_tiles
            : item->kind == DEVICE_BLAS
                ? strata__tune_device_blas
                : strata__tune_device_gemv)(run->device, item->type, &run->tuning, run->result);
}

/* A device of each kind. */
static void plan_devices(struct run *run, bool quick)
{
    size_t count;
    struct strata__device *const *devices = strata__devices_list(run->runtime, &count);
    for (size_t d = 0; d < count; d++) {
        struct strata__cuda_handle cuda = strata__cuda_device_handle(devices[d]);
        bool again = run->n_kinds == STRATA__TUNED_DEVICES;
        for (size_t k = 0; k < run->n_kinds; k++)
            again |= strcmp(run->kinds[k], cuda.kind) == 0;
        if (again)
            continue;
        run->kinds[run->n_kinds++] = cuda.kind;
        for (int t = 0; t < STRATA_TYPE_COUNT; t++) {
            struct item item = {.type = (enum strata_type)t, .device = devices[d]};
            if (strata_packed_format(item.type).bits == 0 || (quick && !is_common(item.type)))
                continue;
            item.kind = DEVICE_TILES;
            run->items[run->n_items++] = item;
            item.kind = DEVICE_GEMV;
            run->items[run->n_items++] = item;
            item.kind = DEVICE_BLAS;
            if (cuda.has_blas)
                run->items[run->n_items++] = item;
        }
    }
}

/* Choices for devices that are not here now stay. */
static void keep_devices(struct run *run)
{
    struct strata__tuning old;
    char reason[4608];
    strata__tuning_default(&old, run->runtime->level);
    if (strata__tune_read(&run->result->host, &old, reason, sizeof reason) == STRATA__TUNE_FOUND)
        memcpy(run->tuning.device, old.device, sizeof old.device);
}

/* ---- Threads ---- */

/* Numbers of threads, one a core first; returns how many (at most 5). */
static size_t find_counts(unsigned cores, unsigned counts[5])
{
    const unsigned wanted[] = {cores, cores - 1, cores * 3 / 4, cores / 2, cores / 4};
    size_t n = 0;
    for (size_t i = 0; i < 5; i++)
        if (wanted[i] > 0 && (n == 0 || wanted[i] < counts[n - 1]))
            counts[n++] = wanted[i];
    return n;
}

static strata_status open_pools(struct strata__threads *pools[], const unsigned counts[], size_t n)
{
    unsigned pus[MAX_PUS];
    size_t n_pus, n_cores;
    STRATA_TRY(strata__topology_pus(pus, MAX_PUS, &n_pus, &n_cores));
    for (size_t i = 0; i < n; i++)
        STRATA_TRY(strata__threads_open(&pools[i], counts[i], pus, n_pus));
    return STRATA_OK;
}

/* One thread a core waits for nobody but the memory, when it has the core for itself. */
static void warn_of_load(const strata_runtime *runtime, const struct strata__trial *trial)
{
    double share = strata__tune_share(trial);
    if (share < 0.85)
        strata__log(runtime->log, runtime->log_user, STRATA_LOG_WARN,
                    "the host is busy or a quota holds: threads ran for %.0f %% of the time only, "
                    "which makes fewer of them look better than they are",
                    100 * share);
}

/* Decodes with the kernel that is kept for the type. */
static strata_status tune_threads(struct run *run, const struct item *item)
{
    (void)item;
    unsigned counts[5];
    struct strata__threads *pools[5] = {NULL};
    struct strata__trial trials[5];
    struct strata_kernels decode = run->kernels;
    size_t n = find_counts(run->runtime->cores, counts);
    strata__tuning_apply(&run->tuning, STRATA__DECODE, &decode);
    strata_status status = open_pools(pools, counts, n);
    if (status == STRATA_OK) {
        for (size_t i = 0; i < n; i++)
            strata__trial_decode(&trials[i], &run->bench, pools[i], STRATA_TYPE_Q4_K,
                                 decode.packed_q8[STRATA_TYPE_Q4_K]);
        strata__tune_race(trials, n, THREADS_RUN);
        warn_of_load(run->runtime, &trials[0]);
        struct strata__verdict verdict = strata__tune_judge(trials, n, THREADS_GAIN);
        strata_tune_choice *choice =
            strata__tune_add_threads(run->result, counts[0], counts[verdict.best]);
        choice->default_rate = strata__tune_rate(&trials[0]);
        choice->best_rate = strata__tune_rate(&trials[verdict.best]);
        choice->kept = verdict.convinces;
        run->tuning.threads = verdict.convinces ? counts[verdict.best] : 0;
    }
    for (size_t i = 0; i < n; i++)
        strata__threads_close(&pools[i]);
    return status;
}

/* ---- Rates ---- */

static unsigned rate_of(const struct run *run, struct strata__threads *pool,
                        const struct strata_kernels *kernels, enum strata_type type,
                        enum strata__phase phase)
{
    double rate =
        strata__tune_product_rate(&run->bench, pool, kernels, type, phase, true, RATE_RUN) / 1e6;
    return rate < 1 ? 1 : rate > 999999999 ? 999999999 : (unsigned)rate;
}

/* How fast products are with what is kept, threads included: for plans. */
static strata_status measure_rates(struct run *run, const struct item *item)
{
    struct strata__threads *own = NULL, *pool = run->bench.pool;
    unsigned threads = run->tuning.threads;
    if (threads && threads != strata__threads_count(pool)) {
        STRATA_TRY(open_pools(&own, &threads, 1));
        pool = own;
    }
    for (int phase = 0; phase < STRATA__PHASES; phase++) {
        struct strata_kernels kernels = run->kernels;
        strata__tuning_apply(&run->tuning, (enum strata__phase)phase, &kernels);
        for (int t = 0; t < STRATA_TYPE_COUNT; t++) {
            enum strata_type type = (enum strata_type)t;
            if (strata__tuning_has_rate(type) && (!item->quick || is_common(type)))
                run->tuning.rate[phase][t] =
                    rate_of(run, pool, &kernels, type, (enum strata__phase)phase);
        }
    }
    run->tuning.rate_threads = strata__threads_count(pool);
    strata__threads_close(&own);
    return STRATA_OK;
}

/* ---- The whole ---- */

static void plan(struct run *run, bool quick)
{
    enum strata_level levels[STRATA_LEVEL_COUNT];
    for (int phase = STRATA__PHASES - 1; phase >= 0; phase--)
        for (int t = 0; t < STRATA_TYPE_COUNT; t++) {
            enum strata_type type = (enum strata_type)t;
            if (find_levels(run, type, levels) > 1 && (!quick || is_common(type)))
                run->items[run->n_items++] =
                    (struct item){.kind = KERNEL, .phase = (enum strata__phase)phase, .type = type};
        }
    const bool blas = run->runtime->blas != STRATA__BLAS_OFF && strata_blas_open();
    for (int t = 0; t < STRATA_TYPE_COUNT && blas; t++) {
        enum strata_type type = (enum strata_type)t;
        if (strata__tuning_has_blas(type) && (!quick || is_common(type)))
            run->items[run->n_items++] = (struct item){.kind = BLAS, .type = type};
    }
    plan_devices(run, quick);
    if (run->runtime->cores > 1)
        run->items[run->n_items++] = (struct item){.kind = THREADS};
    run->items[run->n_items++] = (struct item){.kind = RATES, .quick = quick};
}

static void item_name(const struct item *item, char *out, size_t cap)
{
    const char *of = item->device            ? item->device->name
                     : item->kind == KERNEL  ? strata__phase_name(item->phase)
                     : item->kind == BLAS    ? "blas"
                     : item->kind == THREADS ? "threads"
                                             : "rates";
    if (item->kind == THREADS || item->kind == RATES)
        snprintf(out, cap, "%s", of);
    else
        snprintf(out, cap, "%s %s", of, strata_block_format(item->type)->name);
}

static strata_status run_items(struct run *run, strata_progress_fn *on_progress, void *user)
{
    static strata_status (*const tune[])(struct run *, const struct item *) = {
        [KERNEL] = tune_kernel,      [BLAS] = tune_blas,          [DEVICE_TILES] = tune_device,
        [DEVICE_GEMV] = tune_device, [DEVICE_BLAS] = tune_device, [THREADS] = tune_threads,
        [RATES] = measure_rates};
    for (size_t i = 0; i < run->n_items; i++) {
        const struct item *item = &run->items[i];
        char what[48];
        item_name(item, what, sizeof what);
        if (on_progress && !on_progress(user, what, i, run->n_items))
            return strata__fail(STRATA_E_CANCELLED, "tuning cancelled");
        STRATA_TRY(tune[item->kind](run, item));
    }
    return STRATA_OK;
}

static strata_status check(const strata_runtime *runtime, const strata_tune_options *options)
{
    if (options->size != sizeof *options)
        return strata__fail(STRATA_E_INVALID,
                            "strata_tune_options: size is %zu, this library knows %zu; fill it "
                            "with strata_tune_options_default",
                            options->size, sizeof *options);
    if (runtime->level != strata_cpu_level())
        return strata__fail(STRATA_E_INVALID,
                            "the kernel level is lowered to %s: choices are made for the host's "
                            "own, %s",
                            strata_level_name(runtime->level),
                            strata_level_name(strata_cpu_level()));
    return STRATA_OK;
}

void strata_tune_options_default(strata_tune_options *options)
{
    *options = (strata_tune_options){.size = sizeof *options};
}

strata_status strata_tune(strata_runtime *runtime, const strata_tune_options *options,
                          strata_progress_fn *on_progress, void *user, strata_tuning **out)
{
    strata_tune_options defaults;
    strata_tune_options_default(&defaults);
    options = options ? options : &defaults;
    *out = NULL;
    STRATA_TRY(check(runtime, options));
    struct run run = {.runtime = runtime};
    struct strata__scope before = strata__scope_set(runtime->core);
    unsigned threads = strata__threads_count(runtime->threads);
    strata_kernels_select(&run.kernels, runtime->level);
    strata__tuning_default(&run.tuning, runtime->level);
    strata_status status = strata__tune_result_open(&run.result, runtime->cores);
    if (status == STRATA_OK && !options->dry_run)
        status = strata__tune_can_write(&run.result->host);
    if (status == STRATA_OK)
        status = strata__tune_bench_open(&run.bench, runtime->threads, &run.kernels,
                                         threads > runtime->cores ? threads : runtime->cores);
    plan(&run, options->quick);
    if (status == STRATA_OK)
        keep_devices(&run);
    if (status == STRATA_OK)
        status = run_items(&run, on_progress, user);
    if (status == STRATA_OK && !options->dry_run)
        status = strata__tune_write(&run.result->host, &run.tuning);
    strata__tune_bench_close(&run.bench);
    strata__tune_device_close(&run.device);
    if (status == STRATA_OK) {
        strata__tune_explain(run.result, runtime);
        *out = &run.result->shown;
    } else {
        strata__free(run.result);
    }
    strata__scope_set(before);
    return status;
}

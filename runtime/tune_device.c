/* Measuring packed products on devices (tune_device.h). */
#include "tune_device.h"

#include <string.h>

#include "device_cuda_run.h"
#include "memory.h"
#include "tune_race.h"

#define GAIN 0.03
#define RUN 0.004 /* seconds */
#define REPEATS_MOST 1000
#define OWN "packed_halves" /* our own kernel on tensor cores, as the plug-in chooses its tile */
#define KERNELS (1 + STRATA_CUDA_MAX_TILES) /* of a race, at most */

/* What is measured: square matrices that wide, with so many tokens; through cuBLAS, more than are
 * computed in 8 bits. */
struct sizes {
    uint64_t bytes; /* of weights: more than caches hold */
    uint32_t n;
    size_t blas[6], n_blas, gemv[6], n_gemv, tile[2][3], n_tile[2]; /* tile: few, many */
};

static const struct sizes usual_sizes = {.bytes = (uint64_t)512 << 20,
                                         .n = 4096,
                                         .blas = {65, 96, 128, 256, 512},
                                         .n_blas = 5,
                                         .gemv = {8, 16, 32, 48, 64, 128},
                                         .n_gemv = 6,
                                         .tile = {{16, 32, 64}, {128, 512}},
                                         .n_tile = {3, 2}};

static const struct sizes small_sizes = {.bytes = 1 << 20,
                                         .n = 256,
                                         .blas = {2, 8},
                                         .n_blas = 2,
                                         .gemv = {2, 9},
                                         .n_gemv = 2,
                                         .tile = {{9}, {65}},
                                         .n_tile = {1, 1}};

struct strata__tune_device {
    struct strata__device *device;
    struct strata__cuda_handle cuda;
    const struct sizes *sizes;
    struct strata_cuda_bench *bench;
};

strata_status strata__tune_device_open(struct strata__tune_device **out,
                                       struct strata__device *device, bool quickly)
{
    char message[256] = "";
    double copy;
    STRATA_TRY(strata__calloc(out, 1, sizeof **out, "tuning a device"));
    struct strata__tune_device *d = *out;
    d->device = device;
    d->cuda = strata__cuda_device_handle(device);
    d->sizes = quickly ? &small_sizes : &usual_sizes;
    strata_status status = strata__cuda_device_status(
        device,
        d->cuda.plugin->bench_open(d->cuda.context, d->sizes->bytes, &d->bench, &copy, message,
                                   sizeof message),
        message);
    if (status != STRATA_OK)
        strata__tune_device_close(out);
    return status;
}

void strata__tune_device_close(struct strata__tune_device **handle)
{
    struct strata__tune_device *d = *handle;
    if (d && d->bench)
        d->cuda.plugin->bench_close(d->bench);
    strata__free(d);
    *handle = NULL;
}

/* ---- Races ---- */

static uint32_t find_row(const struct strata_cuda_plugin *plugin, const char *op,
                         enum strata_type type)
{
    uint32_t row = 0;
    while (row < plugin->n_rows && (plugin->rows[row].type != strata_block_format(type)->gguf_id ||
                                    strcmp(plugin->rows[row].op, op) != 0))
        row++;
    return row;
}

static strata_status call(const struct strata__tune_device *d, uint32_t row, size_t tokens,
                          uint32_t repeats, struct strata_cuda_cost *cost)
{
    char message[256] = "";
    const struct strata_cuda_shape shape = {d->sizes->n, (uint32_t)tokens};
    if (row >= d->cuda.plugin->n_rows)
        return strata__fail(STRATA_E_DEVICE, "%s: the CUDA plug-in lacks a kernel to measure",
                            d->device->name);
    int status =
        d->cuda.plugin->bench_run(d->bench, row, shape, repeats, cost, message, sizeof message);
    return strata__cuda_device_status(d->device, status, message);
}

/* What a number of tokens takes, added to the seconds of each kernel's rounds; *ops: a call's. */
static strata_status time_kernels(const struct strata__tune_device *d, const uint32_t *rows,
                                  size_t n, size_t tokens, double seconds[][STRATA__TUNE_ROUNDS],
                                  double *ops)
{
    struct strata_cuda_cost cost;
    uint32_t repeats[KERNELS];
    for (size_t i = 0; i < n; i++) {
        STRATA_TRY(call(d, rows[i], tokens, 1, &cost));
        double wanted = cost.seconds > 0 ? RUN / cost.seconds : REPEATS_MOST;
        repeats[i] = wanted < 1 ? 1 : wanted > REPEATS_MOST ? REPEATS_MOST : (uint32_t)wanted;
    }
    for (int round = 0; round < STRATA__TUNE_ROUNDS; round++)
        for (size_t i = 0; i < n; i++) {
            STRATA_TRY(call(d, rows[i], tokens, repeats[i], &cost));
            seconds[i][round] += cost.seconds > 0 ? cost.seconds : 1e-9;
        }
    *ops = cost.ops;
    return STRATA_OK;
}

/* Rates of kernels, round by round, over one product of each number of tokens. */
static strata_status race(const struct strata__tune_device *d, const uint32_t *rows, size_t n,
                          const size_t *tokens, size_t n_tokens, struct strata__trial *trials)
{
    double seconds[KERNELS][STRATA__TUNE_ROUNDS] = {{0}}, all = 0, ops;
    for (size_t t = 0; t < n_tokens; t++) {
        STRATA_TRY(time_kernels(d, rows, n, tokens[t], seconds, &ops));
        all += ops;
    }
    for (size_t i = 0; i < n; i++) {
        trials[i] = (struct strata__trial){.tokens = tokens[n_tokens - 1]};
        for (int round = 0; round < STRATA__TUNE_ROUNDS; round++)
            trials[i].rate[round] = all / 2 / seconds[i][round];
    }
    return STRATA_OK;
}

/* The row of an operation; of our own kernel with the tile that is kept. */
static uint32_t kept_row(const struct strata__tune_device *d, const char *op, enum strata_type type,
                         size_t tokens, const struct strata__device_tuning *kept)
{
    const struct strata_cuda_plugin *plugin = d->cuda.plugin;
    const uint32_t *tiles = tokens > STRATA_CUDA_FEW_TOKENS ? kept->tile_many : kept->tile_few;
    for (uint32_t i = 0; i < plugin->n_tiles; i++)
        if (strcmp(op, OWN) == 0 && plugin->tiles[i].tokens == tiles[type])
            op = plugin->tiles[i].op;
    return find_row(plugin, op, type);
}

/* Which of two kernels is better at some numbers of tokens, the one for many or that for few. */
struct border {
    const char *few, *many; /* operations */
    const size_t *tokens;
    size_t n, usual; /* usual: tokens from which it is `many` by default */
};

/* The tokens from which `many` is the better one; 0: from none. */
static strata_status find_border(const struct strata__tune_device *d, enum strata_type type,
                                 const struct border *b, const struct strata__device_tuning *kept,
                                 struct strata__crossing_choice *out)
{
    struct strata__crossing at[STRATA__CROSSINGS];
    for (size_t i = 0; i < b->n; i++) {
        struct strata__trial trials[2];
        const bool usual_many = b->tokens[i] >= b->usual;
        const char *ops[2] = {usual_many ? b->many : b->few, usual_many ? b->few : b->many};
        const uint32_t rows[2] = {kept_row(d, ops[0], type, b->tokens[i], kept),
                                  kept_row(d, ops[1], type, b->tokens[i], kept)};
        STRATA_TRY(race(d, rows, 2, &b->tokens[i], 1, trials));
        at[i] = strata__tune_cross(trials, b->tokens[i], usual_many, GAIN);
    }
    *out = strata__tune_border(at, b->n, b->usual);
    return STRATA_OK;
}

/* ---- Choices ---- */

static struct strata__device_tuning *tuning_of(const struct strata__tune_device *d,
                                               struct strata__tuning *tuning)
{
    return strata__tuning_device_slot(tuning, d->cuda.kind);
}

/* The plug-in's own choice, and each tile for all numbers of tokens. */
static strata_status tune_tile(const struct strata__tune_device *d, enum strata_type type,
                               bool many, uint32_t *kept, struct strata__tune_result *result)
{
    const struct strata_cuda_plugin *plugin = d->cuda.plugin;
    const size_t n =
        plugin->n_tiles < STRATA_CUDA_MAX_TILES ? plugin->n_tiles : STRATA_CUDA_MAX_TILES;
    struct strata__trial trials[KERNELS];
    uint32_t rows[KERNELS] = {find_row(plugin, OWN, type)};
    for (size_t i = 0; i < n; i++)
        rows[1 + i] = find_row(plugin, plugin->tiles[i].op, type);
    STRATA_TRY(race(d, rows, 1 + n, d->sizes->tile[many], d->sizes->n_tile[many], trials));
    struct strata__verdict verdict = strata__tune_judge(trials, 1 + n, GAIN);
    uint32_t best = verdict.best ? plugin->tiles[verdict.best - 1].tokens : 0;
    strata_tune_choice *choice =
        strata__tune_add_device_tile(result, d->device->name, type, many, best);
    choice->default_rate = strata__tune_rate(&trials[0]);
    choice->best_rate = strata__tune_rate(&trials[verdict.best]);
    choice->kept = verdict.convinces;
    *kept = verdict.convinces ? best : 0;
    return STRATA_OK;
}

strata_status strata__tune_device_tiles(struct strata__tune_device *d, enum strata_type type,
                                        struct strata__tuning *tuning,
                                        struct strata__tune_result *result)
{
    struct strata__device_tuning *kept = tuning_of(d, tuning);
    STRATA_TRY(tune_tile(d, type, false, &kept->tile_few[type], result));
    return tune_tile(d, type, true, &kept->tile_many[type], result);
}

strata_status strata__tune_device_blas(struct strata__tune_device *d, enum strata_type type,
                                       struct strata__tuning *tuning,
                                       struct strata__tune_result *result)
{
    const size_t usual = d->cuda.plugin->blas_from;
    const struct border border = {OWN, "packed_blas", d->sizes->blas, d->sizes->n_blas, usual};
    struct strata__crossing_choice found;
    STRATA_TRY(find_border(d, type, &border, tuning_of(d, tuning), &found));
    strata_tune_choice *choice =
        strata__tune_add_device_blas(result, d->device->name, type, usual, found.best);
    choice->default_rate = found.default_rate;
    choice->best_rate = found.best_rate;
    choice->kept = found.kept != usual;
    tuning_of(d, tuning)->blas_from[type] = !choice->kept ? 0
                                            : found.kept  ? (uint32_t)found.kept
                                                          : UINT32_MAX;
    return STRATA_OK;
}

/* The most tokens without tensor cores; where these never are better, as many as were measured. */
static size_t gemv_tokens(const struct border *border, size_t from)
{
    return from ? from - 1 : border->tokens[border->n - 1];
}

strata_status strata__tune_device_gemv(struct strata__tune_device *d, enum strata_type type,
                                       struct strata__tuning *tuning,
                                       struct strata__tune_result *result)
{
    const size_t usual = d->cuda.plugin->gemv_tokens;
    const struct border border = {"packed_q8", OWN, d->sizes->gemv, d->sizes->n_gemv, usual + 1};
    struct strata__crossing_choice found;
    STRATA_TRY(find_border(d, type, &border, tuning_of(d, tuning), &found));
    strata_tune_choice *choice = strata__tune_add_device_gemv(result, d->device->name, type, usual,
                                                              gemv_tokens(&border, found.best));
    choice->default_rate = found.default_rate;
    choice->best_rate = found.best_rate;
    choice->kept = gemv_tokens(&border, found.kept) != usual;
    tuning_of(d, tuning)->gemv_tokens[type] =
        choice->kept ? (uint32_t)gemv_tokens(&border, found.kept) : 0;
    return STRATA_OK;
}

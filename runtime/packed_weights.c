/* Packing a model's matrices, or taking them from the cache file.
 *
 * Everything that is done with all weights, packing and checking, is done in runs of panels that
 * the threads of the runtime claim. */
#include "packed_weights.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "cache_folder.h"
#include "checked.h"
#include "file_map.h"
#include "governor.h"
#include "memory.h"
#include "model.h"
#include "packed_cache.h"

/* Panels of a run: some hundred kilobytes. */
#define RUN_PANELS 16

enum strata_type strata__packed_type(const struct strata_model *model,
                                     const struct strata__tensor *tensor)
{
    if (strata_packed_format(tensor->type).bits == 0 && model->compute == STRATA_COMPUTE_DYNAMIC &&
        tensor->shape[0] % 32 == 0)
        return STRATA_TYPE_Q8_0;
    return tensor->type;
}

static uint64_t panels_of(const struct strata__tensor *tensor)
{
    return (tensor->rows + STRATA_PANEL_ROWS - 1) / STRATA_PANEL_ROWS;
}

/* The matrix of the tensor, or NULL. */
static struct strata__packed_matrix *find(struct strata__packed_weights *packed,
                                          const struct strata__tensor *tensor)
{
    for (size_t i = 0; i < packed->count; i++)
        if (packed->matrices[i].tensor == tensor)
            return &packed->matrices[i];
    return NULL;
}

/* ---- what has to be packed ---- */

static strata_status add_matrix(struct strata__packed_weights *packed,
                                const struct strata__tensor *tensor, enum strata_type type)
{
    struct strata__packed_matrix *matrix = &packed->matrices[packed->count];
    *matrix =
        (struct strata__packed_matrix){.tensor = tensor, .type = type, .offset = packed->bytes};
    if (!strata__mul_u64(panels_of(tensor), strata_panel_bytes(type, tensor->shape[0]),
                         &matrix->bytes) ||
        !strata__add_u64(packed->bytes, matrix->bytes, &packed->bytes))
        return strata__fail(STRATA_E_NOMEM, "tensor %s: its packed size is beyond 2^64 bytes",
                            tensor->name);
    packed->count++;
    return STRATA_OK;
}

static strata_status list_matrices(struct strata_model *model)
{
    struct strata__packed_weights *packed = &model->packed;
    size_t products = 0;
    for (size_t i = 0; i < model->n_steps; i++)
        products += model->steps[i].products;
    STRATA_TRY(
        strata__calloc(&packed->matrices, products, sizeof *packed->matrices, "packed weights"));
    for (size_t i = 0; i < model->n_steps; i++)
        for (unsigned p = 0; p < model->steps[i].products; p++) {
            const struct strata__tensor *tensor = model->steps[i].product[p].weight;
            enum strata_type type = strata__packed_type(model, tensor);
            if (strata_packed_format(type).bits && !find(packed, tensor))
                STRATA_TRY(add_matrix(packed, tensor, type));
        }
    return STRATA_OK;
}

/* ---- runs of panels ---- */

/* RUN_PANELS panels of a matrix, or what is left at its end. */
struct run {
    struct strata__packed_matrix *matrix;
    uint64_t number; /* in the matrix */
    unsigned char *panels;
    size_t panel_bytes, n_panels;
    const char *source;
    size_t source_rows;
};

static struct run run_of(const struct strata__packed_weights *packed, size_t index, uint64_t number)
{
    struct strata__packed_matrix *matrix = &packed->matrices[index];
    const struct strata__tensor *tensor = matrix->tensor;
    uint64_t first = number * RUN_PANELS, row = first * STRATA_PANEL_ROWS;
    uint64_t panels = panels_of(tensor) - first, rows = tensor->rows - row;
    size_t panel_bytes = strata_panel_bytes(matrix->type, tensor->shape[0]);
    return (struct run){
        .matrix = matrix,
        .number = number,
        .panels = packed->data + matrix->offset + first * panel_bytes,
        .panel_bytes = panel_bytes,
        .n_panels = panels < RUN_PANELS ? (size_t)panels : RUN_PANELS,
        .source = (const char *)tensor->data + row * tensor->row_bytes,
        .source_rows =
            rows < RUN_PANELS * STRATA_PANEL_ROWS ? (size_t)rows : RUN_PANELS * STRATA_PANEL_ROWS,
    };
}

static void add_checksum(const struct run *run)
{
    atomic_fetch_add(
        &run->matrix->checksum,
        XXH3_64bits_withSeed(run->panels, run->n_panels * run->panel_bytes, run->number));
}

static void add_source_hash(const struct run *run)
{
    size_t bytes = run->source_rows * run->matrix->tensor->row_bytes;
    atomic_fetch_add(&run->matrix->source, XXH3_64bits_withSeed(run->source, bytes, run->number));
}

/* Tells the system that the pages wholly within these bytes of a file's mapping are not needed for
 * now; they come back from the file when they are. */
static void drop_pages(const void *data, uint64_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)data + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)data + bytes) / page * page;
    if (end > begin)
        madvise((void *)begin, end - begin, MADV_DONTNEED); /* refused: they only stay longer */
}

static void drop_source(const struct run *run)
{
    drop_pages(run->source, run->source_rows * run->matrix->tensor->row_bytes);
}

/* ---- what is done with all of them ---- */

struct work {
    const struct strata__packed_weights *packed;
    const struct strata_kernels *kernels;
    unsigned char *rounding; /* of each thread rounding_bytes, for rows that become Q8_0 */
    size_t rounding_bytes;
    struct strata__threads *pool;
    void (*each)(struct work *work, struct run *run, unsigned thread);
    unsigned char *scratch; /* of each thread scratch_bytes, for panels on their way to the file */
    size_t scratch_bytes;
    bool drops;          /* what is looked at need not stay in memory: it does not all fit */
    _Atomic bool failed; /* a thread has given up; the reason, as its last error had it: */
    char reason[256];
};

static size_t rounded_row_bytes(size_t k)
{
    return k / 32 * sizeof(struct strata_block_q8_0);
}

/* Room for a row as floats, and for the rows of a panel in Q8_0. */
static size_t rounding_bytes(size_t k)
{
    return (k * sizeof(float) + STRATA_PANEL_ROWS * rounded_row_bytes(k) + 63) / 64 * 64;
}

/* The rows at `source` in Q8_0, in the thread's room. */
static const char *round_rows(const struct work *work, const struct strata__tensor *tensor,
                              const char *source, size_t rows, unsigned thread)
{
    size_t k = tensor->shape[0], row_bytes = rounded_row_bytes(k);
    float *values = (float *)(void *)(work->rounding + thread * work->rounding_bytes);
    char *out = (char *)(values + k);
    for (size_t r = 0; r < rows; r++) {
        work->kernels->dequantize[tensor->type](values, source + r * tensor->row_bytes, k);
        work->kernels->encode[STRATA_TYPE_Q8_0](out + r * row_bytes, values, k);
    }
    return out;
}

static void pack(const struct work *work, const struct run *run, unsigned thread)
{
    const struct strata__tensor *tensor = run->matrix->tensor;
    bool rounds = run->matrix->type != tensor->type;
    size_t k = tensor->shape[0];
    for (size_t p = 0; p < run->n_panels; p++) {
        size_t row = p * STRATA_PANEL_ROWS, left = run->source_rows - row;
        size_t rows = left < STRATA_PANEL_ROWS ? left : STRATA_PANEL_ROWS;
        const char *source = run->source + row * tensor->row_bytes;
        if (rounds)
            source = round_rows(work, tensor, source, rows, thread);
        strata_pack_panel(run->matrix->type, run->panels + p * run->panel_bytes, source,
                          rounds ? rounded_row_bytes(k) : tensor->row_bytes, rows, k);
    }
}

static void pack_in_memory(struct work *work, struct run *run, unsigned thread)
{
    pack(work, run, thread);
    drop_source(run);
}

static void pack_to_file(struct work *work, struct run *run, unsigned thread)
{
    uint64_t offset = run->matrix->offset + run->number * RUN_PANELS * run->panel_bytes;
    run->panels = work->scratch + thread * work->scratch_bytes;
    pack(work, run, thread);
    add_checksum(run);
    add_source_hash(run);
    drop_source(run);
    if (strata__cache_write(work->packed->file, run->panels, run->n_panels * run->panel_bytes,
                            offset) != STRATA_OK &&
        !atomic_exchange(&work->failed, true))
        snprintf(work->reason, sizeof work->reason, "%s", strata_last_error());
}

static void check_panels(struct work *work, struct run *run, unsigned thread)
{
    (void)thread;
    add_checksum(run);
    if (work->drops)
        drop_pages(run->panels, run->n_panels * run->panel_bytes);
}

static void check_both(struct work *work, struct run *run, unsigned thread)
{
    check_panels(work, run, thread);
    add_source_hash(run);
    drop_source(run);
}

/* One thread's part: runs of all matrices, one matrix after the other. */
static void work_task(void *context, unsigned thread)
{
    struct work *work = context;
    uint64_t claim = strata__threads_claim(work->pool), done = 0;
    for (size_t i = 0; i < work->packed->count && !atomic_load(&work->failed);) {
        uint64_t panels = panels_of(work->packed->matrices[i].tensor);
        uint64_t runs = (panels + RUN_PANELS - 1) / RUN_PANELS;
        if (claim - done >= runs) {
            done += runs;
            i++;
            continue;
        }
        struct run run = run_of(work->packed, i, claim - done);
        work->each(work, &run, thread);
        claim = strata__threads_claim(work->pool);
    }
}

static void for_all_runs(struct strata_model *model, struct work *work)
{
    work->packed = &model->packed;
    work->pool = model->runtime->threads;
    work->kernels = &model->runtime->kernels;
    if (work->each != check_panels)
        strata__file_read_all(model->file, true);
    for (size_t i = 0; i < model->packed.count; i++) {
        atomic_store(&model->packed.matrices[i].checksum, 0);
        atomic_store(&model->packed.matrices[i].source, 0);
    }
    strata__threads_run(work->pool, work_task, work);
}

/* Packs all, with each thread's room for rounding where that is needed. */
static strata_status pack_all(struct strata_model *model, struct work *work)
{
    for (size_t i = 0; i < model->packed.count; i++) {
        const struct strata__packed_matrix *matrix = &model->packed.matrices[i];
        size_t bytes = rounding_bytes(matrix->tensor->shape[0]);
        if (matrix->type != matrix->tensor->type && bytes > work->rounding_bytes)
            work->rounding_bytes = bytes;
    }
    if (work->rounding_bytes)
        STRATA_TRY(strata__alloc_aligned(
            &work->rounding, strata__threads_count(model->runtime->threads) * work->rounding_bytes,
            "rows to be rounded"));
    for_all_runs(model, work);
    strata__free(work->rounding);
    return STRATA_OK;
}

/* ---- the cache file ---- */

/* The matrix whose panels (or, with `sources`, source) are not what the file promises; NULL: none.
 */
static const struct strata__packed_matrix *find_changed(const struct strata__packed_weights *packed,
                                                        bool sources)
{
    for (size_t i = 0; i < packed->count; i++) {
        const struct strata__packed_matrix *matrix = &packed->matrices[i];
        if (matrix->checksum != matrix->wanted_checksum ||
            (sources && matrix->source != matrix->wanted_source))
            return matrix;
    }
    return NULL;
}

/* True when all weights can stay in memory. */
static bool fits(const struct strata_model *model)
{
    uint64_t bytes = model->packed.bytes;
    return strata__governor_fits(model->runtime->governor, bytes) &&
           strata__account_available(model->for_weights.account, STRATA__HOST_MEMORY) >= bytes;
}

/* Uses the cache file when it passes every check. */
static bool use_file(struct strata_model *model, uint64_t identity)
{
    struct strata__packed_weights *packed = &model->packed;
    enum strata__cache_state state = strata__cache_open(packed->file, packed, identity);
    if (state == STRATA__CACHE_NONE) {
        bool absent = access(packed->file->path, F_OK) != 0;
        strata__log(model->runtime->log, model->runtime->log_user,
                    absent ? STRATA_LOG_DEBUG : STRATA_LOG_WARN, "%s; packing the weights again",
                    strata_last_error());
        return false;
    }
    packed->data = packed->file->map + packed->file->data;
    struct work work = {.each = state == STRATA__CACHE_OTHER ? check_both : check_panels,
                        .drops = !fits(model)};
    for_all_runs(model, &work);
    const struct strata__packed_matrix *changed =
        find_changed(packed, state == STRATA__CACHE_OTHER);
    if (changed) {
        bool source = changed->checksum == changed->wanted_checksum;
        strata__log(model->runtime->log, model->runtime->log_user,
                    source ? STRATA_LOG_INFO : STRATA_LOG_WARN,
                    "%s: %s of tensor %s; packing the weights again", packed->file->path,
                    source ? "the model file has changed, first in the data"
                           : "checksum does not hold for the panels",
                    changed->tensor->name);
        strata__cache_close(packed->file);
        return false;
    }
    if (state == STRATA__CACHE_OTHER &&
        strata__cache_identify(packed->file, packed, identity) != STRATA_OK)
        strata__log(model->runtime->log, model->runtime->log_user, STRATA_LOG_INFO, "%s",
                    strata_last_error());
    return true;
}

static strata_status pack_all_to_file(struct strata_model *model, uint64_t identity)
{
    struct strata__packed_weights *packed = &model->packed;
    struct work work = {.each = pack_to_file};
    for (size_t i = 0; i < packed->count; i++) {
        struct run run = run_of(packed, i, 0);
        size_t bytes = run.n_panels * run.panel_bytes; /* a multiple of 64 */
        work.scratch_bytes = bytes > work.scratch_bytes ? bytes : work.scratch_bytes;
    }
    STRATA_TRY(strata__cache_create(packed->file, packed));
    STRATA_TRY(strata__alloc_aligned(
        &work.scratch, strata__threads_count(model->runtime->threads) * work.scratch_bytes,
        "panels on their way to disk"));
    strata_status status = pack_all(model, &work);
    strata__free(work.scratch);
    if (status != STRATA_OK)
        return status;
    if (work.failed)
        return strata__fail(STRATA_E_IO, "%s", work.reason);
    STRATA_TRY(strata__cache_finish(packed->file, packed, identity));
    packed->data = packed->file->map + packed->file->data;
    return STRATA_OK;
}

/* Packs into a new cache file; false when that is not possible. */
static bool make_file(struct strata_model *model, uint64_t identity)
{
    struct strata__packed_weights *packed = &model->packed;
    strata__log(model->runtime->log, model->runtime->log_user, STRATA_LOG_INFO,
                "%s: packing %.0f MB of weights, once", packed->file->path,
                (double)packed->bytes / 1e6);
    strata__cache_sweep(model->runtime->log, model->runtime->log_user);
    if (pack_all_to_file(model, identity) == STRATA_OK) {
        strata__cache_keep_limit(model->runtime->log, model->runtime->log_user);
        return true;
    }
    strata__log(model->runtime->log, model->runtime->log_user, STRATA_LOG_WARN,
                "%s: the weights are packed in memory, at every start", strata_last_error());
    strata__cache_close(packed->file);
    return false;
}

/* True when the data are in a cache file now. */
static strata_status try_file(struct strata_model *model, bool *done)
{
    struct strata__packed_weights *packed = &model->packed;
    *done = false;
    STRATA_TRY(strata__calloc(&packed->file, 1, sizeof *packed->file, "cache file"));
    if (!strata__cache_path(packed->file, strata__file_opened_path(model->file),
                            model->compute == STRATA_COMPUTE_DYNAMIC)) {
        strata__log(model->runtime->log, model->runtime->log_user, STRATA_LOG_INFO, "%s",
                    strata_last_error());
    } else {
        uint64_t identity = strata__file_identity(model->file);
        *done = use_file(model, identity) || make_file(model, identity);
    }
    if (!*done) {
        packed->data = NULL;
        strata__free(packed->file);
        packed->file = NULL;
    }
    return STRATA_OK;
}

/* ---- all ---- */

static void set_products(struct strata_model *model)
{
    bool all_packed = true;
    for (size_t i = 0; i < model->n_steps; i++)
        for (unsigned p = 0; p < model->steps[i].products; p++) {
            struct strata__product *product = &model->steps[i].product[p];
            const struct strata__packed_matrix *matrix = find(&model->packed, product->weight);
            product->panels = matrix ? model->packed.data + matrix->offset : NULL;
            product->rows = product->weight->data;
            product->type = matrix ? matrix->type : product->weight->type;
            all_packed &= matrix != NULL;
        }
    if (!all_packed)
        strata__file_read_all(model->file, true);
}

strata_status strata__packed_open(struct strata_model *model, bool cached)
{
    struct strata__packed_weights *packed = &model->packed;
    STRATA_TRY(list_matrices(model));
    bool done = packed->count == 0;
    if (!done && cached)
        STRATA_TRY(try_file(model, &done));
    if (!done) {
        STRATA_TRY(strata__alloc_aligned(&packed->data, packed->bytes, "packed weights"));
        struct work work = {.each = pack_in_memory};
        STRATA_TRY(pack_all(model, &work));
    }
    set_products(model);
    return STRATA_OK;
}

void strata__packed_close(struct strata__packed_weights *packed)
{
    if (packed->file)
        strata__cache_close(packed->file);
    else
        strata__free(packed->data);
    strata__free(packed->file);
    strata__free(packed->matrices);
    *packed = (struct strata__packed_weights){0};
}

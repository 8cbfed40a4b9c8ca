/* Packing a model's matrices, in memory. */
#include "packed_weights.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "checked.h"
#include "memory.h"
#include "model.h"

/* Panels that one claim packs: some hundred kilobytes. */
#define CLAIM_PANELS 16

static bool is_packed(const struct strata__tensor *tensor)
{
    return strata_packed_format(tensor->type).bits != 0;
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
                                const struct strata__tensor *tensor)
{
    struct strata__packed_matrix *matrix = &packed->matrices[packed->count];
    *matrix = (struct strata__packed_matrix){.tensor = tensor, .offset = packed->bytes};
    if (!strata__mul_u64(panels_of(tensor), strata_panel_bytes(tensor->type, tensor->shape[0]),
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
            if (is_packed(tensor) && !find(packed, tensor))
                STRATA_TRY(add_matrix(packed, tensor));
        }
    return STRATA_OK;
}

/* ---- packing ---- */

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

/* Packs panels begin .. end - 1 of a matrix. */
static void pack_panels(unsigned char *data, const struct strata__tensor *tensor, uint64_t begin,
                        uint64_t end)
{
    size_t k = tensor->shape[0], panel_bytes = strata_panel_bytes(tensor->type, k);
    const char *first = (const char *)tensor->data + begin * STRATA_PANEL_ROWS * tensor->row_bytes;
    const char *row = first;
    for (uint64_t p = begin; p < end; p++) {
        uint64_t left = tensor->rows - p * STRATA_PANEL_ROWS;
        size_t rows = left < STRATA_PANEL_ROWS ? (size_t)left : STRATA_PANEL_ROWS;
        strata_pack_panel(tensor->type, data + p * panel_bytes, row, tensor->row_bytes, rows, k);
        row += rows * tensor->row_bytes;
    }
    drop_pages(first, (uint64_t)(row - first));
}

/* One thread's part: claims of all matrices, one matrix after the other. */
static void pack_task(void *context, unsigned thread)
{
    (void)thread;
    struct strata_model *model = context;
    const struct strata__packed_weights *packed = &model->packed;
    struct strata__threads *pool = model->runtime->threads;
    uint64_t claim = strata__threads_claim(pool), done = 0;
    for (size_t i = 0; i < packed->count;) {
        const struct strata__packed_matrix *matrix = &packed->matrices[i];
        uint64_t panels = panels_of(matrix->tensor);
        uint64_t claims = (panels + CLAIM_PANELS - 1) / CLAIM_PANELS;
        if (claim - done >= claims) {
            done += claims;
            i++;
            continue;
        }
        uint64_t begin = (claim - done) * CLAIM_PANELS, end = begin + CLAIM_PANELS;
        pack_panels(packed->data + matrix->offset, matrix->tensor, begin,
                    end < panels ? end : panels);
        claim = strata__threads_claim(pool);
    }
}

static void set_products(struct strata_model *model)
{
    for (size_t i = 0; i < model->n_steps; i++)
        for (unsigned p = 0; p < model->steps[i].products; p++) {
            struct strata__product *product = &model->steps[i].product[p];
            const struct strata__packed_matrix *matrix = find(&model->packed, product->weight);
            product->panels = matrix ? model->packed.data + matrix->offset : NULL;
        }
}

strata_status strata__packed_open(struct strata_model *model)
{
    struct strata__packed_weights *packed = &model->packed;
    STRATA_TRY(list_matrices(model));
    if (packed->count) {
        STRATA_TRY(strata__alloc_aligned(&packed->data, packed->bytes, "packed weights"));
        strata__threads_run(model->runtime->threads, pack_task, model);
    }
    set_products(model);
    return STRATA_OK;
}

void strata__packed_close(struct strata__packed_weights *packed)
{
    strata__free(packed->matrices);
    strata__free(packed->data);
    *packed = (struct strata__packed_weights){0};
}

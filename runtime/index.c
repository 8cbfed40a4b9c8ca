/* Making and changing an index (index.h). */
#include "index.h"

#include <string.h>
#include <sys/mman.h>

#include "hash.h"
#include "memory.h"

#define BLOCK_BYTES \
    ((size_t)32 << 20) /* mostly huge pages; those that are not used are not there */
#define HUGE_PAGE ((uintptr_t)2 << 20)

void strata_index_options_default(strata_index_options *options)
{
    *options = (strata_index_options){
        .size = sizeof *options, .type = STRATA_INDEX_INT8, .metric = STRATA_INDEX_COSINE};
}

static strata_status check_options(const strata_index_options *o)
{
    if (!o || o->size != sizeof *o)
        return strata__fail(STRATA_E_INVALID, "strata_index_options.size: found %zu, expected %zu",
                            o ? o->size : 0, sizeof *o);
    if (o->dimension < 1 || o->dimension > STRATA_INDEX_MAX_DIMENSION)
        return strata__fail(STRATA_E_INVALID, "dimension: found %zu, expected 1 to %d",
                            o->dimension, STRATA_INDEX_MAX_DIMENSION);
    if ((unsigned)o->type > STRATA_INDEX_INT8)
        return strata__fail(STRATA_E_INVALID, "type: found %u, expected 0 to 2", (unsigned)o->type);
    if ((unsigned)o->metric > STRATA_INDEX_COSINE)
        return strata__fail(STRATA_E_INVALID, "metric: found %u, expected 0 or 1",
                            (unsigned)o->metric);
    return STRATA_OK;
}

strata_status strata__index_new(strata_runtime *runtime, const strata_index_options *options,
                                strata_index **out)
{
    static const size_t element_bytes[] = {4, 2, 1};
    *out = NULL;
    strata_index *index;
    STRATA_TRY(strata__calloc(&index, 1, sizeof *index, "index"));
    index->runtime = runtime;
    index->type = options->type;
    index->metric = options->metric;
    index->dimension = options->dimension;
    index->row_bytes = options->dimension * element_bytes[options->type];
    size_t bytes = index->row_bytes + strata__index_scale_bytes(index) + sizeof(uint64_t);
    size_t slices = BLOCK_BYTES / (STRATA__INDEX_SLICE * bytes); /* of one row with its id */
    index->block_rows = STRATA__INDEX_SLICE * (slices ? slices : 1);
    index->seed = strata__hash_seed();
    pthread_rwlock_init(&index->lock, NULL); /* cannot fail with default attributes on Linux */
    *out = index;
    return STRATA_OK;
}

strata_status strata_index_create(strata_runtime *runtime, const strata_index_options *options,
                                  strata_index **out)
{
    *out = NULL;
    STRATA_TRY(check_options(options));
    struct strata__scope before = strata__scope_set(runtime->indices);
    strata_status status = strata__index_new(runtime, options, out);
    strata__scope_set(before);
    return status;
}

void strata_index_close(strata_index **index)
{
    if (!index || !*index)
        return;
    strata_index *i = *index;
    for (size_t b = 0; b < i->n_blocks; b++)
        if (i->blocks[b].owned)
            strata__free(i->blocks[b].vectors);
    strata__free(i->blocks);
    strata__free(i->table);
    strata__index_drop_sketches(i);
    strata__entry_remove(i);
    strata__entry_close(&i->mapped);
    strata__file_map_close(&i->map);
    pthread_rwlock_destroy(&i->lock);
    strata__free(i);
    *index = NULL;
}

strata_index_info strata_index_info_get(strata_index *index)
{
    pthread_rwlock_rdlock(&index->lock);
    strata_index_info info = {.dimension = index->dimension,
                              .type = index->type,
                              .metric = index->metric,
                              .count = index->count,
                              .vector_bytes = index->row_bytes + strata__index_scale_bytes(index),
                              .mapped = index->map.size > 0,
                              .sketched = index->sketches != NULL,
                              .sketch_recall = index->sketch_recall};
    pthread_rwlock_unlock(&index->lock);
    return info;
}

/* ---- Ids ---- */

static uint64_t id_of(const strata_index *index, uint64_t row)
{
    return strata__index_block(index, row)->ids[row % index->block_rows];
}

static size_t home_of(const strata_index *index, uint64_t id)
{
    return strata__hash_u64(id, index->seed) & (index->slots - 1);
}

/* The slot of an id, or the free one where it would be; SIZE_MAX without a table. */
static size_t slot_of(const strata_index *index, uint64_t id)
{
    if (!index->slots)
        return SIZE_MAX;
    size_t slot = home_of(index, id);
    while (index->table[slot] && id_of(index, index->table[slot] - 1) != id)
        slot = (slot + 1) & (index->slots - 1);
    return slot;
}

uint64_t strata__index_find(const strata_index *index, uint64_t id)
{
    size_t slot = slot_of(index, id);
    return slot == SIZE_MAX || !index->table[slot] ? UINT64_MAX : index->table[slot] - 1u;
}

void strata__index_enter(strata_index *index, uint64_t id, uint64_t row)
{
    size_t slot = home_of(index, id);
    while (index->table[slot])
        slot = (slot + 1) & (index->slots - 1);
    index->table[slot] = (uint32_t)row + 1;
}

/* Closes the gap: later entries of the run move to it unless their home lies behind it. */
void strata__index_forget(strata_index *index, uint64_t id)
{
    size_t mask = index->slots - 1, gap = slot_of(index, id);
    for (size_t slot = (gap + 1) & mask; index->table[slot]; slot = (slot + 1) & mask) {
        size_t home = home_of(index, id_of(index, index->table[slot] - 1));
        if (((slot - home) & mask) >= ((slot - gap) & mask)) {
            index->table[gap] = index->table[slot];
            gap = slot;
        }
    }
    index->table[gap] = 0;
}

strata_status strata__index_reserve_ids(strata_index *index, uint64_t count)
{
    size_t slots = index->slots ? index->slots : 16;
    while (slots < 2 * count)
        slots *= 2;
    if (slots == index->slots)
        return STRATA_OK;
    uint32_t *table;
    STRATA_TRY(strata__calloc(&table, slots, sizeof *table, "ids of an index"));
    strata__free(index->table);
    index->table = table;
    index->slots = slots;
    for (uint64_t row = 0; row < index->count; row++)
        strata__index_enter(index, id_of(index, row), row);
    return STRATA_OK;
}

/* ---- Blocks ---- */

/* Makes the block one of memory, with what it had. */
static strata_status own_block(strata_index *index, struct strata__index_block *block)
{
    if (block->owned)
        return STRATA_OK;
    size_t rows = index->block_rows, bytes = rows * index->row_bytes;
    size_t scale_bytes = rows * strata__index_scale_bytes(index);
    struct strata__index_block copy = {.owned = true};
    size_t all = bytes + scale_bytes + rows * sizeof *copy.ids;
    STRATA_TRY(strata__alloc_aligned(&copy.vectors, all, "block of an index"));
    uintptr_t begin = ((uintptr_t)copy.vectors + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    uintptr_t end = ((uintptr_t)copy.vectors + all) / HUGE_PAGE * HUGE_PAGE;
    if (begin < end) /* advice: a kernel without them may say no */
        madvise((void *)begin, end - begin, MADV_HUGEPAGE);
    copy.ids = (uint64_t *)(copy.vectors + bytes); /* a multiple of 512 bytes on */
    copy.scales = (float *)(copy.ids + rows);
    if (block->vectors) {
        uint64_t first = (uint64_t)(block - index->blocks) * rows, used = index->count - first;
        used = used < rows ? used : rows;
        memcpy(copy.vectors, block->vectors, used * index->row_bytes);
        memcpy(copy.ids, block->ids, used * sizeof *copy.ids);
        if (scale_bytes)
            memcpy(copy.scales, block->scales, used * strata__index_scale_bytes(index));
    }
    *block = copy;
    return STRATA_OK;
}

/* Room for `count` rows, all from the present count on in memory. */
static strata_status reserve_rows(strata_index *index, uint64_t count)
{
    size_t needed = (size_t)((count + index->block_rows - 1) / index->block_rows);
    if (needed > index->n_blocks) {
        STRATA_TRY(
            strata__resize(&index->blocks, needed, sizeof *index->blocks, "blocks of an index"));
        memset(index->blocks + index->n_blocks, 0,
               (needed - index->n_blocks) * sizeof *index->blocks);
        index->n_blocks = needed;
    }
    for (size_t b = (size_t)(index->count / index->block_rows); b < needed; b++)
        STRATA_TRY(own_block(index, &index->blocks[b]));
    return STRATA_OK;
}

/* Frees the blocks that hold no row. */
static void trim_blocks(strata_index *index)
{
    size_t needed = (size_t)((index->count + index->block_rows - 1) / index->block_rows);
    for (; index->n_blocks > needed; index->n_blocks--)
        if (index->blocks[index->n_blocks - 1].owned)
            strata__free(index->blocks[index->n_blocks - 1].vectors);
}

/* The blocks of those of the ids that are there become ones of memory; *there of them. */
static strata_status own_rows(strata_index *index, const uint64_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t row = strata__index_find(index, ids[i]);
        if (row != UINT64_MAX)
            STRATA_TRY(own_block(index, strata__index_block(index, row)));
    }
    return STRATA_OK;
}

/* ---- Changes ---- */

static strata_status add_locked(strata_index *index, const uint64_t *ids, const float *vectors,
                                size_t count)
{
    if (count > STRATA_INDEX_MAX_COUNT - index->count)
        return strata__fail(STRATA_E_INVALID, "vectors of an index: %llu and %zu more, at most %u",
                            (unsigned long long)index->count, count, STRATA_INDEX_MAX_COUNT);
    STRATA_TRY(strata__index_reserve_ids(index, index->count + count));
    STRATA_TRY(own_rows(index, ids, count));
    strata_status status = reserve_rows(index, index->count + count);
    if (status == STRATA_OK && count > 0)
        strata__index_drop_sketches(index);
    for (size_t i = 0; i < count && status == STRATA_OK; i++) {
        uint64_t row = strata__index_find(index, ids[i]);
        if (row == UINT64_MAX) {
            row = index->count++;
            strata__index_block(index, row)->ids[row % index->block_rows] = ids[i];
            strata__index_enter(index, ids[i], row);
        }
        const float *x = vectors + i * index->dimension;
        strata__index_encode(index, row, x, strata__index_factor(index, x));
    }
    trim_blocks(index);
    return status;
}

strata_status strata_index_add(strata_index *index, const uint64_t *ids, const float *vectors,
                               size_t count)
{
    /* For cosines vectors are divided by their length first, and any of finite floats fits. */
    strata_index_type stored_range =
        index->metric == STRATA_INDEX_COSINE ? STRATA_INDEX_F32 : index->type;
    for (size_t i = 0; i < count; i++) {
        const float *x = vectors + i * index->dimension;
        size_t bad = strata__index_bad_element(stored_range, x, index->dimension);
        if (bad != SIZE_MAX)
            return strata__fail(STRATA_E_INVALID, "vector %zu, element %zu: %g cannot be stored", i,
                                bad, (double)x[bad]);
    }
    struct strata__scope before = strata__scope_set(index->runtime->indices);
    pthread_rwlock_wrlock(&index->lock);
    strata_status status = add_locked(index, ids, vectors, count);
    pthread_rwlock_unlock(&index->lock);
    strata__scope_set(before);
    return status;
}

/* The last row takes the place of `row`, whose block is in memory. */
static void remove_row(strata_index *index, uint64_t id, uint64_t row)
{
    uint64_t last = index->count - 1, moved = id_of(index, last);
    strata__index_forget(index, id);
    if (row != last) {
        strata__index_forget(index, moved);
        const struct strata__index_block *from = strata__index_block(index, last);
        struct strata__index_block *to = strata__index_block(index, row);
        size_t a = last % index->block_rows, b = row % index->block_rows, n = index->row_bytes;
        memcpy(to->vectors + b * n, from->vectors + a * n, n);
        if (strata__index_scale_bytes(index))
            memcpy(to->scales + 2 * b, from->scales + 2 * a, 2 * sizeof *to->scales);
        to->ids[b] = moved;
        strata__index_enter(index, moved, row);
    }
    index->count--;
}

strata_status strata_index_remove(strata_index *index, const uint64_t *ids, size_t count,
                                  size_t *removed)
{
    size_t n = 0;
    pthread_rwlock_wrlock(&index->lock);
    strata_status status = own_rows(index, ids, count);
    for (size_t i = 0; i < count && status == STRATA_OK; i++) {
        uint64_t row = strata__index_find(index, ids[i]);
        if (row != UINT64_MAX) {
            remove_row(index, ids[i], row);
            n++;
        }
    }
    if (n > 0)
        strata__index_drop_sketches(index);
    trim_blocks(index);
    pthread_rwlock_unlock(&index->lock);
    if (removed)
        *removed = n;
    return status;
}

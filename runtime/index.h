/* An index: vectors in blocks of rows, and a table from ids to rows.
 *
 * Rows 0 .. count - 1 are in use; a removed one is replaced by the last.  Row r is row r %
 * block_rows of block r / block_rows.  A block lies in the mapped file until it is first written;
 * then it is copied. */
#ifndef STRATA_INDEX_INTERNAL_H
#define STRATA_INDEX_INTERNAL_H

#include <pthread.h>

#include "file_map.h"
#include "runtime.h"
#include "strata_index.h"

/* Rows that are scored, and hashed, together; block_rows is a multiple of it. */
#define STRATA__INDEX_SLICE 512

struct strata__index_block {
    char *vectors;
    float *scales; /* INT8: scale and offset of each row */
    uint64_t *ids;
    bool owned;
};

struct strata_index {
    strata_runtime *runtime;
    pthread_rwlock_t lock;
    strata_index_type type;
    strata_index_metric metric;
    size_t dimension, row_bytes, block_rows;
    uint64_t count;
    struct strata__index_block *blocks;
    size_t n_blocks;
    uint32_t *table; /* rows + 1, by hash of the id and linear probing; 0: free */
    size_t slots;    /* a power of two, at least twice the count */
    uint64_t seed;
    struct strata__file_map map;
    unsigned char *sketches;      /* of all rows, in the codes of similarity_q4; NULL: not in use */
    float *sketch_scales;         /* scale and offset of each */
    double sketch_recall;         /* measured; 0: not, or the index changed since */
    struct strata__extent extent; /* of the map, without sketches that were read to memory, */
    struct strata__entry *mapped; /* which the ledger has as far as there is room for it */
};

/* strata_index_open with the scope that sketches, which are in memory, are charged to. */
strata_status strata__index_open(strata_runtime *runtime, const char *path,
                                 struct strata__scope sketches, strata_index **out);

/* From now on few vectors of the mapped file are read, one here, one there: those that opening it
 * read leave the process, and no neighbours are read with others. */
void strata__index_read_singly(const strata_index *index);

/* An index without vectors; options are checked. */
strata_status strata__index_new(strata_runtime *runtime, const strata_index_options *options,
                                strata_index **out);

/* Makes room in the table for `count` ids. */
strata_status strata__index_reserve_ids(strata_index *index, uint64_t count);

/* The row of an id, or UINT64_MAX. */
uint64_t strata__index_find(const strata_index *index, uint64_t id);

/* Enters the id of `row`, which the table has room for and does not hold. */
void strata__index_enter(strata_index *index, uint64_t id, uint64_t row);

/* Takes the id of `row` out of the table. */
void strata__index_forget(strata_index *index, uint64_t id);

static inline struct strata__index_block *strata__index_block(const strata_index *index,
                                                              uint64_t row)
{
    return &index->blocks[row / index->block_rows];
}

/* Bytes of a row's scale and offset. */
static inline size_t strata__index_scale_bytes(const strata_index *index)
{
    return index->type == STRATA_INDEX_INT8 ? 2 * sizeof(float) : 0;
}

/* A row of queries with zeros up to a whole group of a sketch: elements. */
static inline size_t strata__index_padded(const strata_index *index)
{
    size_t groups = (index->dimension + STRATA_SKETCH_GROUP - 1) / STRATA_SKETCH_GROUP;
    return groups * STRATA_SKETCH_GROUP;
}

static inline size_t strata__index_sketch_bytes(const strata_index *index)
{
    return strata__index_padded(index) / 2;
}

/* How many vectors a search for the best k takes from the sketches; the count where that would be
 * more than a quarter of it: then they are of no use. */
uint64_t strata__index_candidates(const strata_index *index, size_t k);

/* Frees the sketches, as every change of the index does. */
void strata__index_drop_sketches(strata_index *index);

/* strata_index_search of checked queries under a lock; `filter`: by way of sketches where they are
 * in use. */
strata_status strata__index_search(strata_index *index, const float *queries, size_t n, size_t k,
                                   bool filter, uint64_t *ids, float *scores, size_t *found);

/* The first element of a vector that cannot be stored (SIZE_MAX: none). */
size_t strata__index_bad_element(strata_index_type type, const float *x, size_t n);

/* What the vector is multiplied with to have length 1; 1 for zeros and where the metric is DOT. */
double strata__index_factor(const strata_index *index, const float *x);

/* A row as floats. */
void strata__index_decode(const strata_index *index, uint64_t row, float *vector);

/* Stores factor * x as a row. */
void strata__index_encode(const strata_index *index, uint64_t row, const float *x, double factor);

#endif

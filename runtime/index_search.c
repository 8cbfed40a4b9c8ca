/* Searching an index: up to TILE queries pass over all vectors together.
 *
 * Threads take slices of rows in turn.  Each keeps, for each query, the best k that it has seen in
 * a heap whose root is the worst of them; scores below it are passed over.  The order of scores and
 * ids is total, so it does not matter who saw what.
 *
 * With sketches this is done with them first, for more than k; those are then scored exactly. */
#include <math.h>
#include <string.h>

#include "index.h"
#include "memory.h"

#define TILE 8
/* Results of a slice and a query; not a multiple of 4096 bytes, at which stores would collide. */
#define SCORES (STRATA__INDEX_SLICE + 16)
/* Below this many slices the calling thread is done before others are awake. */
#define SLICES_ALONE 3
/* Sketches are searched for so many vectors for each that is wanted, and for so many more. */
#define CANDIDATES 3
#define CANDIDATES_MORE 130

struct found {
    uint64_t id;
    float score;
};

struct search {
    strata_index *index;
    struct strata_matmul product; /* queries: x or x16 and steps, m of them */
    bool filter;                  /* the scan is of sketches */
    size_t k;                     /* results of the scan: at most the count */
    size_t slices;
    bool alone;
    struct found *heaps; /* of thread t and query q: k at (t * TILE + q) * k */
    size_t *sizes;       /* of thread t and query q at t * TILE + q */
};

static bool precedes(const struct found *a, const struct found *b)
{
    return a->score > b->score || (a->score == b->score && a->id < b->id);
}

/* Restores, from `at` down, a heap whose root comes last in the order. */
static void sift_down(struct found *heap, size_t n, size_t at)
{
    for (;;) {
        size_t last = at, left = 2 * at + 1;
        for (size_t child = left; child < n && child <= left + 1; child++)
            if (precedes(&heap[last], &heap[child]))
                last = child;
        if (last == at)
            return;
        struct found moved = heap[at];
        heap[at] = heap[last];
        heap[last] = moved;
        at = last;
    }
}

static void sift_up(struct found *heap, size_t at)
{
    while (at > 0 && precedes(&heap[(at - 1) / 2], &heap[at])) {
        struct found moved = heap[at];
        heap[at] = heap[(at - 1) / 2];
        heap[(at - 1) / 2] = moved;
        at = (at - 1) / 2;
    }
}

/* Offers a result to a heap of at most k. */
static void offer(struct found *heap, size_t *size, size_t k, struct found result)
{
    if (isnan(result.score)) /* of a foreign file, or beyond the range of float */
        result.score = -INFINITY;
    if (*size < k) {
        heap[*size] = result;
        sift_up(heap, (*size)++);
    } else if (precedes(&result, &heap[0])) {
        heap[0] = result;
        sift_down(heap, k, 0);
    }
}

/* Scores the stored vectors from row `first` on: a's rows, all of one block. */
static void score_exactly(const strata_index *index, struct strata_matmul *a, uint64_t first)
{
    const struct strata__index_block *block = strata__index_block(index, first);
    const struct strata_kernels *kernels = &index->runtime->kernels;
    size_t at = first % index->block_rows;
    a->w = block->vectors + at * index->row_bytes;
    a->row_bytes = index->row_bytes;
    a->k = index->dimension;
    a->scales = index->type == STRATA_INDEX_INT8 ? block->scales + 2 * at : NULL;
    if (index->type == STRATA_INDEX_INT8)
        kernels->similarity_q16[STRATA_TYPE_I8](a);
    else if (index->type == STRATA_INDEX_F16)
        kernels->similarity_f32[STRATA_TYPE_F16](a);
    else
        kernels->similarity_f32[STRATA_TYPE_F32](a);
}

static void score_sketches(const strata_index *index, struct strata_matmul *a, uint64_t first)
{
    a->row_bytes = strata__index_sketch_bytes(index);
    a->w = index->sketches + first * a->row_bytes;
    a->k = strata__index_padded(index);
    a->scales = index->sketch_scales + 2 * first;
    index->runtime->kernels.similarity_q4(a);
}

static void score_slice(struct search *s, unsigned thread, size_t slice)
{
    const strata_index *index = s->index;
    float scores[TILE * SCORES];
    uint64_t first = (uint64_t)slice * STRATA__INDEX_SLICE, rows = index->count - first;
    const uint64_t *ids =
        strata__index_block(index, first)->ids + (size_t)(first % index->block_rows);
    struct strata_matmul a = s->product;
    a.y = scores;
    a.ldy = SCORES;
    a.rows = rows < STRATA__INDEX_SLICE ? rows : STRATA__INDEX_SLICE;
    (s->filter ? score_sketches : score_exactly)(index, &a, first);
    for (size_t q = 0; q < a.m; q++) {
        struct found *heap = s->heaps + (thread * TILE + q) * s->k;
        size_t *size = &s->sizes[thread * TILE + q];
        float worst = *size < s->k ? -INFINITY : heap[0].score;
        for (size_t i = 0; i < a.rows; i++)
            if (!(scores[q * SCORES + i] < worst)) {
                struct found result = {ids[i], scores[q * SCORES + i]};
                offer(heap, size, s->k, result);
                worst = *size < s->k ? -INFINITY : heap[0].score;
            }
    }
}

static void scan(void *context, unsigned thread)
{
    struct search *s = context;
    size_t next = 0;
    for (;;) {
        size_t slice = s->alone ? next++ : strata__threads_claim(s->index->runtime->threads);
        if (slice >= s->slices)
            return;
        score_slice(s, thread, slice);
    }
}

/* The best k of the scan's results, by their exact scores; they take the place of heap[0 .. k). */
static void rescore(const struct search *s, size_t q, struct found *heap, size_t k)
{
    float score;
    size_t size = 0;
    struct strata_matmul a = s->product;
    a.y = &score;
    a.rows = a.m = 1;
    a.x += q * a.ldx;
    a.x16 += q * a.ldx;
    a.steps += q;
    for (size_t i = 0; i < s->k; i++) { /* the heap of the best grows behind i */
        uint64_t id = heap[i].id;
        score_exactly(s->index, &a, strata__index_find(s->index, id));
        offer(heap, &size, k, (struct found){id, score});
    }
}

/* The best k of what all threads have of query q, best first. */
static void take_results(struct search *s, size_t q, size_t k, unsigned threads, uint64_t *ids,
                         float *scores)
{
    struct found *heap = s->heaps + q * s->k;
    for (unsigned t = 1; t < threads; t++)
        for (size_t i = 0; i < s->sizes[t * TILE + q]; i++)
            offer(heap, &s->sizes[q], s->k, s->heaps[(t * TILE + q) * s->k + i]);
    if (s->filter)
        rescore(s, q, heap, k);
    for (size_t left = k; left > 0; left--) { /* the last of the order goes to the end */
        ids[left - 1] = heap[0].id;
        scores[left - 1] = heap[0].score;
        heap[0] = heap[left - 1];
        sift_down(heap, left - 1, 0);
    }
}

/* Query q as the kernels take it: scaled for the metric; for INT8 and sketches in 16 bits. */
static void prepare(const struct search *s, float *x, int16_t *x16, float *step, const float *query)
{
    const strata_index *index = s->index;
    double factor = strata__index_factor(index, query);
    float largest = 0;
    for (size_t i = 0; i < index->dimension; i++) {
        x[i] = (float)((double)query[i] * factor);
        largest = fmaxf(largest, fabsf(x[i]));
    }
    if (index->type != STRATA_INDEX_INT8 && !s->filter)
        return;
    *step = (float)((double)largest / 32767);
    for (size_t i = 0; i < index->dimension; i++)
        x16[i] = (int16_t)(largest > 0 ? lrint((double)x[i] * 32767 / (double)largest) : 0);
}

static void search_tile(struct search *s, const float *queries, size_t m, size_t k, uint64_t *ids,
                        float *scores)
{
    size_t n = s->index->dimension, found = k < s->k ? k : s->k;
    struct strata_matmul *a = &s->product;
    unsigned threads = s->alone ? 1 : strata__threads_count(s->index->runtime->threads);
    for (size_t q = 0; q < m; q++)
        prepare(s, (float *)a->x + q * a->ldx, (int16_t *)a->x16 + q * a->ldx,
                (float *)a->steps + q, queries + q * n);
    a->m = m;
    memset(s->sizes, 0, threads * TILE * sizeof *s->sizes);
    if (s->alone)
        scan(s, 0);
    else
        strata__threads_run(s->index->runtime->threads, scan, s);
    for (size_t q = 0; q < m; q++)
        take_results(s, q, found, threads, ids + q * k, scores + q * k);
}

uint64_t strata__index_candidates(const strata_index *index, size_t k)
{
    uint64_t most = index->count / 4;
    if (k > most || k * CANDIDATES + CANDIDATES_MORE > most)
        return index->count;
    return k * CANDIDATES + CANDIDATES_MORE;
}

strata_status strata__index_search(strata_index *index, const float *queries, size_t n, size_t k,
                                   bool filter, uint64_t *ids, float *scores, size_t *found)
{
    size_t padded = strata__index_padded(index);
    uint64_t candidates = strata__index_candidates(index, k);
    struct search s = {.index = index, .k = k < index->count ? k : (size_t)index->count};
    s.filter = filter && index->sketches && candidates < index->count;
    if (s.filter)
        s.k = (size_t)candidates;
    s.slices = (size_t)((index->count + STRATA__INDEX_SLICE - 1) / STRATA__INDEX_SLICE);
    s.alone = s.slices <= SLICES_ALONE;
    s.product.ldx = padded;
    size_t threads = s.alone ? 1 : strata__threads_count(index->runtime->threads);
    float *x = NULL, *steps = NULL;
    int16_t *x16 = NULL;
    strata_status status = STRATA_OK;
    if (n > 0 && s.k > 0) {
        STRATA_TRY_DONE(strata__calloc(&x, TILE * padded, sizeof *x, "queries"));
        STRATA_TRY_DONE(strata__calloc(&x16, TILE * padded, sizeof *x16, "queries"));
        STRATA_TRY_DONE(strata__calloc(&steps, TILE, sizeof *steps, "queries"));
        STRATA_TRY_DONE(strata__calloc(&s.sizes, threads * TILE, sizeof *s.sizes, "results"));
        STRATA_TRY_DONE(strata__calloc(&s.heaps, threads * TILE, s.k * sizeof *s.heaps, "results"));
        s.product.x = x;
        s.product.x16 = x16;
        s.product.steps = steps;
        for (size_t q = 0; q < n; q += TILE)
            search_tile(&s, queries + q * index->dimension, n - q < TILE ? n - q : TILE, k,
                        ids + q * k, scores + q * k);
    }
    *found = k < index->count ? k : (size_t)index->count;
done:
    strata__free(x);
    strata__free(x16);
    strata__free(steps);
    strata__free(s.sizes);
    strata__free(s.heaps);
    return status;
}

static strata_status search(strata_index *index, const float *queries, size_t n, size_t k,
                            bool filter, uint64_t *ids, float *scores, size_t *found)
{
    *found = 0;
    if (k == 0)
        return strata__fail(STRATA_E_INVALID, "k: found 0, expected at least 1");
    for (size_t q = 0; q < n; q++) {
        const float *x = queries + q * index->dimension;
        size_t bad = strata__index_bad_element(STRATA_INDEX_F32, x, index->dimension);
        if (bad != SIZE_MAX)
            return strata__fail(STRATA_E_INVALID, "query %zu, element %zu: found %g", q, bad,
                                (double)x[bad]);
    }
    struct strata__scope before = strata__scope_set(index->runtime->indices);
    pthread_rwlock_rdlock(&index->lock);
    strata_status status = strata__index_search(index, queries, n, k, filter, ids, scores, found);
    pthread_rwlock_unlock(&index->lock);
    strata__scope_set(before);
    return status;
}

strata_status strata_index_search(strata_index *index, const float *queries, size_t n, size_t k,
                                  uint64_t *ids, float *scores, size_t *found)
{
    return search(index, queries, n, k, false, ids, scores, found);
}

strata_status strata_index_search_sketched(strata_index *index, const float *queries, size_t n,
                                           size_t k, uint64_t *ids, float *scores, size_t *found)
{
    return search(index, queries, n, k, true, ids, scores, found);
}

/* Sketches of an index: each vector in 4 bits an element, and whether they find the right ones.
 *
 * An element is the nearest of 16 equal steps from the vector's least to its greatest.  Sketches
 * are of the index as it is now: every change drops them, so that they need no upkeep and their
 * recall stays what was measured. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "hash.h"
#include "index.h"
#include "memory.h"

#define SAMPLES 256
#define BEST 10
#define RECALL_NEEDED 0.999

void strata__index_drop_sketches(strata_index *index)
{
    strata__free(index->sketches);
    strata__free(index->sketch_scales);
    index->sketches = NULL;
    index->sketch_scales = NULL;
    index->sketch_recall = 0;
}

/* ---- Making ---- */

/* `sketch` is all zeros.  A vector with an element that is not finite, of a foreign file, gets an
 * offset that is not finite either. */
static void encode_sketch(unsigned char *sketch, float *scales, const float *x, size_t n)
{
    double low = (double)x[0], high = low;
    for (size_t i = 1; i < n; i++) {
        low = (double)x[i] < low ? (double)x[i] : low;
        high = (double)x[i] > high ? (double)x[i] : high;
    }
    double step = (high - low) / 15;
    scales[0] = 0;
    scales[1] = (float)(low + (high - low) / 2);
    if (!(step >= (double)FLT_MIN) || !isfinite(step))
        return;
    scales[0] = (float)step;
    scales[1] = (float)low;
    for (size_t i = 0; i < n; i++) {
        double value = ((double)x[i] - low) / step + 0.5; /* 0.5 .. 15.5, but for NaN */
        unsigned code = value > 0 ? (unsigned)value : 0, nibble = (unsigned)(i / 32 % 4);
        unsigned char *group = sketch + i / STRATA_SKETCH_GROUP * (STRATA_SKETCH_GROUP / 2);
        group[2 * (i % 32) + nibble / 2] |= (unsigned char)(code << nibble % 2 * 4);
    }
}

struct making {
    strata_index *index;
    float *vectors; /* one of each thread */
};

static void make_slices(void *context, unsigned thread)
{
    struct making *m = context;
    strata_index *index = m->index;
    size_t n = index->dimension, bytes = strata__index_sketch_bytes(index);
    float *x = m->vectors + thread * n;
    for (;;) {
        uint64_t row = (uint64_t)strata__threads_claim(index->runtime->threads);
        row *= STRATA__INDEX_SLICE;
        if (row >= index->count)
            return;
        uint64_t end = row + STRATA__INDEX_SLICE;
        for (; row < end && row < index->count; row++) {
            strata__index_decode(index, row, x);
            memset(index->sketches + row * bytes, 0, bytes);
            encode_sketch(index->sketches + row * bytes, index->sketch_scales + 2 * row, x, n);
        }
    }
}

static strata_status make_sketches(strata_index *index)
{
    struct making m = {.index = index};
    size_t count = (size_t)index->count, threads = strata__threads_count(index->runtime->threads);
    STRATA_TRY(strata__alloc_aligned(&index->sketches, count * strata__index_sketch_bytes(index),
                                     "sketches of an index"));
    STRATA_TRY(strata__alloc_aligned(
        &index->sketch_scales, count * 2 * sizeof *index->sketch_scales, "sketches of an index"));
    STRATA_TRY(strata__calloc(&m.vectors, threads * index->dimension, sizeof *m.vectors,
                              "a vector of each thread"));
    strata__threads_run(index->runtime->threads, make_slices, &m);
    strata__free(m.vectors);
    return STRATA_OK;
}

/* ---- Measuring ---- */

/* Stored vectors from all over the index; every second one moved by about half its length, as
 * queries are near vectors but not among them.  All by half, against overflow. */
static void sample(const strata_index *index, float *queries)
{
    const uint64_t seed = UINT64_C(0x2545f4914f6cdd1d);
    size_t n = index->dimension;
    for (size_t q = 0; q < SAMPLES; q++) {
        float *x = queries + q * n;
        double squares = 0;
        strata__index_decode(index, q * index->count / SAMPLES, x);
        for (size_t i = 0; i < n; i++)
            squares += (double)x[i] * (double)x[i];
        double size = q % 2 == 0 ? 0 : 0.5 * sqrt(3 * squares / (double)n);
        for (size_t i = 0; i < n; i++) {
            double unit = (double)(int64_t)strata__hash_u64(q * n + i, seed) * 0x1p-63;
            x[i] = (float)(0.5 * (double)x[i] + 0.5 * size * unit);
        }
    }
}

struct measured {
    float scores[SAMPLES * BEST];
    uint64_t exact[SAMPLES * BEST], filtered[SAMPLES * BEST];
};

static double recall_of(const struct measured *m)
{
    size_t same = 0;
    for (size_t i = 0; i < SAMPLES * BEST; i++)
        for (size_t e = i / BEST * BEST; e < i / BEST * BEST + BEST; e++)
            same += m->filtered[i] == m->exact[e];
    return (double)same / (SAMPLES * BEST);
}

static strata_status measure(strata_index *index)
{
    float *queries = NULL;
    struct measured *m = NULL;
    size_t found;
    strata_status status = STRATA_OK;
    STRATA_TRY_DONE(
        strata__calloc(&queries, SAMPLES * index->dimension, sizeof *queries, "sampled vectors"));
    STRATA_TRY_DONE(strata__calloc(&m, 1, sizeof *m, "results of sampled vectors"));
    sample(index, queries);
    STRATA_TRY_DONE(
        strata__index_search(index, queries, SAMPLES, BEST, false, m->exact, m->scores, &found));
    STRATA_TRY_DONE(
        strata__index_search(index, queries, SAMPLES, BEST, true, m->filtered, m->scores, &found));
    index->sketch_recall = recall_of(m);
done:
    strata__free(queries);
    strata__free(m);
    return status;
}

strata_status strata_index_sketch(strata_index *index)
{
    strata_status status = STRATA_OK;
    struct strata__scope before = strata__scope_set(index->runtime->indices);
    pthread_rwlock_wrlock(&index->lock);
    strata__index_drop_sketches(index);
    if (strata__index_candidates(index, BEST) < index->count) {
        status = make_sketches(index);
        if (status == STRATA_OK)
            status = measure(index);
        double recall = index->sketch_recall;
        if (status != STRATA_OK || recall < RECALL_NEEDED)
            strata__index_drop_sketches(index);
        if (status == STRATA_OK)
            index->sketch_recall = recall;
    }
    pthread_rwlock_unlock(&index->lock);
    strata__scope_set(before);
    return status;
}

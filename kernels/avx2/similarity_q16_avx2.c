/* Inner products of 8-bit vectors, and of 4-bit sketches, with queries of 16 bits (kernels.h,
 * strata_similarity_q16_fn).
 *
 * Codes become 16-bit words, 16 at a time; vpmaddwd adds pairs of products in 32-bit lanes.  Up to
 * four queries share the words of a vector; vectors are read one after the other, as the hardware's
 * prefetchers expect.  After RUN elements the sums of four products are reduced together and
 * continued in 64 bits: RUN products of a code and 16 bits fit into 32, however the lanes are
 * added.  Elements past the last 16 go through a zero-padded copy.  Four sketch codes lie in a
 * word: shifted and masked, they are words at once. */
#include <stdbool.h>

#include "../kernel_list.h"
#include "vec_avx2.h"

#define PRODUCTS 4
#define RUN 512

STRATA_INLINE __m256i multiply_add(__m256i sum, __m256i w, const int16_t *x)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(w, _mm256_loadu_si256((const void *)x)));
}

STRATA_INLINE void step(__m256i sum[PRODUCTS], const char *row, const int16_t *x, size_t ldx,
                        size_t queries)
{
    const __m256i w = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)row));
    STRATA_UNROLL
    for (size_t j = 0; j < queries; j++)
        sum[j] = multiply_add(sum[j], w, x + j * ldx);
}

/* The elements c .. end - 1 of one vector with `queries` queries, lane by lane. */
STRATA_INLINE void lanes(__m256i *out, const char *row, const int16_t *x, size_t ldx,
                         size_t queries, size_t c, size_t end)
{
    __m256i sum[PRODUCTS];
    STRATA_UNROLL
    for (size_t j = 0; j < queries; j++)
        sum[j] = _mm256_setzero_si256();
    for (; c + 64 <= end; c += 64) { /* few turns, whose end is foreseen */
        STRATA_UNROLL
        for (size_t u = 0; u < 64; u += 16)
            step(sum, row + c + u, x + c + u, ldx, queries);
    }
    for (; c + 16 <= end; c += 16)
        step(sum, row + c, x + c, ldx, queries);
    if (c < end) {
        char codes[16] = {0};
        int16_t left[16] = {0};
        memcpy(codes, row + c, end - c);
        const __m256i w = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)codes));
        for (size_t j = 0; j < queries; j++) {
            memcpy(left, x + j * ldx + c, (end - c) * sizeof *x);
            sum[j] = multiply_add(sum[j], w, left);
        }
    }
    STRATA_UNROLL
    for (size_t j = 0; j < queries; j++)
        out[j] = sum[j];
}

/* The same of a sketch, whose codes come in groups. */
STRATA_INLINE void sketch_lanes(__m256i *out, const char *row, const int16_t *x, size_t ldx,
                                size_t queries, size_t c, size_t end)
{
    const __m256i mask = _mm256_set1_epi16(15);
    __m256i sum[PRODUCTS];
    STRATA_UNROLL
    for (size_t j = 0; j < queries; j++)
        sum[j] = _mm256_setzero_si256();
    for (; c < end; c += STRATA_SKETCH_GROUP) {
        STRATA_UNROLL
        for (size_t half = 0; half < 32; half += 16) {
            __m256i words = _mm256_loadu_si256((const void *)(row + c / 2 + 2 * half));
            STRATA_UNROLL
            for (size_t n = 0; n < 4; n++) {
                const __m256i w = _mm256_and_si256(words, mask);
                words = _mm256_srli_epi16(words, 4);
                STRATA_UNROLL
                for (size_t j = 0; j < queries; j++)
                    sum[j] = multiply_add(sum[j], w, x + j * ldx + c + 32 * n + half);
            }
        }
    }
    STRATA_UNROLL
    for (size_t j = 0; j < queries; j++)
        out[j] = sum[j];
}

/* The sums of four vectors. */
STRATA_INLINE __m256i sum_each(const __m256i v[PRODUCTS])
{
    const __m256i s =
        _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    const __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    return _mm256_cvtepi32_epi64(sums);
}

/* The exact products of `rows` vectors from row i on with `queries` queries each, in this order. */
STRATA_INLINE void dots(int64_t dot[PRODUCTS], const struct strata_matmul *a, size_t i,
                        const int16_t *x, size_t rows, size_t queries, bool sketch)
{
    __m256i sums = _mm256_setzero_si256();
    for (size_t c = 0; c < a->k; c += RUN) {
        __m256i sum[PRODUCTS];
        STRATA_UNROLL
        for (size_t p = 0; p < PRODUCTS; p++)
            sum[p] = _mm256_setzero_si256();
        STRATA_UNROLL
        for (size_t r = 0; r < rows; r++)
            (sketch ? sketch_lanes : lanes)(sum + r * queries,
                                            (const char *)a->w + (i + r) * a->row_bytes, x, a->ldx,
                                            queries, c, a->k - c < RUN ? a->k : c + RUN);
        sums = _mm256_add_epi64(sums, sum_each(sum));
    }
    _mm256_storeu_si256((void *)dot, sums);
}

STRATA_INLINE void tile(const struct strata_matmul *a, size_t i, size_t j, size_t rows,
                        size_t queries, const float *total, bool sketch)
{
    int64_t dot[PRODUCTS];
    dots(dot, a, i, a->x16 + j * a->ldx, rows, queries, sketch);
    STRATA_UNROLL
    for (size_t p = 0; p < rows * queries; p++) {
        size_t row = i + p / queries, q = p % queries;
        float sum = a->scales[2 * row] * (float)dot[p] + a->scales[2 * row + 1] * total[q];
        a->y[(j + q) * a->ldy + row] = a->steps[j + q] * sum;
    }
}

STRATA_INLINE float sum_of(const int16_t *x, size_t k)
{
    int64_t sum = 0;
    for (size_t c = 0; c < k; c++)
        sum += x[c];
    return (float)sum;
}

/* `queries` queries from query j on. */
STRATA_INLINE void part(const struct strata_matmul *a, size_t j, size_t queries, bool sketch)
{
    const size_t rows = PRODUCTS / queries;
    float total[PRODUCTS];
    for (size_t q = 0; q < queries; q++)
        total[q] = sum_of(a->x16 + (j + q) * a->ldx, a->k);
    size_t i = 0;
    for (; i + rows <= a->rows; i += rows)
        tile(a, i, j, rows, queries, total, sketch);
    for (; i < a->rows; i++)
        tile(a, i, j, 1, queries, total, sketch);
}

STRATA_INLINE void similarity_codes(const struct strata_matmul *a, bool sketch)
{
    size_t j = 0;
    for (; j + 4 <= a->m; j += 4)
        part(a, j, 4, sketch);
    for (; j + 2 <= a->m; j += 2)
        part(a, j, 2, sketch);
    if (j < a->m)
        part(a, j, 1, sketch);
}

void strata_similarity_q16_I8_avx2(const struct strata_matmul *a)
{
    similarity_codes(a, false);
}

void strata_similarity_q4_avx2(const struct strata_matmul *a)
{
    similarity_codes(a, true);
}

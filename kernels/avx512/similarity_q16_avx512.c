/* Inner products of 8-bit vectors, and of 4-bit sketches, with queries of 16 bits (kernels.h,
 * strata_similarity_q16_fn).
 *
 * Codes become 16-bit words, 32 at a time; vpmaddwd adds pairs of products in 32-bit lanes.  Up to
 * four queries share the words of a vector.  Vectors are read one after the other, as the
 * hardware's prefetchers expect: four at a time, with prefetches of our own, came at 60 % of the
 * speed of a plain loop of loads, this way at 90 %.  VNNI's one instruction for vpmaddwd and the
 * addition gained nothing.  After RUN elements the sums of four products are reduced together and
 * continued in 64 bits: RUN products of a code and 16 bits fit into 32, however the lanes are
 * added.  Four sketch codes lie in a word: shifted and masked, they are words at once. */
#include <stdbool.h>

#include "lanes_avx512.h"

#define PRODUCTS 4
#define RUN 512

INLINE __m128i fold(__m512i v)
{
    __m128i a = _mm_add_epi32(_mm512_extracti32x4_epi32(v, 0), _mm512_extracti32x4_epi32(v, 1));
    __m128i b = _mm_add_epi32(_mm512_extracti32x4_epi32(v, 2), _mm512_extracti32x4_epi32(v, 3));
    return _mm_add_epi32(a, b);
}

INLINE __m512i multiply_add(__m512i sum, __m512i w, const int16_t *x)
{
    return _mm512_add_epi32(sum, _mm512_madd_epi16(w, _mm512_loadu_si512(x)));
}

/* The sums of four vectors. */
INLINE __m256i sum_each(const __m512i v[PRODUCTS])
{
    __m128i low = _mm_hadd_epi32(fold(v[0]), fold(v[1]));
    __m128i high = _mm_hadd_epi32(fold(v[2]), fold(v[3]));
    return _mm256_cvtepi32_epi64(_mm_hadd_epi32(low, high));
}

INLINE void step(__m512i sum[PRODUCTS], const char *row, const int16_t *x, size_t ldx,
                 size_t queries)
{
    __m512i w = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const void *)row));
    UNROLL for (size_t j = 0; j < queries; j++) sum[j] = multiply_add(sum[j], w, x + j * ldx);
}

/* The elements c .. end - 1 of one vector with `queries` queries, lane by lane. */
INLINE void lanes(__m512i *out, const char *row, const int16_t *x, size_t ldx, size_t queries,
                  size_t c, size_t end)
{
    __m512i sum[PRODUCTS];
    UNROLL for (size_t j = 0; j < queries; j++) sum[j] = _mm512_setzero_si512();
    for (; c + 128 <= end; c += 128) { /* few turns, whose end is foreseen */
        UNROLL for (size_t u = 0; u < 128; u += 32) step(sum, row + c + u, x + c + u, ldx, queries);
    }
    for (; c + 32 <= end; c += 32)
        step(sum, row + c, x + c, ldx, queries);
    if (c < end) {
        __mmask32 mask = first32(end - c);
        __m512i w = _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(mask, row + c));
        UNROLL for (size_t j = 0; j < queries; j++) sum[j] = _mm512_add_epi32(
            sum[j], _mm512_madd_epi16(w, _mm512_maskz_loadu_epi16(mask, x + j * ldx + c)));
    }
    UNROLL for (size_t j = 0; j < queries; j++) out[j] = sum[j];
}

/* The same of a sketch, whose codes come in groups. */
INLINE void sketch_lanes(__m512i *out, const char *row, const int16_t *x, size_t ldx,
                         size_t queries, size_t c, size_t end)
{
    const __m512i mask = _mm512_set1_epi16(15);
    __m512i sum[PRODUCTS];
    UNROLL for (size_t j = 0; j < queries; j++) sum[j] = _mm512_setzero_si512();
    for (; c < end; c += STRATA_SKETCH_GROUP) {
        __m512i words = _mm512_loadu_si512(row + c / 2);
        UNROLL for (size_t n = 0; n < 4; n++)
        {
            __m512i w = _mm512_and_si512(words, mask);
            words = _mm512_srli_epi16(words, 4);
            UNROLL for (size_t j = 0; j < queries; j++) sum[j] =
                multiply_add(sum[j], w, x + j * ldx + c + 32 * n);
        }
    }
    UNROLL for (size_t j = 0; j < queries; j++) out[j] = sum[j];
}

/* The products of `rows` vectors from row i on with `queries` queries each, in this order. */
INLINE __m128 dots(const struct strata_matmul *a, size_t i, const int16_t *x, size_t rows,
                   size_t queries, bool sketch)
{
    __m256i dot = _mm256_setzero_si256();
    for (size_t c = 0; c < a->k; c += RUN) {
        __m512i sum[PRODUCTS];
        UNROLL for (size_t p = 0; p < PRODUCTS; p++) sum[p] = _mm512_setzero_si512();
        UNROLL for (size_t r = 0; r < rows; r++)(sketch ? sketch_lanes : lanes)(
            sum + r * queries, (const char *)a->w + (i + r) * a->row_bytes, x, a->ldx, queries, c,
            min_size(a->k, c + RUN));
        dot = _mm256_add_epi64(dot, sum_each(sum));
    }
    return _mm256_cvtepi64_ps(dot);
}

INLINE void tile(const struct strata_matmul *a, size_t i, size_t j, size_t rows, size_t queries,
                 const float *total, bool sketch)
{
    float dot[PRODUCTS];
    _mm_storeu_ps(dot, dots(a, i, a->x16 + j * a->ldx, rows, queries, sketch));
    UNROLL for (size_t p = 0; p < rows * queries; p++)
    {
        size_t row = i + p / queries, q = p % queries;
        float sum = a->scales[2 * row] * dot[p] + a->scales[2 * row + 1] * total[q];
        a->y[(j + q) * a->ldy + row] = a->steps[j + q] * sum;
    }
}

INLINE float sum_of(const int16_t *x, size_t k)
{
    int64_t sum = 0;
    for (size_t c = 0; c < k; c++)
        sum += x[c];
    return (float)sum;
}

/* `queries` queries from query j on. */
INLINE void part(const struct strata_matmul *a, size_t j, size_t queries, bool sketch)
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

INLINE void similarity_codes(const struct strata_matmul *a, bool sketch)
{
    size_t j = 0;
    for (; j + 4 <= a->m; j += 4)
        part(a, j, 4, sketch);
    for (; j + 2 <= a->m; j += 2)
        part(a, j, 2, sketch);
    if (j < a->m)
        part(a, j, 1, sketch);
}

void strata_similarity_q16_I8_avx512(const struct strata_matmul *a)
{
    similarity_codes(a, false);
}

void strata_similarity_q4_avx512(const struct strata_matmul *a)
{
    similarity_codes(a, true);
}

/* Attention over a binary16 cache: scores, online softmax and weighted sum of values, tile after
 * tile of 64 positions (Milakov & Gimelshein 2018; Dao et al. 2022).
 *
 * Queries are copied to scratch, scaled, in rows padded with zeros to whole vectors; the running
 * sums O lie there likewise.  Per tile and row: scores s, new maximum M', O = O * exp(M - M') + sum
 * exp(s - M') v, L likewise; at the end out = O / L.
 *
 * Two ways to the same sums, chosen by the number of rows (tokens * heads):
 *   many rows   keys become floats once a tile, transposed (element by element, 64 positions each),
 *               values become floats; scores of 4 rows x 16 positions and sums of 4 rows x 16
 *               elements are register tiles whose loads serve several rows.
 *   few rows    (decode) keys and values are converted in registers as they are read: 3 rows x 4
 *               positions with their lanes summed at the end, 3 rows x 32 elements of the sums. It
 *               saves the transposition, which three rows do not pay for.
 * Positions that a row does not see take no part: they are left out of its sums, not multiplied by
 * zero, so what lies there does not matter. */
#include <assert.h>

#include "../kernel_list.h"
#include "vec_avx2.h"

enum { TILE = STRATA_ATTENTION_TILE };

/* Where things lie in scratch. */
struct work {
    size_t padded;                     /* head_dim rounded up to whole vectors */
    float *q;                          /* [row][padded], times scale */
    float *sum;                        /* [row][padded] */
    float *keys;                       /* [element][TILE] */
    float *values;                     /* [position][padded] */
    float *scores;                     /* [row][TILE] */
    float *max, *denominator, *shrink; /* [row] */
};

static struct work lay_out(void *scratch, size_t head_dim)
{
    struct work w = {.padded = (head_dim + 7) / 8 * 8, .q = scratch};
    w.sum = w.q + STRATA_ATTENTION_ROWS * w.padded;
    w.keys = w.sum + STRATA_ATTENTION_ROWS * w.padded;
    w.values = w.keys + TILE * w.padded;
    w.scores = w.values + TILE * w.padded;
    w.max = w.scores + STRATA_ATTENTION_ROWS * TILE;
    w.denominator = w.max + STRATA_ATTENTION_ROWS;
    w.shrink = w.denominator + STRATA_ATTENTION_ROWS;
    return w;
}

static void start_rows(const struct strata_attention *a, const struct work *w)
{
    for (size_t r = 0; r < a->tokens * a->heads; r++) {
        const float *q = a->q + r / a->heads * a->q_token_stride + r % a->heads * a->q_head_stride;
        float *row = w->q + r * w->padded, *sum = w->sum + r * w->padded;
        for (size_t i = 0; i < w->padded; i++) {
            row[i] = i < a->head_dim ? q[i] * a->scale : 0;
            sum[i] = 0;
        }
        w->max[r] = -INFINITY;
        w->denominator[r] = 0;
    }
}

static void finish_rows(const struct strata_attention *a, const struct work *w)
{
    for (size_t r = 0; r < a->tokens * a->heads; r++) {
        const size_t t = r / a->heads, h = r % a->heads;
        float *out = a->out + t * a->out_token_stride + h * a->out_head_stride;
        const float *sum = w->sum + r * w->padded;
        for (size_t i = 0; i < a->head_dim; i++)
            out[i] = sum[i] / w->denominator[r];
    }
}

/* Eight elements of a cache vector from i on; past head_dim zeros. */
STRATA_INLINE __m256 cache8(const uint16_t *p, size_t i, size_t head_dim)
{
    return head_dim - i >= 8 ? load_half8(p + i) : load_half_tail(p + i, head_dim - i);
}

/* Keys and values of n positions as floats; missing keys up to a multiple of 16 are zeros. */
static void convert_tile(const struct strata_attention *a, const struct work *w, size_t first,
                         size_t n)
{
    for (size_t p = 0; p < (n + 15) / 16 * 16; p += 8) {
        for (size_t i = 0; i < w->padded; i += 8) {
            __m256i v[8];
            STRATA_UNROLL
            for (size_t j = 0; j < 8; j++) {
                const uint16_t *k = a->k + (first + p + j) * a->k_stride;
                v[j] = p + j < n ? _mm256_castps_si256(cache8(k, i, a->head_dim))
                                 : _mm256_setzero_si256();
            }
            transpose8x8(v);
            STRATA_UNROLL
            for (size_t j = 0; j < 8; j++)
                _mm256_storeu_si256((void *)(w->keys + (i + j) * TILE + p), v[j]);
        }
    }
    for (size_t p = 0; p < n; p++)
        for (size_t i = 0; i < w->padded; i += 8)
            _mm256_storeu_ps(w->values + p * w->padded + i,
                             cache8(a->v + (first + p) * a->v_stride, i, a->head_dim));
}

/* ---- scores ---- */

/* Scores of rows r..r + rows - 1 at n positions (and some after them) from the converted tile. */
STRATA_INLINE void tile_scores(const struct work *w, size_t r, int rows, size_t n)
{
    const float *q = w->q + r * w->padded;
    for (size_t p = 0; p < n; p += 16) {
        __m256 acc[4][2];
        STRATA_UNROLL
        for (int i = 0; i < rows; i++)
            acc[i][0] = acc[i][1] = _mm256_setzero_ps();
        for (size_t e = 0; e < w->padded; e++) {
            const __m256 k0 = _mm256_loadu_ps(w->keys + e * TILE + p);
            const __m256 k1 = _mm256_loadu_ps(w->keys + e * TILE + p + 8);
            STRATA_UNROLL
            for (int i = 0; i < rows; i++) {
                const __m256 x = _mm256_broadcast_ss(q + (size_t)i * w->padded + e);
                acc[i][0] = _mm256_fmadd_ps(x, k0, acc[i][0]);
                acc[i][1] = _mm256_fmadd_ps(x, k1, acc[i][1]);
            }
        }
        STRATA_UNROLL
        for (int i = 0; i < rows; i++) {
            float *s = w->scores + (r + (size_t)i) * TILE + p;
            _mm256_storeu_ps(s, acc[i][0]);
            _mm256_storeu_ps(s + 8, acc[i][1]);
        }
    }
}

/* Scores of rows r..r + rows - 1 at the four positions of k. */
STRATA_INLINE void direct_scores4(const struct strata_attention *a, const struct work *w, size_t r,
                                  int rows, const uint16_t *const k[4], size_t p)
{
    const float *q = w->q + r * w->padded;
    __m256 acc[3][4];
    STRATA_UNROLL
    for (int i = 0; i < rows; i++)
        acc[i][0] = acc[i][1] = acc[i][2] = acc[i][3] = _mm256_setzero_ps();
    for (size_t e = 0; e < w->padded; e += 8) {
        STRATA_UNROLL
        for (int j = 0; j < 4; j++) {
            const __m256 x = cache8(k[j], e, a->head_dim);
            STRATA_UNROLL
            for (int i = 0; i < rows; i++) {
                const __m256 qi = _mm256_loadu_ps(q + (size_t)i * w->padded + e);
                acc[i][j] = _mm256_fmadd_ps(qi, x, acc[i][j]);
            }
        }
    }
    STRATA_UNROLL
    for (int i = 0; i < rows; i++)
        _mm_storeu_ps(w->scores + (r + (size_t)i) * TILE + p,
                      sum_lanes4(acc[i][0], acc[i][1], acc[i][2], acc[i][3]));
}

/* The same at n positions from `first` on; the last one is repeated to fill a group of four. */
STRATA_INLINE void direct_scores(const struct strata_attention *a, const struct work *w, size_t r,
                                 int rows, size_t first, size_t n)
{
    for (size_t p = 0; p < n; p += 4) {
        const uint16_t *k[4];
        for (size_t j = 0; j < 4; j++)
            k[j] = a->k + (first + (p + j < n ? p + j : n - 1)) * a->k_stride;
        direct_scores4(a, w, r, rows, k, p);
    }
}

/* ---- softmax ---- */

/* Turns the first n scores of row r into weights exp(s - max) and updates maximum, denominator and
 * the factor that shrinks what was summed before. */
static void weigh(const struct work *w, size_t r, size_t n)
{
    float *s = w->scores + r * TILE;
    __m256 largest = _mm256_set1_ps(w->max[r]);
    for (size_t p = n; p % 8 != 0; p++)
        s[p] = -INFINITY;
    for (size_t p = 0; p < n; p += 8)
        largest = _mm256_max_ps(_mm256_loadu_ps(s + p), largest);
    const float max = max_lanes(largest);
    const __m256 base = _mm256_set1_ps(max == -INFINITY ? 0 : max);
    const __m256 old = _mm256_set1_ps(w->max[r]);
    w->shrink[r] = _mm256_cvtss_f32(exp_ps(_mm256_sub_ps(old, base)));
    __m256 sum = _mm256_setzero_ps();
    for (size_t p = 0; p < n; p += 8) {
        const __m256 e = exp_ps(_mm256_sub_ps(_mm256_loadu_ps(s + p), base));
        _mm256_storeu_ps(s + p, e);
        sum = _mm256_add_ps(sum, e);
    }
    w->max[r] = max;
    w->denominator[r] = w->denominator[r] * w->shrink[r] + sum_lanes(sum);
}

/* ---- sums of values ---- */

/* sum = sum * shrink (unless positions from > 0 on continue an earlier call) + weights from..to - 1
 * times values, for rows r..r + rows - 1 and 8 * vectors elements from e on.  Values come from the
 * converted tile, or, when direct, from the cache at `first`. */
STRATA_INLINE void sum_values(const struct strata_attention *a, const struct work *w, size_t r,
                              int rows, size_t e, int vectors, size_t from, size_t to, int direct,
                              size_t first)
{
    __m256 acc[4][4];
    STRATA_UNROLL
    for (int i = 0; i < rows; i++) {
        const __m256 shrink = _mm256_set1_ps(from == 0 ? w->shrink[r + (size_t)i] : 1);
        STRATA_UNROLL
        for (int j = 0; j < vectors; j++) {
            const float *sum = w->sum + (r + (size_t)i) * w->padded + e + 8 * j;
            acc[i][j] = _mm256_mul_ps(_mm256_loadu_ps(sum), shrink);
        }
    }
    for (size_t p = from; p < to; p++) {
        __m256 x[4];
        STRATA_UNROLL
        for (int i = 0; i < rows; i++)
            x[i] = _mm256_broadcast_ss(w->scores + (r + (size_t)i) * TILE + p);
        STRATA_UNROLL
        for (int j = 0; j < vectors; j++) {
            const size_t at = e + 8 * (size_t)j;
            const __m256 v = direct ? cache8(a->v + (first + p) * a->v_stride, at, a->head_dim)
                                    : _mm256_loadu_ps(w->values + p * w->padded + at);
            STRATA_UNROLL
            for (int i = 0; i < rows; i++)
                acc[i][j] = _mm256_fmadd_ps(x[i], v, acc[i][j]);
        }
    }
    STRATA_UNROLL
    for (int i = 0; i < rows; i++) {
        STRATA_UNROLL
        for (int j = 0; j < vectors; j++)
            _mm256_storeu_ps(w->sum + (r + (size_t)i) * w->padded + e + 8 * j, acc[i][j]);
    }
}

/* All elements, `wide` vectors at a time. */
STRATA_INLINE void sum_all(const struct strata_attention *a, const struct work *w, size_t r,
                           int rows, int wide, size_t from, size_t to, int direct, size_t first)
{
    const size_t step = 8 * (size_t)wide;
    size_t e = 0;
    for (; e + step <= w->padded; e += step)
        sum_values(a, w, r, rows, e, wide, from, to, direct, first);
    for (; e < w->padded; e += 8)
        sum_values(a, w, r, rows, e, 1, from, to, direct, first);
}

/* ---- groups of rows ---- */

/* Positions of the tile from `first` on that row r sees. */
STRATA_INLINE size_t seen(const struct strata_attention *a, size_t r, size_t first)
{
    const size_t visible = a->visible[r / a->heads];
    const size_t left = visible > first ? visible - first : 0;
    return left < TILE ? left : TILE;
}

/* Takes a tile into rows r..r + rows - 1: what all of them see together, the rest row by row. */
STRATA_INLINE void take_tile(const struct strata_attention *a, const struct work *w, size_t r,
                             int rows, size_t first, int direct)
{
    size_t n[4], least = TILE, most = 0;
    for (int i = 0; i < rows; i++) {
        n[i] = seen(a, r + (size_t)i, first);
        least = n[i] < least ? n[i] : least;
        most = n[i] > most ? n[i] : most;
    }
    if (most == 0)
        return;
    if (direct)
        direct_scores(a, w, r, rows, first, most);
    else
        tile_scores(w, r, rows, most);
    for (int i = 0; i < rows; i++)
        if (n[i] > 0)
            weigh(w, r + (size_t)i, n[i]);
    if (least > 0)
        sum_all(a, w, r, rows, direct ? 4 : 2, 0, least, direct, first);
    for (int i = 0; i < rows; i++)
        if (n[i] > least)
            sum_all(a, w, r + (size_t)i, 1, 4, least, n[i], direct, first);
}

void strata_attention_f16_avx2(const struct strata_attention *a)
{
    const size_t rows = a->tokens * a->heads;
    const int direct = rows <= STRATA_ATTENTION_HEADS;
    assert(rows <= STRATA_ATTENTION_ROWS);
    const struct work w = lay_out(a->scratch, a->head_dim);
    size_t most = 0;
    for (size_t t = 0; t < a->tokens; t++)
        most = a->visible[t] > most ? a->visible[t] : most;
    start_rows(a, &w);
    for (size_t first = 0; first < most; first += TILE) {
        size_t r = 0;
        if (direct) {
            for (; r + 3 <= rows; r += 3)
                take_tile(a, &w, r, 3, first, 1);
            if (rows - r == 2)
                take_tile(a, &w, r, 2, first, 1);
            else if (rows - r == 1)
                take_tile(a, &w, r, 1, first, 1);
            continue;
        }
        convert_tile(a, &w, first, most - first < TILE ? most - first : TILE);
        for (; r + 4 <= rows; r += 4)
            take_tile(a, &w, r, 4, first, 0);
        for (; r < rows; r++)
            take_tile(a, &w, r, 1, first, 0);
    }
    finish_rows(a, &w);
}

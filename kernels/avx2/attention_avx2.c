/* Attention over a cache of binary16 or Q8_0 rows, or over rows of floats: scores, online softmax
 * and weighted sum of values, tile after tile of 64 positions (Milakov & Gimelshein 2018; Dao et
 * al. 2022).
 *
 * Queries are copied to scratch, scaled, in rows padded with zeros to whole vectors; the running
 * sums O lie there likewise.  Per tile and row: scores s, new maximum M', O = O * exp(M - M') + sum
 * exp(s - M') v, L likewise; at the end out = O / L.
 *
 * Two ways to the same sums, chosen by the number of rows (tokens * heads):
 *   many rows   keys become floats once a tile, transposed (element by element, 64 positions each),
 *               values become floats; scores of 6 rows x 16 positions and sums of 6 rows x 16
 *               elements are register tiles whose loads serve several rows.
 *   few rows    (decode) keys and values are converted in registers as they are read: 3 rows x 4
 *               positions with their lanes summed at the end, 3 rows x 32 elements of the sums. It
 *               saves the transposition, which three rows do not pay for.  Calls are short there
 *               (a part of some hundred positions), too short for the hardware to see the two
 *               streams: while keys are multiplied the tile's values are prefetched, then the next
 *               tile's keys.
 *
 * Positions that a row does not see take no part: they are left out of its sums, not multiplied by
 * zero, so what lies there does not matter. */
#include <assert.h>

#include "../kernel_list.h"
#include "../tree_mask.h"
#include "vec_avx2.h"

enum { TILE = STRATA_ATTENTION_TILE, MOST_ROWS = 6 };

static size_t clip(size_t value, size_t limit)
{
    return value < limit ? value : limit;
}

/* Where things lie in scratch. */
struct work {
    size_t padded;                     /* head_dim rounded up to whole vectors */
    float *q;                          /* [row][padded], times scale */
    float *sum;                        /* [row][padded] */
    float *keys;                       /* [element][TILE] */
    float *values;                     /* [position][padded] */
    float *scores;                     /* [row][TILE] */
    float *max, *denominator, *shrink; /* [row] */
    uint64_t *hidden;                  /* [row]: positions of the tile that it does not see */
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
        const float divisor = a->largest ? 1 : w->denominator[r];
        for (size_t i = 0; i < a->head_dim; i++)
            out[i] = sum[i] / divisor;
        if (a->largest) {
            a->largest[h] = w->max[r];
            a->denominator[h] = w->denominator[r];
        }
    }
}

/* Vectors that are read together: a block of Q8_0 has one scale. */
STRATA_INLINE int vectors_of(enum strata_type type)
{
    return type == STRATA_TYPE_Q8_0 ? 4 : 1;
}

/* n vectors of a row of the cache from element i on, of one block where it has blocks; past
 * head_dim zeros, unless `whole` says that there is nothing past it.  n, `type` and `whole` are
 * constants where this is inlined. */
STRATA_INLINE void read_cache(__m256 v[4], int n, enum strata_type type, int whole, const char *row,
                              size_t i, size_t head_dim)
{
    if (type == STRATA_TYPE_Q8_0) {
        const char *block = row + i / 32 * sizeof(struct strata_block_q8_0);
        uint16_t d;
        memcpy(&d, block, sizeof d);
        const __m256 scale = _mm256_set1_ps(_cvtsh_ss(d));
        STRATA_UNROLL
        for (int j = 0; j < n; j++) {
            const __m128i q = _mm_loadl_epi64((const void *)(block + 2 + i % 32 + 8 * j));
            v[j] = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q)));
        }
        return;
    }
    if (type == STRATA_TYPE_F32) { /* n is 1 */
        const float *x = (const float *)(const void *)row + i;
        v[0] = whole || head_dim - i >= 8 ? _mm256_loadu_ps(x)
                                          : _mm256_maskload_ps(x, first_lanes(head_dim - i));
        return;
    }
    STRATA_UNROLL
    for (int j = 0; j < n; j++, i += 8)
        v[j] = whole || head_dim - i >= 8 ? load_half8(row + 2 * i)
                                          : load_half_tail(row + 2 * i, head_dim - i);
}

STRATA_INLINE const char *key_at(const struct strata_attention *a, size_t p)
{
    return (const char *)a->k + p * a->k_stride;
}

STRATA_INLINE const char *value_at(const struct strata_attention *a, size_t p)
{
    return (const char *)a->v + p * a->v_stride;
}

/* Asks for some rows of the cache. */
STRATA_INLINE void prefetch_rows(const char *rows, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64)
        _mm_prefetch(rows + i, _MM_HINT_T0);
}

/* Keys and values of n positions as floats; the last key is repeated up to a multiple of 16. */
STRATA_INLINE void convert_tile(const struct strata_attention *a, const struct work *w,
                                enum strata_type type, int whole, size_t first, size_t n)
{
    const int n_vectors = vectors_of(type);
    for (size_t p = 0; p < (n + 15) / 16 * 16; p += 8) {
        const char *k[8];
        STRATA_UNROLL
        for (size_t j = 0; j < 8; j++)
            k[j] = key_at(a, first + clip(p + j, n - 1));
        for (size_t i = 0; i < w->padded; i += 8) {
            __m256 v[8];
            __m256i t[8];
            STRATA_UNROLL
            for (size_t j = 0; j < 8; j++) {
                read_cache(v + j, 1, type, whole, k[j], i, a->head_dim);
                t[j] = _mm256_castps_si256(v[j]);
            }
            transpose8x8(t);
            STRATA_UNROLL
            for (size_t j = 0; j < 8; j++)
                _mm256_storeu_si256((void *)(w->keys + (i + j) * TILE + p), t[j]);
        }
    }
    for (size_t p = 0; p < n; p++) {
        const char *value = value_at(a, first + p);
        prefetch_rows(key_at(a, first + p + TILE), a->k_stride);
        prefetch_rows(value + TILE * a->v_stride, a->v_stride);
        for (size_t i = 0; i < w->padded; i += 8 * (size_t)n_vectors) {
            __m256 v[4];
            read_cache(v, n_vectors, type, whole, value, i, a->head_dim);
            STRATA_UNROLL
            for (int j = 0; j < n_vectors; j++)
                _mm256_storeu_ps(w->values + p * w->padded + i + 8 * (size_t)j, v[j]);
        }
    }
}

/* ---- scores ---- */

/* Scores of rows r..r + rows - 1 at n positions (and some after them) from the converted tile. */
STRATA_INLINE void tile_scores(const struct work *w, size_t r, int rows, size_t n)
{
    const float *q = w->q + r * w->padded;
    for (size_t p = 0; p < n; p += 16) {
        __m256 acc[MOST_ROWS][2];
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

/* Scores of rows r..r + rows - 1 at four positions p.., `k` the first and stride bytes between
 * them. */
STRATA_INLINE void direct_scores4(const struct work *w, enum strata_type type, int whole, size_t r,
                                  int rows, const char *const k[4], size_t head_dim, size_t p)
{
    const size_t padded = w->padded;
    const float *q = w->q + r * padded;
    __m256 acc[3][4];
    STRATA_UNROLL
    for (int i = 0; i < rows; i++)
        acc[i][0] = acc[i][1] = acc[i][2] = acc[i][3] = _mm256_setzero_ps();
    const int n = vectors_of(type);
    for (size_t e = 0; e < padded; e += 8 * (size_t)n) {
        STRATA_UNROLL
        for (int j = 0; j < 4; j++) {
            __m256 x[4];
            read_cache(x, n, type, whole, k[j], e, head_dim);
            STRATA_UNROLL
            for (int v = 0; v < n; v++) {
                STRATA_UNROLL
                for (int i = 0; i < rows; i++) {
                    const float *qi = q + (size_t)i * padded + e + 8 * (size_t)v;
                    acc[i][j] = _mm256_fmadd_ps(_mm256_loadu_ps(qi), x[v], acc[i][j]);
                }
            }
        }
    }
    STRATA_UNROLL
    for (int i = 0; i < rows; i++)
        _mm_storeu_ps(w->scores + (r + (size_t)i) * TILE + p,
                      sum_lanes4(acc[i][0], acc[i][1], acc[i][2], acc[i][3]));
}

/* The same at n positions from `first` on; the last one is repeated to fill a group of four. */
STRATA_INLINE void direct_scores(const struct strata_attention *a, const struct work *w,
                                 enum strata_type type, int whole, size_t r, int rows, size_t first,
                                 size_t n)
{
    const size_t head_dim = a->head_dim, stride = a->k_stride, four_values = 4 * a->v_stride;
    const char *base = key_at(a, first), *values = value_at(a, first);
    for (size_t p = 0; p < n; p += 4) {
        const char *k[4];
        for (size_t j = 0; j < 4; j++)
            k[j] = base + clip(p + j, n - 1) * stride;
        prefetch_rows(values, four_values);
        values += four_values;
        direct_scores4(w, type, whole, r, rows, k, head_dim, p);
    }
}

/* ---- softmax ---- */

/* exp(x) for x <= 0 within 2 ulp, 0 where that is not a normal number; NaN stays NaN.  Adding a
 * large number rounds to n and leaves n + 127 in the last bits: the exponent of 2^n. */
STRATA_INLINE __m256 exp_of_nonpositive(__m256 x)
{
    const __m256 large = _mm256_set1_ps(0x1.8p+23f + 127);
    const __m256 shifted = _mm256_fmadd_ps(x, _mm256_set1_ps(0x1.715476p+0f), large);
    const __m256 n = _mm256_sub_ps(shifted, large);
    const __m256 power = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(shifted), 23));
    const __m256 normal = _mm256_cmp_ps(x, _mm256_set1_ps(-87.3f), _CMP_NLT_UQ);
    return _mm256_and_ps(_mm256_mul_ps(exp_of_rest(x, n), power), normal);
}

/* Positions from .. to - 1 of a tile; with `shrink` the sums are shrunk before they are added. */
struct part {
    size_t from, to;
    int shrink;
};

/* The largest score of row r at the positions of `part` and before; others become -Inf, and those
 * that are hidden between them. */
STRATA_INLINE float largest_score(const struct work *w, size_t r, struct part part)
{
    float *s = w->scores + r * TILE;
    for (uint64_t left = w->hidden[r]; left; left &= left - 1)
        s[__builtin_ctzll(left)] = -INFINITY;
    for (size_t p = 0; p < part.from; p++)
        s[p] = -INFINITY;
    for (size_t p = part.to; p < TILE; p++)
        s[p] = -INFINITY;
    __m256 largest = _mm256_set1_ps(w->max[r]);
    for (size_t p = 0; p < TILE; p += 8)
        largest = _mm256_max_ps(_mm256_loadu_ps(s + p), largest);
    return max_lanes(largest);
}

/* Turns the scores of row r into weights exp(s - max) and updates maximum, denominator and the
 * factor that shrinks what was summed before. */
STRATA_INLINE void weigh_row(const struct work *w, size_t r, float max)
{
    float *s = w->scores + r * TILE;
    const float old = w->max[r];
    const __m256 base = _mm256_set1_ps(max); /* -Inf: no score is above it, all become NaN */
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    /* A whole tile, however little of it is seen: exponentials of known number overlap. */
    STRATA_UNROLL
    for (size_t p = 0; p < TILE; p += 8) {
        const __m256 e = exp_of_nonpositive(_mm256_sub_ps(_mm256_loadu_ps(s + p), base));
        _mm256_storeu_ps(s + p, e);
        sum[p / 8 % 2] = _mm256_add_ps(sum[p / 8 % 2], e);
    }
    const __m256 change = _mm256_sub_ps(_mm256_set1_ps(old), base);
    w->shrink[r] = max == old ? 1 : _mm256_cvtss_f32(exp_of_nonpositive(change));
    w->max[r] = max;
    w->denominator[r] = w->denominator[r] * w->shrink[r] + sum_lanes(_mm256_add_ps(sum[0], sum[1]));
}

/* Weighs the rows r..r + rows - 1 that see something of the tile.  All maxima come first, so that
 * what waits for one row's overlaps with the others'. */
static void weigh(const struct work *w, size_t r, int rows, const struct part part[MOST_ROWS])
{
    float max[MOST_ROWS];
    for (int i = 0; i < rows; i++)
        max[i] = part[i].to > part[i].from ? largest_score(w, r + (size_t)i, part[i]) : 0;
    for (int i = 0; i < rows; i++)
        if (part[i].to > part[i].from)
            weigh_row(w, r + (size_t)i, max[i]);
}

/* ---- sums of values ---- */

/* Where values lie: row `first` of the cache (direct; the next tile's keys are prefetched), or of
 * the converted tile. */
struct source {
    const char *rows, *next_keys;
    size_t stride, next_stride, head_dim;
    enum strata_type type; /* F32: converted */
    int whole;
};

/* One position: many rows, few elements, which are held in registers; and the other way round. */
STRATA_INLINE void add_many(__m256 acc[MOST_ROWS][4], const char *row, size_t e,
                            const float *weight, int rows, int vectors)
{
    __m256 v[4];
    STRATA_UNROLL
    for (int j = 0; j < vectors; j++)
        v[j] = _mm256_loadu_ps((const float *)(const void *)row + e + 8 * (size_t)j);
    STRATA_UNROLL
    for (int i = 0; i < rows; i++) {
        const __m256 x = _mm256_broadcast_ss(weight + (size_t)i * TILE);
        STRATA_UNROLL
        for (int j = 0; j < vectors; j++)
            acc[i][j] = _mm256_fmadd_ps(x, v[j], acc[i][j]);
    }
}

STRATA_INLINE void add_few(__m256 acc[MOST_ROWS][4], const struct source *from, const char *row,
                           size_t e, const float *weight, int rows, int vectors)
{
    __m256 x[MOST_ROWS], v[4];
    STRATA_UNROLL
    for (int i = 0; i < rows; i++)
        x[i] = _mm256_broadcast_ss(weight + (size_t)i * TILE);
    const int n = vectors_of(from->type);
    STRATA_UNROLL
    for (int j = 0; j < vectors; j += n) {
        read_cache(v, n, from->type, from->whole, row, e + 8 * (size_t)j, from->head_dim);
        STRATA_UNROLL
        for (int u = 0; u < n; u++) {
            STRATA_UNROLL
            for (int i = 0; i < rows; i++)
                acc[i][j + u] = _mm256_fmadd_ps(x[i], v[u], acc[i][j + u]);
        }
    }
}

/* sum = sum * shrink + weights times values, for rows r..r + rows - 1 and 8 * vectors elements from
 * e on. */
STRATA_INLINE void sum_values(const struct work *w, struct source from, size_t r, int rows,
                              size_t e, int vectors, struct part part)
{
    const size_t padded = w->padded;
    float *sums = w->sum + r * padded + e;
    const float *weights = w->scores + r * TILE;
    __m256 acc[MOST_ROWS][4];
    STRATA_UNROLL
    for (int i = 0; i < rows; i++) {
        const __m256 shrink = _mm256_set1_ps(part.shrink ? w->shrink[r + (size_t)i] : 1);
        STRATA_UNROLL
        for (int j = 0; j < vectors; j++)
            acc[i][j] = _mm256_mul_ps(_mm256_loadu_ps(sums + (size_t)i * padded + 8 * j), shrink);
    }
    const char *row = from.rows + part.from * from.stride;
    const char *next = from.next_keys + part.from * from.next_stride;
    for (size_t p = part.from; p < part.to; p++, row += from.stride) {
        const float *weight = weights + p;
        if (from.type == STRATA_TYPE_F32) {
            add_many(acc, row, e, weight, rows, vectors);
        } else {
            if (e == 0) /* lines in order, or the hardware loses the stream */
                prefetch_rows(next, from.next_stride);
            next += from.next_stride;
            add_few(acc, &from, row, e, weight, rows, vectors);
        }
    }
    STRATA_UNROLL
    for (int i = 0; i < rows; i++) {
        STRATA_UNROLL
        for (int j = 0; j < vectors; j++)
            _mm256_storeu_ps(sums + (size_t)i * padded + 8 * j, acc[i][j]);
    }
}

/* All elements, `wide` vectors at a time. */
STRATA_INLINE void sum_all(const struct work *w, struct source from, size_t r, int rows, int wide,
                           struct part part)
{
    const size_t step = 8 * (size_t)wide;
    size_t e = 0;
    for (; e + step <= w->padded; e += step)
        sum_values(w, from, r, rows, e, wide, part);
    for (; e < w->padded; e += 8)
        sum_values(w, from, r, rows, e, 1, part);
}

/* ---- groups of rows ---- */

/* Positions of the tile from `first` on that row r sees: from .. to - 1, none when to <= from. */
STRATA_INLINE struct part seen(const struct strata_attention *a, const struct work *w, size_t r,
                               size_t first)
{
    const size_t visible = a->visible[r / a->heads];
    const size_t begin = visible > a->window ? visible - a->window : 0;
    struct part part = {begin > first ? begin - first : 0,
                        visible > first ? clip(visible - first, TILE) : 0, 1};
    while (part.from < part.to && w->hidden[r] >> part.from & 1)
        part.from++;
    while (part.from < part.to && w->hidden[r] >> (part.to - 1) & 1)
        part.to--;
    return part;
}

/* Takes a tile into rows r..r + rows - 1: what all of them see together, the rest row by row.
 * `type` F32: the tile was converted. */
STRATA_INLINE void take_tile(const struct strata_attention *a, const struct work *w,
                             enum strata_type type, int whole, size_t r, int rows, size_t first)
{
    const int direct = type != STRATA_TYPE_F32;
    const struct source from = {.rows = direct ? value_at(a, first) : (const char *)w->values,
                                .stride = direct ? a->v_stride : w->padded * sizeof(float),
                                .next_keys = key_at(a, first + TILE),
                                .next_stride = a->k_stride,
                                .head_dim = a->head_dim,
                                .type = type,
                                .whole = whole};
    struct part part[MOST_ROWS], common = {0, TILE, 1};
    size_t most = 0;
    for (int i = 0; i < rows; i++) {
        part[i] = seen(a, w, r + (size_t)i, first);
        common.from = part[i].from > common.from ? part[i].from : common.from;
        common.to = clip(part[i].to, common.to);
        if (part[i].to > part[i].from)
            most = part[i].to > most ? part[i].to : most;
    }
    if (most == 0)
        return;
    if (direct)
        direct_scores(a, w, type, whole, r, rows, first, most);
    else
        tile_scores(w, r, rows, most);
    weigh(w, r, rows, part);
    const int together = common.to > common.from;
    if (together)
        sum_all(w, from, r, rows, direct ? 4 : 2, common);
    if (direct) /* of one token: all rows see the same */
        return;
    for (int i = 0; i < rows; i++) {
        struct part before = {part[i].from, together ? common.from : part[i].to, !together};
        struct part after = {together ? common.to : part[i].to, part[i].to, 0};
        if (before.to > before.from)
            sum_all(w, from, r + (size_t)i, 1, 4, before);
        if (after.to > after.from)
            sum_all(w, from, r + (size_t)i, 1, 4, after);
    }
}

/* The rows of a tile: few of one token read the cache, others what was converted. */
STRATA_INLINE void take_rows(const struct strata_attention *a, const struct work *w,
                             enum strata_type type, int whole, size_t rows, size_t first)
{
    size_t r = 0;
    for (; type == STRATA_TYPE_F32 && r + MOST_ROWS <= rows; r += MOST_ROWS)
        take_tile(a, w, type, whole, r, MOST_ROWS, first);
    for (; r + 3 <= rows; r += 3)
        take_tile(a, w, type, whole, r, 3, first);
    if (rows - r == 2)
        take_tile(a, w, type, whole, r, 2, first);
    else if (rows - r == 1)
        take_tile(a, w, type, whole, r, 1, first);
}

/* One body for every type of the cache. */
static __attribute__((noinline)) void
take_converted(const struct strata_attention *a, const struct work *w, size_t rows, size_t first)
{
    take_rows(a, w, STRATA_TYPE_F32, 1, rows, first);
}

STRATA_INLINE void attention(const struct strata_attention *a, enum strata_type type, int whole)
{
    const size_t rows = a->tokens * a->heads;
    /* Rows of floats are converted like others: encoders have many tokens. */
    const int direct =
        type != STRATA_TYPE_F32 && a->tokens == 1 && rows <= STRATA_ATTENTION_HEADS && !a->until;
    assert(rows <= STRATA_ATTENTION_ROWS);
    uint64_t hidden[STRATA_ATTENTION_ROWS] = {0};
    struct work w = lay_out(a->scratch, a->head_dim);
    w.hidden = hidden;
    size_t most = 0, least = SIZE_MAX;
    for (size_t t = 0; t < a->tokens; t++) {
        const size_t visible = a->visible[t];
        most = visible > most ? visible : most;
        least = clip(visible > a->window ? visible - a->window : 0, least);
    }
    start_rows(a, &w);
    for (size_t first = least / TILE * TILE; first < most; first += TILE) {
        const size_t n = clip(most - first, TILE);
        if (strata_all_hide(a, first, n))
            continue;
        for (size_t r = 0; r < rows && a->until; r++)
            hidden[r] = r % a->heads ? hidden[r - 1] : strata_hidden(a, r / a->heads, first, n);
        if (!direct) {
            convert_tile(a, &w, type, whole, first, n);
            take_converted(a, &w, rows, first);
        } else {
            take_rows(a, &w, type, whole, rows, first);
        }
    }
    finish_rows(a, &w);
}

void strata_attention_F32_avx2(const struct strata_attention *a)
{
    if (a->head_dim % 8 == 0)
        attention(a, STRATA_TYPE_F32, 1);
    else
        attention(a, STRATA_TYPE_F32, 0);
}

void strata_attention_F16_avx2(const struct strata_attention *a)
{
    if (a->head_dim % 8 == 0)
        attention(a, STRATA_TYPE_F16, 1);
    else
        attention(a, STRATA_TYPE_F16, 0);
}

void strata_attention_Q8_0_avx2(const struct strata_attention *a)
{
    attention(a, STRATA_TYPE_Q8_0, 1);
}

void strata_attention_merge_avx2(const struct strata_attention_parts *a)
{
    float largest = -INFINITY, denominator = 0;
    for (size_t p = 0; p < a->parts; p++)
        largest = a->largest[p] > largest ? a->largest[p] : largest;
    for (size_t i = 0; i < a->head_dim; i++)
        a->out[i] = 0;
    for (size_t p = 0; p < a->parts; p++) {
        const __m256 weight = exp_ps(_mm256_set1_ps(a->largest[p] - largest));
        const float *sums = a->sums + p * a->head_dim;
        denominator += _mm256_cvtss_f32(weight) * a->denominator[p];
        size_t i = 0;
        for (; i + 8 <= a->head_dim; i += 8)
            _mm256_storeu_ps(a->out + i, _mm256_fmadd_ps(weight, _mm256_loadu_ps(sums + i),
                                                         _mm256_loadu_ps(a->out + i)));
        for (; i < a->head_dim; i++)
            a->out[i] += _mm256_cvtss_f32(weight) * sums[i];
    }
    for (size_t i = 0; i < a->head_dim; i++)
        a->out[i] /= denominator;
}

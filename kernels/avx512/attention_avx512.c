/* Attention with an online softmax (Milakov & Gimelshein 2018; Dao et al. 2022).
 *
 * For each tile of 64 positions and all rows (tokens x heads) that share the key/value head:
 *   1. keys become float, transposed: keys[d][p], values become float: values[p][d];
 *   2. scores[row][p] = sum over d of q[row][d] * keys[d][p], for six rows x 64 positions at a time
 *      (24 accumulators; per d four loads and six broadcasts feed 24 multiply-adds);
 *   3. per row the maximum, denominator and, by a factor, the running sums are brought up to date,
 *      scores become exp(score - maximum);
 *   4. sums[row][d] += sum over p of scores[row][p] * values[p][d], for six rows x 64 elements.
 *
 * Keys are transposed as pairs of binary16, four rows of 16 bytes to a vector, which takes half of
 * the shuffles that floats would.  One tile serves up to 64 rows, so the conversion is a few
 * percent of a prefill.
 *
 * One token with up to eight heads (a decode step) has too few rows to pay for that: it takes
 * scores as dot products, four positions at a time, and converts values in registers.  Its calls
 * are too short for the hardware to see the two streams (a part of some hundred positions): while
 * keys are multiplied the tile's values are prefetched, then the next tile's keys.
 *
 * Every score is one chain of multiply-adds over d (one token: 16 chains, added in a fixed order),
 * every output one over positions in order, whatever rows are handled together; exp is exp16 (1.5
 * ulp).  Positions that a row does not see are kept out of its sums, even when another row of the
 * call sees them.
 */
#include <assert.h>
#include <math.h>

#include "../tree_mask.h"
#include "lanes_avx512.h"

#define TILE STRATA_ATTENTION_TILE
#define ROWS STRATA_ATTENTION_ROWS
#define FEW_ROWS STRATA_ATTENTION_HEADS

struct tile {
    float *scores;                /* [rows][TILE] */
    float *keys;                  /* [head_dim][TILE] */
    float *values;                /* [TILE][padded] */
    float *sums;                  /* [rows][padded] */
    float *largest, *denominator; /* [rows] */
    size_t padded;                /* head_dim, up to a multiple of 16 */
    const float *q[ROWS];
    size_t begin[ROWS], visible[ROWS]; /* positions that a row sees, */
    uint64_t hidden[ROWS];             /* but for these of the tile */
    size_t rows;
};

/* `type` is a constant where these are inlined. */
INLINE const char *key_at(const struct strata_attention *a, size_t p)
{
    return (const char *)a->k + p * a->k_stride;
}

INLINE const char *value_at(const struct strata_attention *a, size_t p)
{
    return (const char *)a->v + p * a->v_stride;
}

/* Asks for some rows of the cache. */
INLINE void prefetch_rows(const char *rows, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64)
        _mm_prefetch(rows + i, _MM_HINT_T0);
}

/* 16 elements of a row of the cache from d on; lanes outside mask are 0 (Q8_0: rows have none). */
INLINE __m512 cache16(enum strata_type type, const char *row, size_t d, __mmask16 mask)
{
    if (type == STRATA_TYPE_F32)
        return _mm512_maskz_loadu_ps(mask, row + 4 * d);
    if (type == STRATA_TYPE_F16)
        return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, row + 2 * d));
    const char *block = row + d / 32 * sizeof(struct strata_block_q8_0);
    uint16_t half;
    memcpy(&half, block, sizeof half);
    __m512 scale = _mm512_cvtph_ps(_mm256_set1_epi16((short)half));
    return _mm512_mul_ps(scale,
                         _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load128(block + 2 + d % 32))));
}

/* Row of query vector (t, h) is t * heads + h. */
static void open_tile(struct tile *tile, const struct strata_attention *a)
{
    assert(a->tokens * a->heads <= ROWS);
    float *at = a->scratch;
    tile->padded = (a->head_dim + 15) / 16 * 16;
    tile->rows = a->tokens * a->heads;
    tile->scores = at;
    tile->keys = tile->scores + ROWS * TILE;
    tile->values = tile->keys + a->head_dim * TILE;
    tile->sums = tile->values + TILE * tile->padded;
    tile->largest = tile->sums + ROWS * tile->padded;
    tile->denominator = tile->largest + ROWS;
    for (size_t t = 0; t < a->tokens; t++)
        for (size_t h = 0; h < a->heads; h++) {
            size_t row = t * a->heads + h;
            tile->q[row] = a->q + t * a->q_token_stride + h * a->q_head_stride;
            tile->visible[row] = a->visible[t];
            tile->begin[row] = a->visible[t] > a->window ? a->visible[t] - a->window : 0;
            tile->hidden[row] = 0;
            tile->largest[row] = -INFINITY;
            tile->denominator[row] = 0;
        }
    memset(tile->sums, 0, tile->rows * tile->padded * sizeof *tile->sums);
}

/* Keys of positions first .. first + 15 (the last one again from n on) to columns of the tile. */
INLINE void load_keys(const struct strata_attention *a, enum strata_type type, float *keys,
                      size_t first, size_t n)
{
    const uint16_t *k[16];
    if (type != STRATA_TYPE_F16) {
        for (size_t d = 0; d < a->head_dim; d += 16) {
            __m512 rows[16];
            UNROLL for (size_t p = 0; p < 16; p++) rows[p] =
                cache16(type, key_at(a, first + min_size(p, n - 1)), d, first16(a->head_dim - d));
            store_transposed(keys + d * TILE, TILE, rows, min_size(a->head_dim - d, 16));
        }
        return;
    }
    for (size_t p = 0; p < 16; p++)
        k[p] = (const uint16_t *)(const void *)key_at(a, first + min_size(p, n - 1));
    for (size_t d = 0; d < a->head_dim; d += 8) {
        __mmask8 mask = (__mmask8)first16(a->head_dim - d);
        __m512i v[4];
        UNROLL for (size_t i = 0; i < 4; i++)
        {
            __m128i lane[4];
            UNROLL for (size_t j = 0; j < 4; j++) lane[j] =
                mask == 0xff ? load128(k[4 * j + i] + d)
                             : _mm_maskz_loadu_epi16(mask, k[4 * j + i] + d);
            v[i] = _mm512_inserti32x4(_mm512_castsi128_si512(lane[0]), lane[1], 1);
            v[i] = _mm512_inserti32x4(_mm512_inserti32x4(v[i], lane[2], 2), lane[3], 3);
        }
        transpose_lanes(v);
        UNROLL for (size_t i = 0; i < 4; i++)
        {
            __m512 even, odd;
            halves_to_floats(v[i], &even, &odd);
            if (d + 2 * i < a->head_dim)
                _mm512_storeu_ps(keys + (d + 2 * i) * TILE, even);
            if (d + 2 * i + 1 < a->head_dim)
                _mm512_storeu_ps(keys + (d + 2 * i + 1) * TILE, odd);
        }
    }
}

INLINE void load_values(const struct strata_attention *a, enum strata_type type,
                        const struct tile *tile, size_t first, size_t n)
{
    /* Rows of floats are parts of longer ones. */
    const size_t row_bytes = type == STRATA_TYPE_F32 ? 4 * a->head_dim : a->k_stride;
    for (size_t p = 0; p < n; p++) {
        prefetch_rows(key_at(a, first + p + TILE), row_bytes);
        prefetch_rows(value_at(a, first + p + TILE), row_bytes);
        for (size_t d = 0; d < a->head_dim; d += 16)
            _mm512_storeu_ps(tile->values + p * tile->padded + d,
                             cache16(type, value_at(a, first + p), d, first16(a->head_dim - d)));
    }
}

/* Scores of `rows` rows (a constant) against 16 * `vectors` (a constant) positions. */
INLINE void score_rows(const struct tile *tile, size_t row, size_t rows, size_t vectors,
                       size_t head_dim)
{
    __m512 sum[6][4];
    UNROLL for (size_t r = 0; r < rows; r++) UNROLL for (size_t i = 0; i < vectors; i++) sum[r][i] =
        _mm512_setzero_ps();
    for (size_t d = 0; d < head_dim; d++) {
        __m512 key[4];
        UNROLL for (size_t i = 0; i < vectors; i++) key[i] =
            _mm512_loadu_ps(tile->keys + d * TILE + 16 * i);
        UNROLL for (size_t r = 0; r < rows; r++)
        {
            __m512 q = _mm512_set1_ps(tile->q[row + r][d]);
            UNROLL for (size_t i = 0; i < vectors; i++) sum[r][i] =
                _mm512_fmadd_ps(q, key[i], sum[r][i]);
        }
    }
    UNROLL for (size_t r = 0; r < rows; r++) UNROLL for (size_t i = 0; i < vectors; i++)
        _mm512_storeu_ps(tile->scores + (row + r) * TILE + 16 * i, sum[r][i]);
}

INLINE void score_all(const struct tile *tile, size_t vectors, size_t head_dim)
{
    size_t row = 0;
    for (; row + 6 <= tile->rows; row += 6)
        score_rows(tile, row, 6, vectors, head_dim);
    if (tile->rows - row >= 4) {
        score_rows(tile, row, 4, vectors, head_dim);
        row += 4;
    }
    if (tile->rows - row >= 3) {
        score_rows(tile, row, 3, vectors, head_dim);
        row += 3;
    }
    for (; row < tile->rows; row++)
        score_rows(tile, row, 1, vectors, head_dim);
}

/* Brings row's running state to a tile of which it sees positions from .. to - 1, at least one, but
 * for hidden ones: scores become weights. */
static void soften_row(const struct tile *tile, size_t row, size_t from, size_t to, float scale)
{
    const __m512 lowest = _mm512_set1_ps(-INFINITY), factor = _mm512_set1_ps(scale);
    float *scores = tile->scores + row * TILE;
    __m512 s[4], sum = _mm512_setzero_ps(), top = _mm512_set1_ps(tile->largest[row]);
    UNROLL for (size_t i = 0; i < 4; i++)
    {
        __mmask16 mask = 16 * i < to ? first16(to - 16 * i) : 0;
        if (from > 16 * i)
            mask &= (__mmask16)~first16(from - 16 * i);
        mask &= (__mmask16) ~(tile->hidden[row] >> 16 * i);
        s[i] =
            _mm512_mask_mul_ps(lowest, mask, _mm512_maskz_loadu_ps(mask, scores + 16 * i), factor);
        top = _mm512_max_ps(s[i], top); /* a NaN score gives top, and a NaN weight below */
    }
    float largest = max16(top);
    __m512 offset = _mm512_set1_ps(largest);
    UNROLL for (size_t i = 0; i < 4; i++)
    {
        s[i] = exp16(_mm512_sub_ps(s[i], offset));
        sum = _mm512_add_ps(sum, s[i]);
        _mm512_storeu_ps(scores + 16 * i, s[i]);
    }
    if (largest == tile->largest[row]) {
        tile->denominator[row] += sum16(sum);
        return;
    }
    __m512 shrink = exp16(_mm512_sub_ps(_mm512_set1_ps(tile->largest[row]), offset));
    tile->denominator[row] = tile->denominator[row] * _mm512_cvtss_f32(shrink) + sum16(sum);
    tile->largest[row] = largest;
    float *sums = tile->sums + row * tile->padded;
    for (size_t d = 0; d < tile->padded; d += 16)
        _mm512_storeu_ps(sums + d, _mm512_mul_ps(_mm512_loadu_ps(sums + d), shrink));
}

/* Adds positions from .. to - 1 to the sums of `rows` rows, elements d .. d + 16 * vectors - 1
 * (`rows` and `vectors` are constants). */
INLINE void add_values(const struct tile *tile, size_t row, size_t rows, size_t d, size_t vectors,
                       size_t from, size_t to)
{
    const float *scores = tile->scores + row * TILE, *values = tile->values + d;
    float *sums = tile->sums + row * tile->padded + d;
    __m512 sum[6][4];
    UNROLL for (size_t r = 0; r < rows; r++) UNROLL for (size_t i = 0; i < vectors; i++) sum[r][i] =
        _mm512_loadu_ps(sums + r * tile->padded + 16 * i);
    for (size_t p = from; p < to; p++) {
        __m512 value[4];
        UNROLL for (size_t i = 0; i < vectors; i++) value[i] =
            _mm512_loadu_ps(values + p * tile->padded + 16 * i);
        UNROLL for (size_t r = 0; r < rows; r++)
        {
            __m512 weight = _mm512_set1_ps(scores[r * TILE + p]);
            UNROLL for (size_t i = 0; i < vectors; i++) sum[r][i] =
                _mm512_fmadd_ps(weight, value[i], sum[r][i]);
        }
    }
    UNROLL for (size_t r = 0; r < rows; r++) UNROLL for (size_t i = 0; i < vectors; i++)
        _mm512_storeu_ps(sums + r * tile->padded + 16 * i, sum[r][i]);
}

INLINE void add_all_elements(const struct tile *tile, size_t row, size_t rows, size_t from,
                             size_t to)
{
    size_t d = 0;
    for (; d + 64 <= tile->padded; d += 64)
        add_values(tile, row, rows, d, 4, from, to);
    for (; d + 32 <= tile->padded; d += 32)
        add_values(tile, row, rows, d, 2, from, to);
    for (; d < tile->padded; d += 16)
        add_values(tile, row, rows, d, 1, from, to);
}

/* Positions that a row sees of a tile of n that begins at first: from .. to - 1; those that are
 * hidden between others have no weight. */
struct part {
    size_t from, to;
};

INLINE struct part seen(const struct tile *tile, size_t row, size_t first, size_t n)
{
    size_t begin = tile->begin[row], visible = tile->visible[row];
    struct part part = {begin > first ? begin - first : 0,
                        visible > first ? min_size(visible - first, n) : 0};
    while (part.from < part.to && tile->hidden[row] >> part.from & 1)
        part.from++;
    while (part.from < part.to && tile->hidden[row] >> (part.to - 1) & 1)
        part.to--;
    return part;
}

INLINE void add_part(const struct tile *tile, size_t row, size_t from, size_t to)
{
    if (to > from)
        add_all_elements(tile, row, 1, from, to);
}

/* Rows row .. row + rows - 1: what all of them see together, then the rest of each. */
INLINE void add_rows(const struct tile *tile, size_t row, size_t rows, size_t first, size_t n)
{
    struct part common = {0, n};
    for (size_t r = 0; r < rows; r++) {
        struct part part = seen(tile, row + r, first, n);
        common.from = part.from > common.from ? part.from : common.from;
        common.to = min_size(common.to, part.to);
    }
    if (common.to <= common.from)
        common.from = common.to = 0;
    add_all_elements(tile, row, rows, common.from, common.to);
    for (size_t r = 0; r < rows; r++) {
        struct part part = seen(tile, row + r, first, n);
        if (common.to == 0) {
            add_part(tile, row + r, part.from, part.to);
            continue;
        }
        add_part(tile, row + r, part.from, common.from);
        add_part(tile, row + r, common.to, part.to);
    }
}

/* Scores of `rows` rows (a constant) against four positions of the tile, `at` and up (the last of
 * its n again past the end), as dot products. */
INLINE void score_four(const struct tile *tile, enum strata_type type, size_t row, size_t rows,
                       const char *const k[4], size_t head_dim, size_t at)
{
    __m512 sum[3][4];
    UNROLL for (size_t r = 0; r < rows; r++) UNROLL for (size_t p = 0; p < 4; p++) sum[r][p] =
        _mm512_setzero_ps();
    for (size_t d = 0; d < head_dim; d += 16) {
        __mmask16 mask = first16(head_dim - d);
        __m512 key[4];
        UNROLL for (size_t p = 0; p < 4; p++) key[p] = cache16(type, k[p], d, mask);
        UNROLL for (size_t r = 0; r < rows; r++)
        {
            __m512 q = _mm512_maskz_loadu_ps(mask, tile->q[row + r] + d);
            UNROLL for (size_t p = 0; p < 4; p++) sum[r][p] = _mm512_fmadd_ps(q, key[p], sum[r][p]);
        }
    }
    UNROLL for (size_t r = 0; r < rows; r++)
    { /* lane 4 i + p of b: part i of position p's sum */
        __m512 b = _mm512_add_ps(_mm512_unpacklo_ps(sum[r][0], sum[r][1]),
                                 _mm512_unpackhi_ps(sum[r][0], sum[r][1]));
        __m512 c = _mm512_add_ps(_mm512_unpacklo_ps(sum[r][2], sum[r][3]),
                                 _mm512_unpackhi_ps(sum[r][2], sum[r][3]));
        b = _mm512_add_ps(_mm512_shuffle_ps(b, c, 0x44), _mm512_shuffle_ps(b, c, 0xee));
        _mm_storeu_ps(tile->scores + (row + r) * TILE + at, sum_quarters(b));
    }
}

/* What add_all_elements does, with values straight from the cache; asks for the next tile's keys.
 */
INLINE void add_few(const struct strata_attention *a, const struct tile *tile,
                    enum strata_type type, size_t row, size_t rows, size_t first, struct part part)
{
    const size_t padded = tile->padded, head_dim = a->head_dim;
    const float *weights = tile->scores + row * TILE;
    for (size_t d = 0; d < head_dim; d += 64) {
        float *sums = tile->sums + row * padded + d;
        __mmask16 mask[4];
        __m512 sum[3][4];
        UNROLL for (size_t i = 0; i < 4; i++)
        {
            mask[i] = d + 16 * i < head_dim ? first16(head_dim - d - 16 * i) : 0;
            UNROLL for (size_t r = 0; r < rows; r++) sum[r][i] =
                _mm512_maskz_loadu_ps(mask[i], sums + r * padded + 16 * i);
        }
        const char *v = value_at(a, first + part.from);
        for (size_t p = part.from; p < part.to; p++, v += a->v_stride) {
            __m512 value[4];
            if (d == 0)
                prefetch_rows(key_at(a, first + p + TILE), a->k_stride);
            UNROLL for (size_t i = 0; i < 4; i++) value[i] =
                type != STRATA_TYPE_Q8_0 || mask[i] ? cache16(type, v, d + 16 * i, mask[i])
                                                    : _mm512_setzero_ps();
            UNROLL for (size_t r = 0; r < rows; r++)
            {
                __m512 weight = _mm512_set1_ps(weights[r * TILE + p]);
                UNROLL for (size_t i = 0; i < 4; i++) sum[r][i] =
                    _mm512_fmadd_ps(weight, value[i], sum[r][i]);
            }
        }
        UNROLL for (size_t r = 0; r < rows; r++) UNROLL for (size_t i = 0; i < 4; i++)
            _mm512_mask_storeu_ps(sums + r * padded + 16 * i, mask[i], sum[r][i]);
    }
}

INLINE void take_tile_rows(const struct strata_attention *a, enum strata_type type,
                           const struct tile *tile, size_t row, size_t rows, size_t first, size_t n)
{
    struct part part = seen(tile, row, first, n); /* one token: all its heads see the same */
    const char *keys = key_at(a, first);
    for (size_t at = 0; at < n; at += 4) {
        const char *k[4];
        for (size_t p = 0; p < 4; p++)
            k[p] = keys + min_size(at + p, n - 1) * a->k_stride;
        prefetch_rows(value_at(a, first + at), 4 * a->v_stride);
        score_four(tile, type, row, rows, k, a->head_dim, at);
    }
    for (size_t r = 0; r < rows; r++)
        soften_row(tile, row + r, part.from, part.to, a->scale);
    add_few(a, tile, type, row, rows, first, part);
}

/* A tile of one token. */
INLINE void take_tile_few(const struct strata_attention *a, enum strata_type type,
                          const struct tile *tile, size_t first, size_t n)
{
    size_t row = 0;
    for (; row + 3 <= tile->rows; row += 3)
        take_tile_rows(a, type, tile, row, 3, first, n);
    if (tile->rows - row == 2)
        take_tile_rows(a, type, tile, row, 2, first, n);
    else if (row < tile->rows)
        take_tile_rows(a, type, tile, row, 1, first, n);
}

INLINE void take_tile(const struct strata_attention *a, enum strata_type type,
                      const struct tile *tile, size_t first, size_t n)
{
    for (size_t p = 0; p < n; p += 16)
        load_keys(a, type, tile->keys + p, first + p, n - p);
    load_values(a, type, tile, first, n);
    if (n > 48)
        score_all(tile, 4, a->head_dim);
    else if (n > 32)
        score_all(tile, 3, a->head_dim);
    else if (n > 16)
        score_all(tile, 2, a->head_dim);
    else
        score_all(tile, 1, a->head_dim);
    for (size_t row = 0; row < tile->rows; row++) {
        struct part part = seen(tile, row, first, n);
        if (part.to > part.from)
            soften_row(tile, row, part.from, part.to, a->scale);
    }
    size_t row = 0;
    for (; row + 6 <= tile->rows; row += 6)
        add_rows(tile, row, 6, first, n);
    if (tile->rows - row >= 4) {
        add_rows(tile, row, 4, first, n);
        row += 4;
    }
    if (tile->rows - row >= 3) {
        add_rows(tile, row, 3, first, n);
        row += 3;
    }
    for (; row < tile->rows; row++)
        add_rows(tile, row, 1, first, n);
}

/* Results, or what attention_merge makes them of. */
static void finish(const struct strata_attention *a, const struct tile *tile)
{
    for (size_t row = 0; row < tile->rows; row++) {
        size_t t = row / a->heads, h = row % a->heads;
        float *out = a->out + t * a->out_token_stride + h * a->out_head_stride;
        __m512 total = _mm512_set1_ps(a->largest ? 1 : tile->denominator[row]);
        for (size_t d = 0; d < a->head_dim; d += 16) {
            __m512 v = _mm512_loadu_ps(tile->sums + row * tile->padded + d);
            _mm512_mask_storeu_ps(out + d, first16(a->head_dim - d), _mm512_div_ps(v, total));
        }
        if (a->largest) {
            a->largest[h] = tile->largest[row];
            a->denominator[h] = tile->denominator[row];
        }
    }
}

INLINE void attention(const struct strata_attention *a, enum strata_type type)
{
    struct tile tile;
    open_tile(&tile, a);
    size_t visible = 0, begin = SIZE_MAX;
    for (size_t row = 0; row < tile.rows; row++) {
        visible = tile.visible[row] > visible ? tile.visible[row] : visible;
        begin = min_size(begin, tile.begin[row]);
    }
    int few = a->tokens == 1 && a->heads <= FEW_ROWS && !a->until;
    for (size_t first = begin / TILE * TILE; first < visible; first += TILE) {
        size_t n = min_size(visible - first, TILE);
        if (strata_all_hide(a, first, n))
            continue;
        for (size_t row = 0; row < tile.rows && a->until; row++)
            tile.hidden[row] =
                row % a->heads ? tile.hidden[row - 1] : strata_hidden(a, row / a->heads, first, n);
        if (few)
            take_tile_few(a, type, &tile, first, n);
        else
            take_tile(a, type, &tile, first, n);
    }
    finish(a, &tile);
}

void strata_attention_F32_avx512(const struct strata_attention *a)
{
    attention(a, STRATA_TYPE_F32);
}

void strata_attention_F16_avx512(const struct strata_attention *a)
{
    attention(a, STRATA_TYPE_F16);
}

void strata_attention_Q8_0_avx512(const struct strata_attention *a)
{
    attention(a, STRATA_TYPE_Q8_0);
}

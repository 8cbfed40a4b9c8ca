/* Matrix products with 8-bit activations, for prefill: panels of 16 weight rows are unpacked once
 * into scratch and multiplied with all tokens (Goto & van de Geijn 2008).
 *
 * Panel.  For each block of 32 elements: eight groups of 64 bytes, group g holding elements
 * 4g..4g+3 of the 16 rows, row after row; then the rows' scales (16 floats); then, by kind, their
 * offsets (16 floats) or, for Q6_K, three vectors of 16 pairs of 16-bit numbers (see below).  A
 * panel covers PANEL_BLOCKS blocks, some 30 KB; longer rows take several panels, each adding to y.
 *
 * Tile: 16 rows x 4 tokens.  The four activation quants of a group are broadcast as one dword;
 * vpmaddubsw against 32 panel bytes gives, for eight rows, the sums of two products each.  Then by
 * kind:
 *   NIBBLE  eight groups of 4-bit quants fit in 16 bits (8 * 2 * 15 * 127 = 30480), so one vpmaddwd
 *           a block makes 32-bit sums.  NIBBLE_OFFSET adds offset * (scale_x * sum_x) in float,
 *           NIBBLE_SIGNED (Q4_0) subtracts 8 * sum_x from the integer sum.
 *   SIX     two groups of 6-bit quants fit (4 * 63 * 127 = 32004); vpmaddwd multiplies by the
 *           integer sub-block scales, and -32 * scale * sum_x is one more vpmaddwd a block.
 *   BYTE    |w| and x with the sign of w; one group fits (2 * 128 * 127 = 32512).
 * A block's integer sum is converted and multiplied by scale_w * scale_x into a float accumulator.
 * Every (row, token) sees the same operations in the same order, wherever it lies in a tile.
 *
 * Measured on one core of a Zen 4 at 3.7 GHz, 10^9 products a second, 256 tokens, k = 576 and 1536.
 * Q4_1: 55 and 55 where gcc may reorder the 16-bit sums (it spills them: see in_order), 118 and 119
 * with 3 tokens and panels of 24 blocks, 119 and 124 with 48 blocks, 120 and 126 with 4 tokens,
 * whose spilt float accumulators cost less than the loads they save; 106 with 2.  Q8_0 63 and 65,
 * Q6_K 98 and 102.  A block of 8 rows and a token takes 20 vector operations and 9 loads, 5.0
 * cycles at best (190); vpmaddubsw and dependent additions alone sustain 3.3 operations a cycle,
 * and clang reaches 94% of gcc. */
#include <assert.h>

#include "../kernel_list.h"
#include "blocks_avx2.h"

enum { PANEL_BLOCKS = 48, TILE_TOKENS = 4, CHUNK_TOKENS = 256 };
enum { QUANT_BYTES = 512, ROW_VECTOR = 64 };

enum kind { NIBBLE_OFFSET, NIBBLE_SIGNED, SIX, BYTE };

/* Bytes of a panel block. */
STRATA_INLINE size_t block_size(enum kind kind)
{
    return QUANT_BYTES + (kind == SIX ? 4 : kind == NIBBLE_OFFSET ? 2 : 1) * ROW_VECTOR;
}

/* ---- unpacking ---- */

/* Scales of 16 rows of one block; pair is the second binary16 (Q4_1, Q4_K) or the sub-block scales
 * (Q6_K). */
struct row_scales {
    uint16_t d[16], pair[16];
    uint8_t sc[16], mn[16];
};

/* Quants of chunk c of a row; the row's scales go to entry r of *s. */
typedef __m256i unpack_fn(struct row_scales *s, size_t r, const uint8_t *row, size_t c);

STRATA_INLINE __m256i unpack_Q4_0(struct row_scales *s, size_t r, const uint8_t *row, size_t c)
{
    const uint8_t *b = row + c * sizeof(struct strata_block_q4_0);
    memcpy(&s->d[r], b, 2);
    return nibbles32(b + 2);
}

STRATA_INLINE __m256i unpack_Q4_1(struct row_scales *s, size_t r, const uint8_t *row, size_t c)
{
    const uint8_t *b = row + c * sizeof(struct strata_block_q4_1);
    memcpy(&s->d[r], b, 2);
    memcpy(&s->pair[r], b + 2, 2);
    return nibbles32(b + 4);
}

STRATA_INLINE __m256i unpack_Q8_0(struct row_scales *s, size_t r, const uint8_t *row, size_t c)
{
    const uint8_t *b = row + c * sizeof(struct strata_block_q8_0);
    memcpy(&s->d[r], b, 2);
    return _mm256_loadu_si256((const void *)(b + 2));
}

STRATA_INLINE __m256i unpack_Q4_K(struct row_scales *s, size_t r, const uint8_t *row, size_t c)
{
    const uint8_t *b = row + c / 8 * sizeof(struct strata_block_q4_k);
    const struct k_scales k = q4_k_scales(b + offsetof(struct strata_block_q4_k, scales));
    memcpy(&s->d[r], b, 2);
    memcpy(&s->pair[r], b + 2, 2);
    s->sc[r] = k.sc[c % 8];
    s->mn[r] = k.mn[c % 8];
    return quants_Q4_K(b, c % 8);
}

STRATA_INLINE __m256i unpack_Q6_K(struct row_scales *s, size_t r, const uint8_t *row, size_t c)
{
    const uint8_t *b = row + c / 8 * sizeof(struct strata_block_q6_k);
    memcpy(&s->d[r], b + offsetof(struct strata_block_q6_k, d), 2);
    memcpy(&s->pair[r], b + offsetof(struct strata_block_q6_k, scales) + c % 8 * 2, 2);
    return quants_Q6_K(b, c % 8);
}

/* Eight scales as floats, times integers where the type has them. */
STRATA_INLINE __m256 eight_scales(const uint16_t *half, const uint8_t *factor)
{
    const __m256 d = load_half8(half);
    if (factor == NULL)
        return d;
    const __m256i f = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)factor));
    return _mm256_mul_ps(d, _mm256_cvtepi32_ps(f));
}

/* Pairs (first, first), (second, second) and -32 * (first, second) of eight rows' byte pairs. */
STRATA_INLINE void store_six_scales(uint8_t *out, const uint16_t *pair)
{
    const __m256i bytes = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)pair));
    const __m256i first = _mm256_srai_epi32(_mm256_slli_epi32(bytes, 24), 24);
    const __m256i second = _mm256_srai_epi32(_mm256_slli_epi32(bytes, 16), 24);
    const __m256i s0 = _mm256_blend_epi16(first, _mm256_slli_epi32(first, 16), 0xAA);
    const __m256i s1 = _mm256_blend_epi16(second, _mm256_slli_epi32(second, 16), 0xAA);
    const __m256i both = _mm256_blend_epi16(s0, s1, 0xAA);
    const __m256i offset = _mm256_sub_epi16(_mm256_setzero_si256(), _mm256_slli_epi16(both, 5));
    _mm256_store_si256((void *)out, s0);
    _mm256_store_si256((void *)(out + ROW_VECTOR), s1);
    _mm256_store_si256((void *)(out + 2 * ROW_VECTOR), offset);
}

struct weights {
    const uint8_t *first;
    size_t row_bytes, rows; /* rows <= 16; the others of the panel become zeros */
};

/* Unpacks chunks c0 .. c0 + blocks - 1 of the rows. */
STRATA_INLINE void unpack_panel(uint8_t *panel, struct weights w, size_t c0, size_t blocks,
                                enum kind kind, int k_type, unpack_fn *unpack)
{
    struct row_scales s = {0};
    for (size_t b = 0; b < blocks; b++, panel += block_size(kind)) {
        for (size_t half = 0; half < 2; half++) {
            __m256i q[8];
            STRATA_UNROLL
            for (size_t i = 0; i < 8; i++) {
                const size_t r = 8 * half + i;
                q[i] = r < w.rows ? unpack(&s, r, w.first + r * w.row_bytes, c0 + b)
                                  : _mm256_setzero_si256();
            }
            transpose8x8(q);
            STRATA_UNROLL
            for (size_t g = 0; g < 8; g++)
                _mm256_store_si256((void *)(panel + 64 * g + 32 * half), q[g]);
        }
        for (size_t half = 0; half < 2; half++) {
            uint8_t *out = panel + QUANT_BYTES + 32 * half;
            const size_t r = 8 * half;
            const int scaled = k_type && kind == NIBBLE_OFFSET;
            _mm256_store_ps((float *)out, eight_scales(s.d + r, scaled ? s.sc + r : NULL));
            if (kind == NIBBLE_OFFSET) {
                __m256 m = eight_scales(s.pair + r, scaled ? s.mn + r : NULL);
                m = scaled ? _mm256_xor_ps(m, _mm256_set1_ps(-0.0f)) : m;
                _mm256_store_ps((float *)(out + ROW_VECTOR), m);
            }
            if (kind == SIX)
                store_six_scales(out + ROW_VECTOR, s.pair + r);
        }
    }
}

/* ---- tiles ---- */

/* What a tile reads and writes; strides are between tokens. */
struct tile {
    const uint8_t *panel;
    size_t blocks;
    const int8_t *x;
    size_t x_stride;
    const float *xs;
    const uint8_t *side; /* a dword for each token and block, by kind: scale_x * sum_x as float, 8 *
                            sum_x, or the two sums of 16 */
    size_t block_stride; /* of xs and of side, in elements */
    float *y;
    size_t y_stride;
    __m256i mask[2]; /* rows that exist */
    int add;         /* to what y holds */
};

STRATA_INLINE __m256i broadcast_dword(const void *p)
{
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm256_set1_epi32(v);
}

STRATA_INLINE __m256i load_panel(const uint8_t *p)
{
    return _mm256_load_si256((const void *)p);
}

/* Integer dot products of one block: s[t][h] for token t and rows 8h..8h+7.  The three kinds. */
STRATA_INLINE void dots_nibble(__m256i s[TILE_TOKENS][2], const uint8_t *p, const int8_t *x,
                               size_t x_stride, int tokens)
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i w0 = load_panel(p), w1 = load_panel(p + 32);
    STRATA_UNROLL
    for (int t = 0; t < tokens; t++) {
        const __m256i xg = broadcast_dword(x + (size_t)t * x_stride);
        s[t][0] = _mm256_maddubs_epi16(w0, xg);
        s[t][1] = _mm256_maddubs_epi16(w1, xg);
    }
    STRATA_UNROLL
    for (int g = 1; g < 8; g++) {
        w0 = load_panel(p + 64 * g);
        w1 = load_panel(p + 64 * g + 32);
        STRATA_UNROLL
        for (int t = 0; t < tokens; t++) {
            const __m256i xg = broadcast_dword(x + (size_t)t * x_stride + 4 * g);
            s[t][0] = in_order(_mm256_add_epi16(s[t][0], _mm256_maddubs_epi16(w0, xg)));
            s[t][1] = in_order(_mm256_add_epi16(s[t][1], _mm256_maddubs_epi16(w1, xg)));
        }
    }
    STRATA_UNROLL
    for (int t = 0; t < tokens; t++) {
        s[t][0] = _mm256_madd_epi16(s[t][0], ones);
        s[t][1] = _mm256_madd_epi16(s[t][1], ones);
    }
}

STRATA_INLINE void dots_six(__m256i s[TILE_TOKENS][2], const uint8_t *p, const int8_t *x,
                            size_t x_stride, int tokens)
{
    STRATA_UNROLL
    for (int t = 0; t < tokens; t++)
        s[t][0] = s[t][1] = _mm256_setzero_si256();
    STRATA_UNROLL
    for (int g = 0; g < 4; g++) {
        STRATA_UNROLL
        for (int h = 0; h < 2; h++) {
            const __m256i w0 = load_panel(p + 128 * g + 32 * h);
            const __m256i w1 = load_panel(p + 128 * g + 64 + 32 * h);
            const __m256i sc = load_panel(p + QUANT_BYTES + (1 + g / 2) * ROW_VECTOR + 32 * h);
            STRATA_UNROLL
            for (int t = 0; t < tokens; t++) {
                const int8_t *xg = x + (size_t)t * x_stride + 8 * g;
                const __m256i v0 = _mm256_maddubs_epi16(w0, broadcast_dword(xg));
                const __m256i v1 = _mm256_maddubs_epi16(w1, broadcast_dword(xg + 4));
                const __m256i scaled = _mm256_madd_epi16(_mm256_add_epi16(v0, v1), sc);
                s[t][h] = in_order(_mm256_add_epi32(s[t][h], scaled));
            }
        }
    }
}

STRATA_INLINE void dots_byte(__m256i s[TILE_TOKENS][2], const uint8_t *p, const int8_t *x,
                             size_t x_stride, int tokens)
{
    const __m256i ones = _mm256_set1_epi16(1);
    STRATA_UNROLL
    for (int t = 0; t < tokens; t++)
        s[t][0] = s[t][1] = _mm256_setzero_si256();
    STRATA_UNROLL
    for (int g = 0; g < 8; g++) {
        STRATA_UNROLL
        for (int h = 0; h < 2; h++) {
            const __m256i w = load_panel(p + 64 * g + 32 * h), magnitude = _mm256_abs_epi8(w);
            STRATA_UNROLL
            for (int t = 0; t < tokens; t++) {
                const __m256i xg = broadcast_dword(x + (size_t)t * x_stride + 4 * g);
                const __m256i v = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(xg, w));
                s[t][h] = in_order(_mm256_add_epi32(s[t][h], _mm256_madd_epi16(v, ones)));
            }
        }
    }
}

/* Adds one block's dot products, scaled, to acc. */
STRATA_INLINE void add_block(__m256 acc[2], __m256i s[2], const uint8_t *p, const float *xs,
                             const uint8_t *side, enum kind kind)
{
    const __m256 x_scale = _mm256_broadcast_ss(xs);
    STRATA_UNROLL
    for (int h = 0; h < 2; h++) {
        const uint8_t *v = p + QUANT_BYTES + 32 * h;
        if (kind == NIBBLE_SIGNED)
            s[h] = _mm256_sub_epi32(s[h], broadcast_dword(side));
        if (kind == SIX)
            s[h] = _mm256_add_epi32(
                s[h], _mm256_madd_epi16(load_panel(v + 3 * ROW_VECTOR), broadcast_dword(side)));
        const __m256 scale = _mm256_mul_ps(_mm256_load_ps((const float *)v), x_scale);
        acc[h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(s[h]), scale, acc[h]);
        if (kind == NIBBLE_OFFSET) {
            const __m256 offset = _mm256_load_ps((const float *)(v + ROW_VECTOR));
            const __m256 x_sum = _mm256_castsi256_ps(broadcast_dword(side));
            acc[h] = _mm256_fmadd_ps(offset, x_sum, acc[h]);
        }
    }
}

STRATA_INLINE void multiply_tile(const struct tile *a, int tokens, enum kind kind)
{
    __m256 acc[TILE_TOKENS][2];
    STRATA_UNROLL
    for (int t = 0; t < tokens; t++)
        acc[t][0] = acc[t][1] = _mm256_setzero_ps();
    const uint8_t *p = a->panel;
    const int8_t *x = a->x;
    for (size_t b = 0; b < a->blocks; b++, p += block_size(kind), x += 32) {
        __m256i s[TILE_TOKENS][2];
        if (kind == SIX)
            dots_six(s, p, x, a->x_stride, tokens);
        else if (kind == BYTE)
            dots_byte(s, p, x, a->x_stride, tokens);
        else
            dots_nibble(s, p, x, a->x_stride, tokens);
        STRATA_UNROLL
        for (int t = 0; t < tokens; t++) {
            const size_t at = (size_t)t * a->block_stride + b;
            add_block(acc[t], s[t], p, a->xs + at, a->side + 4 * at, kind);
        }
    }
    STRATA_UNROLL
    for (int t = 0; t < tokens; t++) {
        float *y = a->y + (size_t)t * a->y_stride;
        STRATA_UNROLL
        for (int h = 0; h < 2; h++) {
            if (a->add)
                acc[t][h] = _mm256_add_ps(acc[t][h], _mm256_maskload_ps(y + 8 * h, a->mask[h]));
            _mm256_maskstore_ps(y + 8 * h, a->mask[h], acc[t][h]);
        }
    }
}

/* All tokens of one panel. */
STRATA_INLINE void multiply_panel(struct tile tile, size_t tokens, enum kind kind)
{
    size_t j = 0;
    for (; j + TILE_TOKENS <= tokens; j += TILE_TOKENS) {
        multiply_tile(&tile, TILE_TOKENS, kind);
        tile.x += TILE_TOKENS * tile.x_stride;
        tile.xs += TILE_TOKENS * tile.block_stride;
        tile.side += TILE_TOKENS * tile.block_stride * 4;
        tile.y += TILE_TOKENS * tile.y_stride;
    }
    switch (tokens - j) {
    case 3:
        multiply_tile(&tile, 3, kind);
        break;
    case 2:
        multiply_tile(&tile, 2, kind);
        break;
    case 1:
        multiply_tile(&tile, 1, kind);
        break;
    default:
        break;
    }
}

/* ---- products ---- */

/* The side numbers of n blocks that kinds other than SIX and BYTE need. */
STRATA_INLINE void make_side(void *side, const float *xs, const int16_t *sum, size_t n,
                             enum kind kind)
{
    for (size_t i = 0; i < n; i++) {
        const int total = sum[2 * i] + sum[2 * i + 1];
        if (kind == NIBBLE_OFFSET)
            ((float *)side)[i] = xs[i] * (float)total;
        else
            ((int32_t *)side)[i] = 8 * total;
    }
}

STRATA_INLINE void gemm_q8(const struct strata_matmul *a, enum kind kind, int k_type,
                           unpack_fn *unpack)
{
    const size_t blocks = a->k / 32;
    const size_t panel_blocks = blocks < PANEL_BLOCKS ? blocks : PANEL_BLOCKS;
    uint8_t *panel = a->scratch, *side_buffer = panel + panel_blocks * block_size(kind);
    for (size_t j = 0; j < a->m; j += CHUNK_TOKENS) {
        const size_t m = a->m - j < CHUNK_TOKENS ? a->m - j : CHUNK_TOKENS;
        const float *xs = a->xq.scale + j * blocks;
        const uint8_t *side = (const uint8_t *)(a->xq.sum + 2 * j * blocks);
        if (kind == NIBBLE_OFFSET || kind == NIBBLE_SIGNED) {
            make_side(side_buffer, xs, a->xq.sum + 2 * j * blocks, m * blocks, kind);
            side = side_buffer;
        }
        for (size_t i = 0; i < a->rows; i += STRATA_PANEL_ROWS) {
            const size_t left = a->rows - i;
            const struct weights w = {(const uint8_t *)a->w + i * a->row_bytes, a->row_bytes,
                                      left < STRATA_PANEL_ROWS ? left : STRATA_PANEL_ROWS};
            for (size_t c = 0; c < blocks; c += panel_blocks) {
                const size_t n = blocks - c < panel_blocks ? blocks - c : panel_blocks;
                unpack_panel(panel, w, c, n, kind, k_type, unpack);
                const struct tile tile = {
                    .panel = panel,
                    .blocks = n,
                    .x = a->xq.q + j * a->k + 32 * c,
                    .x_stride = a->k,
                    .xs = xs + c,
                    .side = side + 4 * c,
                    .block_stride = blocks,
                    .y = a->y + j * a->ldy + i,
                    .y_stride = a->ldy,
                    .mask = {first_lanes(w.rows), first_lanes(w.rows > 8 ? w.rows - 8 : 0)},
                    .add = c != 0};
                multiply_panel(tile, m, kind);
            }
        }
    }
}

#define X(type, kind, k_type)                                        \
    void strata_gemm_q8_##type##_avx2(const struct strata_matmul *a) \
    {                                                                \
        gemm_q8(a, kind, k_type, unpack_##type);                     \
    }
X(Q4_0, NIBBLE_SIGNED, 0)
X(Q4_1, NIBBLE_OFFSET, 0)
X(Q8_0, BYTE, 0)
X(Q4_K, NIBBLE_OFFSET, 1)
X(Q6_K, SIX, 1)
#undef X

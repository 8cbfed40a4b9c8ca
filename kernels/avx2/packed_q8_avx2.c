/* Packed weights by 8-bit activations, for decode and prefill alike.
 *
 * Maths.  For 32 columns, with activations scale_x * q_x, a weight row adds
 *   scale_x * scale * (dot(q, q_x) - bias * sum(q_x)) + offset * total_x.
 * The bias stays in integers, so that large terms cancel exactly.
 *
 * A tile is 16 rows x 4 tokens.  The four activation quants of a group are broadcast as one dword;
 * vpmaddubsw against 32 bytes of quants, unpacked in registers, gives for eight rows the sums of
 * two products each.  As many groups are added in 16 bits as fit there, then one vpmaddwd makes
 * 32-bit sums:
 * - 4 bits: all eight of a record (8 * 2 * 15 * 127 = 30480);
 * - 5 bits: four (4 * 2 * 31 * 127 = 31496);
 * - 2, 3 and 6 bits: four, four and two (2 * 2 * 63 * 127 = 32004), and vpmaddwd multiplies by the
 *   integer factor of the sub-block of 16;
 * - signed: one (2 * 128 * 127 = 32512), |q| by x with the sign of q.
 *
 * A record's 32-bit sum is converted and multiplied into a float accumulator.  Every (row, token)
 * sees the same operations in the same order, wherever it lies in a tile.
 *
 * Measured on one core of a Zen 4 at 3.7 GHz, 10^9 products a second, k = 576 and 1536, weights in
 * L2, Q4_1: tiles of 16 rows x 4 tokens 125 and 117, x 3 122 and 107, x 2 114 and 112, x 1 84 and
 * 82 (51 GB/s: more than memory gives); 8 rows x 5 118 and 114, x 8 116 and 109.  Unpacking panels
 * once into L1 for all tokens: 119 and 126, with four times the code.  Eight unpacked vectors held
 * while tokens pass by: 82 to 99.  gcc must not reorder the 16-bit sums (in_order), it spills them.
 * Q8_0 65; as two nibbles 60, widened to 16 bits 64. */
#include "../kernel_list.h"
#include "panels_avx2.h"

enum { TILE_TOKENS = 4 };

/* What a tile reads and writes; token t is at t times the strides. */
struct tile {
    const uint8_t *scales, *quants;
    size_t blocks; /* of the type */
    const int8_t *x;
    const float *xs, *total;
    const int16_t *sum;
    size_t k; /* stride of x; of xs and total k / 32, of sum k / 16 */
    float *y;
    size_t y_stride;
    __m256i mask[2];   /* rows that exist */
    const char *ahead; /* what to prefetch next, or NULL: the panel is in the caches */
};

/* Memory is asked for in order, AHEAD bytes before it is needed, each record its share: the
 * hardware's prefetchers stop at every page. */
enum { AHEAD = 8192 };
STRATA_INLINE void prefetch_share(const char **ahead, struct strata_packed_format f)
{
    const int share = f.quant_bytes + f.scale_bytes * 32 / f.block_elems;
    STRATA_UNROLL
    for (int i = 0; i < share; i += 64)
        _mm_prefetch(*ahead + i, _MM_HINT_T0);
    *ahead += share;
}

STRATA_INLINE __m256i broadcast_dword(const void *p)
{
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm256_set1_epi32(v);
}

/* low in the lower, high in the upper half of each dword. */
STRATA_INLINE __m256i word_pairs(__m256i low, __m256i high)
{
    return _mm256_blend_epi16(low, _mm256_slli_epi32(high, 16), 0xAA);
}

/* Factors of a record's two sub-blocks of 16, as words: of each one twice, of both as pairs, times
 * -bias, and those of the offset as pairs. */
struct factors {
    __m256i twice[2], bias, minor;
};

STRATA_INLINE struct factors load_words(const uint8_t *factors, struct strata_packed_format f)
{
    const __m256i f0 = load_factors(factors, 0, f), f1 = load_factors(factors, 1, f);
    struct factors words = {.twice = {word_pairs(f0, f0), word_pairs(f1, f1)}};
    words.bias = _mm256_mullo_epi16(word_pairs(f0, f1), _mm256_set1_epi16((short)-f.bias));
    if (f.offset)
        words.minor = word_pairs(load_minors(factors, 0, f), load_minors(factors, 1, f));
    return words;
}

/* Groups whose products are added in 16 bits. */
STRATA_INLINE int groups_at_once(struct strata_packed_format f)
{
    return is_signed(f) ? 1 : f.bits == 6 ? 2 : f.bits == 4 ? 8 : 4;
}

/* Dot products of a record: s[t][h] for token t and rows 8h .. 8h + 7.  4-bit quants: */
STRATA_INLINE void dots_of_nibbles(__m256i s[TILE_TOKENS][2], const uint8_t *record,
                                   const int8_t *x, size_t k, int tokens,
                                   struct strata_packed_format f)
{
    STRATA_UNROLL
    for (int g = 0; g < 8; g++) {
        const __m256i w0 = quants_of(record, g, f), w1 = quants_of(record + 32, g, f);
        STRATA_UNROLL
        for (int t = 0; t < tokens; t++) {
            const __m256i xg = broadcast_dword(x + (size_t)t * k + 4 * g);
            const __m256i p0 = _mm256_maddubs_epi16(w0, xg), p1 = _mm256_maddubs_epi16(w1, xg);
            s[t][0] = g == 0 ? p0 : in_order(_mm256_add_epi16(s[t][0], p0));
            s[t][1] = g == 0 ? p1 : in_order(_mm256_add_epi16(s[t][1], p1));
        }
    }
    STRATA_UNROLL
    for (int t = 0; t < tokens; t++) {
        s[t][0] = _mm256_madd_epi16(s[t][0], _mm256_set1_epi16(1));
        s[t][1] = _mm256_madd_epi16(s[t][1], _mm256_set1_epi16(1));
    }
}

/* Other quants: `n` groups at once, multiplied by the factors of their sub-block where f has sub
 * blocks of 16. */
STRATA_INLINE void dots_of_groups(__m256i s[TILE_TOKENS][2], const uint8_t *record,
                                  const struct factors words[2], const int8_t *x, size_t k,
                                  int tokens, struct strata_packed_format f)
{
    const int n = groups_at_once(f);
    STRATA_UNROLL
    for (int first = 0; first < 8; first += n) {
        STRATA_UNROLL
        for (int h = 0; h < 2; h++) {
            __m256i w[4];
            STRATA_UNROLL
            for (int g = 0; g < n; g++)
                w[g] = quants_of(record + 32 * h, first + g, f);
            const __m256i by = f.sub == 16 ? words[h].twice[first / 4] : _mm256_set1_epi16(1);
            STRATA_UNROLL
            for (int t = 0; t < tokens; t++) {
                __m256i sum = _mm256_setzero_si256();
                STRATA_UNROLL
                for (int g = 0; g < n; g++) {
                    const __m256i xg = broadcast_dword(x + (size_t)t * k + 4 * (first + g));
                    const __m256i p = is_signed(f)
                                          ? _mm256_maddubs_epi16(_mm256_abs_epi8(w[g]),
                                                                 _mm256_sign_epi8(xg, w[g]))
                                          : _mm256_maddubs_epi16(w[g], xg);
                    sum = g == 0 ? p : _mm256_add_epi16(sum, p);
                }
                sum = _mm256_madd_epi16(sum, by);
                s[t][h] = first == 0 ? sum : in_order(_mm256_add_epi32(s[t][h], sum));
            }
        }
    }
}

/* What the tokens' sums add: pairs of words (of the two sub-blocks of 16) by the pairs of sums, or
 * one word for both. */
STRATA_INLINE __m256i sums_by(__m256i words, const int16_t *sum)
{
    return _mm256_madd_epi16(words, broadcast_dword(sum));
}

/* One record of 32 columns, for all tokens of the tile: at column c of a block with these scales.
 * They are loaded after the dot products, whose accumulators fill the registers. */
STRATA_INLINE void add_record(__m256 acc[TILE_TOKENS][2], const struct tile *a,
                              const uint8_t *record, const uint8_t *scales, const uint8_t *factors,
                              size_t c, int tokens, struct strata_packed_format f)
{
    __m256i s[TILE_TOKENS][2];
    struct factors words[2];
    STRATA_UNROLL
    for (int h = 0; h < 2; h++)
        if (f.sub == 16)
            words[h] = load_words(factors + 8 * h, f);
    if (groups_at_once(f) == 8)
        dots_of_nibbles(s, record, a->x + c, a->k, tokens, f);
    else
        dots_of_groups(s, record, words, a->x + c, a->k, tokens, f);
    STRATA_UNROLL
    for (int h = 0; h < 2; h++) {
        const __m256 d = load_half8(scales + 16 * h);
        const __m256 m = f.offset ? load_half8(scales + 32 + 16 * h) : d;
        const __m256 scale = f.sub == 32 ? scale_of(d, factors + 8 * h, 0, f) : d;
        const __m256 offset = f.offset && f.sub == 32 ? offset_of(m, factors + 8 * h, 0, f) : m;
        const __m256i bias = f.sub == 32 ? _mm256_set1_epi16((short)-f.bias) : words[h].bias;
        STRATA_UNROLL
        for (int t = 0; t < tokens; t++) {
            const size_t at = ((size_t)t * a->k + c) / 32;
            const __m256 x_scale = _mm256_broadcast_ss(a->xs + at);
            if (f.bias)
                s[t][h] = _mm256_add_epi32(s[t][h], sums_by(bias, a->sum + 2 * at));
            acc[t][h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(s[t][h]), _mm256_mul_ps(scale, x_scale),
                                        acc[t][h]);
            if (f.offset && f.sub == 32) {
                acc[t][h] = _mm256_fmadd_ps(offset, _mm256_broadcast_ss(a->total + at), acc[t][h]);
            } else if (f.offset) {
                const __m256 sums = _mm256_cvtepi32_ps(sums_by(words[h].minor, a->sum + 2 * at));
                acc[t][h] = _mm256_fnmadd_ps(sums, _mm256_mul_ps(offset, x_scale), acc[t][h]);
            }
        }
    }
}

STRATA_INLINE void multiply_tile(const struct tile *a, int tokens, struct strata_packed_format f)
{
    __m256 acc[TILE_TOKENS][2];
    STRATA_UNROLL
    for (int t = 0; t < tokens; t++)
        acc[t][0] = acc[t][1] = _mm256_setzero_ps();
    const uint8_t *record = a->quants, *scales = a->scales;
    const char *ahead = a->ahead;
    for (size_t b = 0, c = 0; b < a->blocks; b++, scales += f.scale_bytes) {
        const uint8_t *factors = scales + (f.offset ? 64 : 32);
        for (int i = 0; i < f.block_elems / 32; i++, c += 32) {
            if (ahead)
                prefetch_share(&ahead, f);
            add_record(acc, a, record, scales, factors, c, tokens, f);
            record += f.quant_bytes;
            factors += f.factor_bytes;
        }
    }
    STRATA_UNROLL
    for (int t = 0; t < tokens; t++) {
        float *y = a->y + (size_t)t * a->y_stride;
        _mm256_maskstore_ps(y, a->mask[0], acc[t][0]);
        _mm256_maskstore_ps(y + 8, a->mask[1], acc[t][1]);
    }
}

STRATA_INLINE void advance(struct tile *tile, size_t tokens)
{
    tile->x += tokens * tile->k;
    tile->xs += tokens * tile->k / 32;
    tile->total += tokens * tile->k / 32;
    tile->sum += tokens * tile->k / 16;
    tile->y += tokens * tile->y_stride;
    tile->ahead = NULL;
}

STRATA_INLINE void packed_q8(const struct strata_matmul *a, enum strata_type type)
{
    const struct strata_packed_format f = strata_packed_format(type);
    const uint8_t *panel = a->w;
    for (size_t i = 0; i < a->rows; i += STRATA_PANEL_ROWS) {
        const size_t left = a->rows - i;
        struct tile tile = {.scales = panel,
                            .quants = panel + strata_panel_scale_bytes(f, a->k),
                            .blocks = a->k / (size_t)f.block_elems,
                            .x = a->xq.q,
                            .xs = a->xq.scale,
                            .total = a->xq.total,
                            .sum = a->xq.sum,
                            .k = a->k,
                            .y = a->y + i,
                            .y_stride = a->ldy,
                            .mask = {first_lanes(left), first_lanes(left > 8 ? left - 8 : 0)},
                            .ahead = (const char *)panel + AHEAD};
        size_t j = 0;
        for (; j + TILE_TOKENS <= a->m; j += TILE_TOKENS) {
            multiply_tile(&tile, TILE_TOKENS, f);
            advance(&tile, TILE_TOKENS);
        }
        if (a->m - j >= 2) {
            multiply_tile(&tile, 2, f);
            advance(&tile, 2);
            j += 2;
        }
        if (j < a->m)
            multiply_tile(&tile, 1, f);
        panel += strata_panel_bytes(type, a->k);
    }
}

#define X(type, ...)                                                   \
    void strata_packed_q8_##type##_avx2(const struct strata_matmul *a) \
    {                                                                  \
        packed_q8(a, STRATA_TYPE_##type);                              \
    }
STRATA_PACKED_FORMATS(X)
#undef X

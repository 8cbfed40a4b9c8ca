/* The kernel table: every operation that strata computes, declared once, with its contract.
 *
 * Kernels are pure: they read and write only the buffers they are given, allocate nothing, keep no
 * state, use no threads and return no errors.  A broken precondition is a bug of the caller, stated
 * by assert.  All may be called from any thread at any time on disjoint outputs.
 *
 * Names.  A kernel is `strata_<op>[_<TYPE>]_<level>`, such as strata_packed_q8_Q4_1_avx2, in a file
 * `<family>_<level>.c` below the level's folder.  kernel_list.h has one row for each; that row is
 * its prototype, its table slot, its test and its benchmark.
 *
 * Reference.  The kernels in ref/ are the specification.  Every other level must give, on the same
 * input,
 * - the same bytes for integer and copying operations (quantize_q8, encode, dequantize, argmax,
 *   top_k) and for similarity_*;
 * - for packed_q8: exact integer dot products within each block, whole or in parts; the float sums
 *   over blocks and parts may be ordered otherwise (so results are bit-equal whenever all float
 *   steps are exact, which the checker uses);
 * - for float operations a result within the bound that tests/kernels states for the operation.
 *
 * Alignment and aliasing.  Float, int and f16 buffers are aligned to their element; rows of weights
 * may have any alignment (they point into files); packed weights and `scratch` are aligned to 64.
 * Unless an operation says otherwise, outputs overlap no input.  Nothing is read or written outside
 * the stated extents, not even by masked-out lanes that could fault.
 *
 * Independence.  Row i, token j of a product depends only on weight row i and activation row j, k
 * and the kernel: never on `rows`, `m`, or its place in a tile.  So work may be split by rows
 * (packed ones: by panels) or tokens, anywhere, without changing results.
 */
#ifndef STRATA_KERNELS_H
#define STRATA_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "packed.h"

/* Activations rounded to 8 bits in blocks of 32: x[r][i] ~ scale[r][i / 32] * q[r][i].  Rows are
 * contiguous: row r begins at q + r * k, scale + r * (k / 32), sum + r * (k / 16), total + r * (k /
 * 32).  k is a multiple of 32.  What weights with an offset need: sum[i] is the sum of the 16
 * quants from 16 * i on, total[i] = scale[i] * (sum[2 * i] + sum[2 * i + 1]), rounded once. */
struct strata_q8_rows {
    int8_t *q;
    float *scale;
    int16_t *sum;
    float *total;
};

/* One product y = x * w^T: y[j * ldy + i] = sum over c < k of w[i][c] * x[j][c], for i < rows and j
 * < m.
 *
 * gemv_f32 and gemm_f32 take rows of float weights: row i at (char *)w + i * row_bytes.  gemv
 * ignores m, ldy, ldx and scratch (m is 1); gemm needs scratch of STRATA_GEMM_SCRATCH_BYTES(k)
 * bytes, whose contents do not matter.
 *
 * packed_f32 and packed_q8 take panels of packed weights (packed.h): rows i .. i + 15 for i a
 * multiple of 16 at (char *)w + i / 16 * strata_panel_bytes(type, k); they ignore row_bytes and
 * scratch.  k is a multiple of the type's block size.
 *
 * packed_q8 reads xq (m rows), the others x (row j at x + j * ldx).  k > 0.
 *
 * similarity_f32 and similarity_q16 take stored vectors as rows of w, as gemm_f32 does, and queries
 * as the m rows; they ignore scratch.  similarity_q16: w[i][c] = scales[2i] * code + scales[2i +
 * 1], and the queries are integers times a step, x[j][c] = steps[j] * x16[j * ldx + c].
 *
 * similarity_q4 is similarity_q16 with codes of 4 bits, 0 .. 15, STRATA_SKETCH_GROUP in
 * STRATA_SKETCH_GROUP / 2 bytes: the 16-bit word w of them holds the codes w, w + 32, w + 64 and w
 * + 96, from its low bits on.  k is a multiple of STRATA_SKETCH_GROUP. */
struct strata_matmul {
    float *y;
    size_t ldy;
    const void *w;
    size_t row_bytes;
    size_t rows;
    const float *scales, *steps;
    const int16_t *x16;
    const float *x;
    size_t ldx;
    struct strata_q8_rows xq;
    size_t m;
    size_t k;
    void *scratch;
};

#define STRATA_SKETCH_GROUP 128

/* Rows of float weights that kernels unpack together; work that is cut at multiples of it wastes
 * nothing. */
#define STRATA_GEMM_ROWS 32
#define STRATA_GEMM_SCRATCH_BYTES(k) ((size_t)STRATA_GEMM_ROWS * (size_t)(k)*4 + 256)

/* Attention of `tokens` x `heads` query vectors over one key/value head (grouped heads: the `heads`
 * query heads share it).  Token t sees the positions from begin = max(0, visible[t] - window) to
 * visible[t] - 1, visible[t] >= 1 and window >= 1: s[p] = scale * dot(q[t][h], k[p]), and out[t][h]
 * is the sum over p of softmax(s)[p] * v[p].
 *
 * q[t][h] is at q + t * q_token_stride + h * q_head_stride (floats), out likewise; k[p] at (char
 * *)k + p * k_stride, v likewise: rows of head_dim elements of the operation's type, at any
 * alignment (Q8_0: head_dim is a multiple of 32).  Computed in tiles of STRATA_ATTENTION_TILE
 * positions with an online softmax (Milakov & Gimelshein 2018; Dao et al. 2022): no full row of
 * scores exists.  There are at most STRATA_ATTENTION_ROWS rows (tokens times heads); scratch has
 * STRATA_ATTENTION_SCRATCH_BYTES(head_dim) bytes.
 *
 * Parts.  With `largest` and `denominator` (else both NULL; tokens is 1 then) the result is left
 * open, so that positions can be shared out and put together by attention_merge: largest[h] = max
 * s, denominator[h] = sum of exp(s[p] - largest[h]), out[h] = sum of exp(s[p] - largest[h]) * v[p].
 *
 * Trees.  With `until` (else NULL) the positions from `tree` on are the tokens of a tree in
 * preorder, of which token t is that at position row + t, and visible[t] is at most row + t + 1.
 * Of them it sees position p only where row + t < until[p - tree], the end of p's subtree: its
 * ancestors and itself.  Every token sees something; there are no parts, and no window.  Keys and
 * values that are hidden so are finite.
 *
 * One token with at most STRATA_ATTENTION_HEADS heads: a head's result is the same, bit for bit,
 * whatever other heads the call has, so that heads may be spread over threads. */
struct strata_attention {
    float *out;
    size_t out_token_stride, out_head_stride;
    const float *q;
    size_t q_token_stride, q_head_stride;
    const void *k;
    size_t k_stride;
    const void *v;
    size_t v_stride;
    const uint32_t *visible;
    size_t window;
    const uint32_t *until;
    size_t tree, row;
    size_t tokens, heads, head_dim;
    float scale;
    float *largest, *denominator;
    void *scratch;
};

/* One head's result from `parts` parts of its positions, in order: sums at sums + i * head_dim. */
struct strata_attention_parts {
    float *out;
    const float *sums, *largest, *denominator;
    size_t parts, head_dim;
};

#define STRATA_ATTENTION_TILE 64
#define STRATA_ATTENTION_ROWS 64
#define STRATA_ATTENTION_HEADS 8
/* Scores of a tile, key and value tile as float, running sums of all rows, maxima and denominators.
 */
#define STRATA_ATTENTION_SCRATCH_BYTES(head_dim)                                                \
    (4 * ((size_t)STRATA_ATTENTION_ROWS * STRATA_ATTENTION_TILE +                               \
          ((size_t)(head_dim) + 16) * (2 * STRATA_ATTENTION_TILE + 2 * STRATA_ATTENTION_ROWS) + \
          4 * STRATA_ATTENTION_ROWS) +                                                          \
     256)

/* ---- operations by weight type ---- */

/* dst[i] = value of element i, i < n; n is a multiple of the block size.  Bit-exact (products and
 * sums of a block are rounded once per operation, in the order that block_formats.h writes them,
 * without fused multiply-add). */
typedef void strata_dequantize_fn(float *dst, const void *src, size_t n);

/* dst = x in the type's layout, n elements, n a multiple of the block size.  F16: to nearest even;
 * overflow gives Inf, NaN stays a NaN (quiet).  Q8_0, for each block with a = max |x|: a not finite
 * (Inf, or any NaN in the block): d = NaN, all quants 0; a < 2^-100: d = 0, all quants 0; else d =
 * a / 127 rounded to binary16, quants = round_to_nearest_even(x * (127 / a)).  Bit-exact except for
 * NaN payloads.  (For the cache of keys and values, and for weights that are rounded when they are
 * loaded.) */
typedef void strata_encode_fn(void *dst, const float *x, size_t n);

/* Float weights by float activations: one token (gemv) or several (gemm).  At level avx512bf16,
 * whose instructions take subnormal numbers for zero, gemv_f32 of BF16 weights may count subnormal
 * weights, and sums below 2^-126, as zero. */
typedef void strata_matmul_fn(const struct strata_matmul *a);
typedef strata_matmul_fn strata_gemv_f32_fn, strata_gemm_f32_fn;

/* Packed weights by float (f32) or 8-bit activations (q8), any number of tokens. */
typedef strata_matmul_fn strata_packed_f32_fn, strata_packed_q8_fn;

/* Inner products of stored vectors with queries, for ranking: the order of every sum is fixed, so
 * that all levels give the same bits and a ranking does not depend on the host.
 *
 * f32: lane l of 16 takes elements l, l + 16, ... in turn, by fused multiply-adds that begin at 0
 * (both rows are continued by zeros to a multiple of 16); then lanes 8 apart are added, then 4, 2
 * and 1 apart.  q16: dot = the sum of code * x16 and total = the sum of x16, exact integers, become
 * floats; y = step * (scale * dot + offset * total), each operation rounded.  q4: the same. */
typedef strata_matmul_fn strata_similarity_f32_fn, strata_similarity_q16_fn;
typedef strata_matmul_fn strata_similarity_q4_fn;

/* See struct strata_attention. */
typedef void strata_attention_fn(const struct strata_attention *a);

/* ---- operations without a weight type ---- */

/* Rounds m contiguous rows of k floats to 8 bits (k a multiple of 32).  For each block of 32, with
 * a = max |x|: a not finite (Inf, or any NaN in the block): scale = NaN, all q = 0; a < 2^-100:
 * scale = 0, all q = 0; else scale = a / 127 and q = round_to_nearest_even(x * (127 / a)), which
 * lies in -127..127.  Bit-exact. */
typedef void strata_quantize_q8_fn(const struct strata_q8_rows *out, const float *x, size_t m,
                                   size_t k);

/* y[i] = x[i] * weight[i] / sqrt(mean(x^2) + eps), one row of n > 0.  y may be x.  (Zhang &
 * Sennrich 2019) */
typedef void strata_rms_norm_fn(float *y, const float *x, const float *weight, size_t n, float eps);

/* y[i] = (x[i] - mean) / sqrt(variance + eps) * weight[i] + bias[i], one row of n > 0, with the
 * variance over n.  y may be x.  (Ba, Kiros & Hinton 2016) */
typedef void strata_layer_norm_fn(float *y, const float *x, const float *weight, const float *bias,
                                  size_t n, float eps);

/* y[i] = x[i] * Phi(x[i]), Phi(x) = erfc(-x / sqrt(2)) / 2.  y may be x.  For x = -Inf any value.
 * (Hendrycks & Gimpel 2016, the exact form) */
typedef void strata_gelu_fn(float *y, const float *x, size_t n);

/* Rotates, in place, the first 2 * pairs elements of each of `heads` vectors of head_dim floats
 * that follow each other. cs holds the pairs (cos, sin) of this position: 2 * pairs floats.
 * rope_norm rotates elements (2i, 2i+1) by pair i, rope_neox elements (i, i + pairs).  (Su et al.
 * 2021) */
typedef void strata_rope_fn(float *x, const float *cs, size_t heads, size_t head_dim, size_t pairs);
typedef strata_rope_fn strata_rope_norm_fn, strata_rope_neox_fn;

/* x = softmax(x) in place, n > 0, with the maximum subtracted first.  -Inf entries give 0 unless
 * all are -Inf (NaN). */
typedef void strata_softmax_fn(float *x, size_t n);

/* y[i] = gate[i] / (1 + exp(-gate[i])) * up[i].  y may be gate or up. */
typedef void strata_silu_mul_fn(float *y, const float *gate, const float *up, size_t n);

/* y[i] += x[i]. */
typedef void strata_add_fn(float *y, const float *x, size_t n);

/* See struct strata_attention_parts. */
typedef void strata_attention_merge_fn(const struct strata_attention_parts *a);

/* Index of the largest of x[0..n), n > 0; the lowest index among equals; NaNs are passed over (0 if
 * all are NaN). */
typedef size_t strata_argmax_fn(const float *x, size_t n);

/* Indices of the k largest of x[0..n), best first, equals by lower index, NaN below everything; 1
 * <= k <= n < 2^31. */
typedef void strata_top_k_fn(int32_t *index, const float *x, size_t n, size_t k);

/* clang-format off */
/* Slots: X(op) for each array by type, and for each plain slot. */
#define STRATA_TYPED_OPS(X) \
    X(dequantize) X(encode) X(gemv_f32) X(gemm_f32) X(packed_f32) X(packed_q8) X(similarity_f32) \
    X(similarity_q16) X(attention)
#define STRATA_PLAIN_OPS(X) \
    X(quantize_q8) X(rms_norm) X(layer_norm) X(gelu) X(rope_norm) X(rope_neox) X(softmax) \
    X(silu_mul) X(add) X(attention_merge) X(argmax) X(top_k) X(similarity_q4)
/* clang-format on */

/* The table.  Every type that strata computes with has dequantize, and either gemv_f32 and gemm_f32
 * (F32, F16, BF16) or packed_f32 and packed_q8 (the types of packed.h); F16 and Q8_0, in which keys
 * and values are kept, have encode and attention; F32, in which encoders have them, has attention;
 * F32 and F16 have similarity_f32, I8 has similarity_q16; all other typed slots are NULL.  Plain
 * slots are never NULL. */
struct strata_kernels {
#define X(op) strata_##op##_fn *op[STRATA_TYPE_COUNT];
    STRATA_TYPED_OPS(X)
#undef X
#define X(op) strata_##op##_fn *op;
    STRATA_PLAIN_OPS(X)
#undef X
};

/* Levels of instruction sets, each including those before it: avx2 = AVX2 + FMA + F16C; avx512 = F,
 * BW, DQ, VL; then VNNI; then BF16. */
#define STRATA_LEVELS(X) X(ref) X(avx2) X(avx512) X(avx512vnni) X(avx512bf16)
enum strata_level {
#define X(level) STRATA_LEVEL_##level,
    STRATA_LEVELS(X)
#undef X
        STRATA_LEVEL_COUNT
};

/* Fills *table with the best kernel of each slot at or below `level`; the caller makes sure that
 * the host has the level (strata_cpu_level).  Reference first, then each level overwrites what it
 * speeds up. */
void strata_kernels_select(struct strata_kernels *table, enum strata_level level);

#endif

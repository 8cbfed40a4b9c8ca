/* The operations of the plug-in, as device.cu launches them.  Rows are contiguous unless a stride
 * is given; all addresses are of the device.  Each returns the status of its launches. */
#ifndef STRATA_CUDA_KERNELS_CUH
#define STRATA_CUDA_KERNELS_CUH

#include "plugin.h"
#include "primitives.cuh"

namespace strata
{

/* Rows in 8 bits, as struct strata_q8_rows of kernels.h. */
struct Quants {
    int8_t *q;
    float *scale;
    int16_t *sum;
};

/* As in kernels.h, of `rows` rows of n floats. */
cudaError_t rms_norm(cudaStream_t stream, float *y, const float *x, const float *weight,
                     uint32_t rows, uint32_t n, float eps);
cudaError_t quantize_q8(cudaStream_t stream, int8_t *q, float *scale, int16_t *sum, const float *x,
                        uint32_t rows, uint32_t n);

/* y += x, and y = silu(y) * x, of n floats; y[r][i] += bias[i]. */
cudaError_t add(cudaStream_t stream, float *y, const float *x, uint64_t n);
cudaError_t silu_mul(cudaStream_t stream, float *y, const float *x, uint64_t n);
cudaError_t add_bias(cudaStream_t stream, float *y, const float *bias, uint32_t rows, uint32_t n);

/* A product of m tokens: activations as floats, or as 8-bit quants with a scale for 32. */
struct Product {
    float *y;
    uint32_t ldy;
    const void *weights;
    uint32_t type; /* GGUF id */
    uint32_t rows, k, m;
    uint64_t row_bytes; /* of float rows */
    const float *x;     /* [m][k]; NULL: q and scale */
    const int8_t *q;
    const float *scale;
    const int16_t *sum; /* of each 16 quants */
};
/* With the kernel that suits it (product.cu): packed_gemm takes 8-bit activations only.
 * cudaErrorNotSupported for a type that has no kernel. */
cudaError_t packed_product(cudaStream_t stream, const Product &product);
cudaError_t float_product(cudaStream_t stream, const Product &product);
cudaError_t packed_gemv(cudaStream_t stream, const Product &product);
cudaError_t packed_gemm(cudaStream_t stream, const Product &product);
cudaError_t float_gemv(cudaStream_t stream, const Product &product);

/* Where a token's keys and values are: of its span, for a layer. */
struct TokenKv {
    unsigned char *keys, *values;
    uint64_t context, position;
    uint32_t q8_0; /* else F16 */
};

/* A layer's attention; `tokens` has one entry a token. */
struct Attention {
    float *q, *k, *v, *out; /* rows of heads (kv_heads) * head_dim */
    const float *rope;
    const TokenKv *tokens;
    uint32_t n_tokens, heads, kv_heads, head_dim, rope_pairs, rope_neox, window;
    /* Positions that a token sees are shared out in parts of so many, which blocks of their own
     * take: parts * part is at least the longest context.  1: not shared out. */
    uint32_t parts, part;
    float *partial; /* attention_floats; not used with one part */
};

/* Floats of `partial`. */
uint64_t attention_floats(const Attention &a);

/* Rotates q and k, and stores k and v.  cudaErrorNotSupported: heads wider than 256. */
cudaError_t rope_store(cudaStream_t stream, const Attention &a);

/* out = softmax(q * keys) * values over the positions that each token sees. */
cudaError_t attend(cudaStream_t stream, const Attention &a);

/* ---- Encoders (encoder.cu) ---- */

/* Rows of n floats, in place: layer_norm(x [+ delta + addend]), without those two where addend is
 * NULL, and gelu(x + addend); `out` has them in 8 bits too, unless its addresses are NULL. */
cudaError_t layer_norm(cudaStream_t stream, float *x, const float *delta, const float *addend,
                       const float *weight, const float *bias, const Quants &out, uint32_t rows,
                       uint32_t n, float eps);
cudaError_t gelu(cudaStream_t stream, float *x, const float *addend, const Quants &out,
                 uint32_t rows, uint32_t n);

/* Attention where each token sees all of its span; rows of heads * head_dim. */
struct SpanAttention {
    const float *q, *k, *v;
    float *out;
    const strata_cuda_span *spans;
    uint32_t n_spans, longest; /* longest: tokens of a span, at most */
    uint32_t heads, head_dim;
};
/* cudaErrorNotSupported: heads wider than 1024. */
cudaError_t attend_spans(cudaStream_t stream, const SpanAttention &a);

/* A row of `out` for each span, of its rows of n floats (enum strata_cuda_pooling). */
cudaError_t pool(cudaStream_t stream, float *out, const float *x, const strata_cuda_span *spans,
                 uint32_t n_spans, uint32_t pooling, uint32_t n);

} // namespace strata

#endif

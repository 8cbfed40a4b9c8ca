/* The operations of the plug-in, as steps.cu launches them.  Rows are contiguous unless a stride
 * is given; all addresses are of the device.  Each returns the status of its launches. */
#ifndef STRATA_CUDA_KERNELS_CUH
#define STRATA_CUDA_KERNELS_CUH

#include "plugin.h"
#include "primitives.cuh"

namespace strata
{

/* What products take: rows of n floats, as they are or one of
 *   rms_norm(x, norm)
 *   layer_norm(x [+ delta + addend], norm, bias)
 *   gelu(x + addend)
 *   silu(x) * up
 * where what is not meant is NULL. */
struct Prelude {
    const float *x, *norm, *bias, *up, *delta, *addend;
    float eps; /* of the norm */
    bool gelu;

    __host__ __device__ bool of_encoders() const
    {
        return bias || gelu;
    }
};

/* As floats, in 8 bits as strata_q8_rows has them (kernels.h), as halves, or in several of these
 * ways; else NULL. */
struct Prepared {
    float *x;
    int8_t *q;
    float *scale;
    int16_t *sum;       /* of each 16 quants */
    uint16_t *halves;   /* binary16, scaled where a row's largest element is not in [2^-8, 2^15) */
    float *token_scale; /* a row is its halves times that power of two; NaN: some are not finite */
};

/* out.x may be prelude.x. */
cudaError_t prepare_rows(cudaStream_t stream, const Prepared &out, const Prelude &prelude,
                         uint32_t rows, uint32_t n);

/* A product of m tokens. */
struct Product {
    float *y;
    uint32_t ldy;
    bool accumulate;   /* y += instead of y = */
    const float *bias; /* added to each token's row, or NULL */
    const void *weights;
    uint32_t type; /* GGUF id */
    uint32_t rows, k, m;
    uint64_t row_bytes; /* of float rows */
    uint32_t tile;      /* of packed_gemm: tokens of a block (TILES, rows.cuh); 0: what suits m */
    Prepared in;        /* [m][k]: halves, q or x, the first that is there */
    Prelude prelude;    /* x: in place of `in`, of packed_gemv with one token, in 8 bits; not of
                         * encoders */
};

/* Products of the same type and input are one launch, up to so many; and columns that packed_gemv
 * prepares itself, at most. */
const uint32_t GROUP = 3, GEMV_MOST_OWN = 32768;

/* What packed products that do not say have: the most tokens that are computed in 8 bits, and those
 * from which cuBLAS is faster, with weights that are unpacked for it.  H200, 4096 x 4096 in Q4_0:
 * 64 tokens take it 31 us and packed_gemm 26, 512 tokens 48. */
const uint32_t GEMV_TOKENS = 64, BLAS_PACKED = 65;

/* Up to GROUP products of the same input, with the kernels that suit them (product.cu): packed_gemm
 * for halves, packed_gemm_q8 for several tokens in 8 bits.  cudaErrorNotSupported for a type that
 * has no kernel. */
cudaError_t packed_products(cudaStream_t stream, const Product *products, uint32_t count);
cudaError_t float_product(cudaStream_t stream, const Product &product);
cudaError_t packed_gemv(cudaStream_t stream, const Product *products, uint32_t count);
cudaError_t packed_gemm_q8(cudaStream_t stream, const Product *products, uint32_t count);
cudaError_t packed_gemm(cudaStream_t stream, const Product *products, uint32_t count);
cudaError_t float_gemv(cudaStream_t stream, const Product &product);

/* Where a token's keys and values are: of its span, for a layer. */
struct TokenKv {
    unsigned char *keys, *values;
    uint64_t context, position;
    uint32_t q8_0; /* else F16 */
};

/* Query rows that a block of attend_tiled takes: from `row` on, of the span of `count` tokens from
 * `first` on, each of which has a row for each query head of a key/value head. */
struct QueryTile {
    uint32_t first, count, row;
};

/* A layer's attention; `tokens` has one entry a token. */
struct Attention {
    float *q, *k, *v, *out; /* rows of heads (kv_heads) * head_dim */
    const float *rope;
    const TokenKv *tokens;
    uint32_t n_tokens, heads, kv_heads, head_dim, rope_pairs, rope_neox, window;
    /* attend_single shares out the positions that a token sees in parts of so many, which blocks of
     * their own take: parts * part is at least the longest context.  1: not shared out. */
    uint32_t parts, part;
    float *partial;    /* attention_floats; not used with one part */
    uint32_t *arrived; /* n_tokens * heads zeros before and after; likewise */
    /* All query rows in tiles, or none: then there is a block for each token and head. */
    const QueryTile *tiles;
    uint32_t n_tiles;
    uint32_t whole; /* tokens see their whole span (tiles only, no window), else what precedes */
    /* Or NULL: the positions from `tree` on are a tree's, in one cache; a token sees position p of
     * them only where until[p - tree] is above its own.  No window; not of attend_single. */
    const uint32_t *until;
    uint64_t tree;
};

/* The parts for contexts of up to `longest` positions, and floats of `partial`. */
uint32_t attention_parts(uint64_t longest);
uint64_t attention_floats(const Attention &a);

/* Rotates q and k, and stores k and v.  cudaErrorNotSupported: heads wider than 256. */
cudaError_t rope_store(cudaStream_t stream, const Attention &a);

/* out = softmax(q * keys) * values over the positions that each token sees, after rope_store; and
 * both for tokens that are each the only one of its sequence, whose q and k stay as they are. */
cudaError_t attend(cudaStream_t stream, const Attention &a);
cudaError_t attend_single(cudaStream_t stream, const Attention &a);

/* Many tokens of a span: heads that attention_tiles says, of keys and values at multiples of 16.
 * Writes the tiles of a span unless `tiles` is NULL, and returns how many there are; group: query
 * heads of a key/value head. */
bool attention_tiles(uint32_t head_dim);
uint32_t tiles_of_span(QueryTile *tiles, uint32_t first, uint32_t count, uint32_t group);
cudaError_t attend_tiled(cudaStream_t stream, const Attention &a);

/* y[t] = row ids[t] of the table, packed or of floats; rows that exist.  cudaErrorNotSupported: a
 * type that has no kernel. */
cudaError_t look_up(cudaStream_t stream, float *y, const int32_t *ids, uint32_t tokens,
                    const strata_cuda_product &table);

/* The k (1 .. 256) greatest of each of `rows` rows of n logits, in order: greater first, the lower
 * id first among equals.  The id of a row's first is -1 where one of its logits is not finite.
 * `entries` has room for best_entries(rows, n, k) of them. */
uint64_t best_entries(uint32_t rows, uint32_t n, uint32_t k);
cudaError_t best_of_rows(cudaStream_t stream, strata_cuda_candidate *best, uint64_t *entries,
                         const float *logits, uint32_t rows, uint32_t n, uint32_t k);

/* One of each row's n best (1 .. 256), drawn as `draws` says of the row (draw.h); the first where
 * its id is -1.  The token is that of strata_draw_ref but where a sum ends so near to what it is
 * compared with that the last bits of exp decide. */
cudaError_t draw_of_rows(cudaStream_t stream, strata_cuda_candidate *drawn,
                         const strata_cuda_candidate *best, const strata_cuda_draw *draws,
                         uint32_t rows, uint32_t n);

/* Of rows of n logits the log-probabilities of the tokens next[i - base], for i from first[row] to
 * first[row + 1] - 1: out[i - base].  Not finite where the row is not. */
struct Logprobs {
    float *out;
    const float *logits;
    const uint32_t *first;
    const int32_t *next;
    uint32_t n, base;
};
cudaError_t logprobs(cudaStream_t stream, const Logprobs &a, uint32_t rows);

/* ---- Encoders (encoder.cu) ---- */

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

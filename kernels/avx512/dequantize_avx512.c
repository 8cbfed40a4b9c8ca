/* Rows of weights to float: w = scale * q + offset, rounded after the product and after the sum as
 * the reference does (the sources are compiled without contraction).
 *
 * 16 elements at a time: widen bytes to dwords, convert, multiply, add.  The job is bound by
 * writing four bytes an element, so nothing cleverer was tried; the slots exist because the decoder
 * (blocks_avx512.h) does for the float products, and is checked bit by bit through them. */
#include "blocks_avx512.h"

INLINE void dequantize(float *dst, const void *src, size_t n, enum strata_type type)
{
    size_t c = 0;
    for (; c + 32 <= n; c += 32) {
        _mm512_storeu_ps(dst + c, decode16(type, src, c, 0, 0xffff));
        _mm512_storeu_ps(dst + c + 16, decode16(type, src, c, 1, 0xffff));
    }
    for (int part = 0; c + 16 * (size_t)part < n; part++) { /* float types only */
        size_t at = c + 16 * (size_t)part;
        __mmask16 mask = first16(n - at);
        _mm512_mask_storeu_ps(dst + at, mask, decode16(type, src, c, part, mask));
    }
}

#define X(type)                                                                   \
    void strata_dequantize_##type##_avx512(float *dst, const void *src, size_t n) \
    {                                                                             \
        dequantize(dst, src, n, STRATA_TYPE_##type);                              \
    }
STRATA_COMPUTE_TYPES_AVX512(X)
#undef X

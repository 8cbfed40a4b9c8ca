/* Rows of float weights as floats, through the chunk readers of floats_avx2.h. */
#include "../kernel_list.h"
#include "floats_avx2.h"

STRATA_INLINE void dequantize_row(float *dst, const uint8_t *src, size_t n, size_t element_bytes,
                                  chunk_fn *chunk)
{
    __m256 w[4];
    for (size_t c = 0; c < n / 32; c++) {
        chunk(w, src, c);
        STRATA_UNROLL
        for (int i = 0; i < 4; i++)
            _mm256_storeu_ps(dst + 32 * c + 8 * i, w[i]);
    }
    if (n % 32 != 0) {
        float buffer[32];
        chunk_tail(w, src, n / 32, n % 32, element_bytes, chunk);
        STRATA_UNROLL
        for (int i = 0; i < 4; i++)
            _mm256_storeu_ps(buffer + 8 * i, w[i]);
        memcpy(dst + n / 32 * 32, buffer, n % 32 * sizeof *dst);
    }
}

#define X(type, element_bytes)                                                  \
    void strata_dequantize_##type##_avx2(float *dst, const void *src, size_t n) \
    {                                                                           \
        dequantize_row(dst, src, n, element_bytes, chunk_##type);               \
    }
STRATA_CHUNK_TYPES(X)
#undef X

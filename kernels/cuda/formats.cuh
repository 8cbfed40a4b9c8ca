/* The packed types (packed.h) as kernels read them. */
#ifndef STRATA_CUDA_FORMATS_CUH
#define STRATA_CUDA_FORMATS_CUH

#include "primitives.cuh"

/* X(GGUF id, bits, elements a scale, bias, has an offset, has a table, blocks of 256 with factors
 * of their own): Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS. */
#define STRATA_CUDA_FORMATS(X)           \
    X(2, 4, 32, 8, false, false, false)  \
    X(3, 4, 32, 0, true, false, false)   \
    X(6, 5, 32, 16, false, false, false) \
    X(7, 5, 32, 0, true, false, false)   \
    X(8, 8, 32, 0, false, false, false)  \
    X(10, 2, 16, 0, true, false, true)   \
    X(11, 3, 16, 4, false, false, true)  \
    X(12, 4, 32, 0, true, false, true)   \
    X(13, 5, 32, 0, true, false, true)   \
    X(14, 6, 16, 32, false, false, true) \
    X(20, 4, 32, 0, false, true, false)  \
    X(23, 4, 32, 0, false, true, true)

namespace strata
{

/* A type's row of STRATA_PACKED_FORMATS: bits, elements a scale, bias, offset, table; and whether
 * blocks have 256 elements with factors of their own. */
template <int bits_, int sub_, int bias_, bool offset_, bool table_, bool k_type_> struct Format {
    static const int bits = bits_, sub = sub_, bias = bias_;
    static const bool offset = offset_, table = table_, k_type = k_type_;

    static const int block_elems = k_type ? 256 : 32;
    static const int factor_bytes = !k_type ? 0 : sub == 32 && !offset ? 16 : 32;
    static const int scale_bytes = (offset ? 64 : 32) + 8 * factor_bytes;
    static const int quant_bytes = 64 * bits;
    static const int vectors = bits == 8 ? 8 : bits >= 4 ? 4 : 2; /* of the low plane */
    static const int groups = 8 / vectors;                        /* of four columns, in a vector */
    static const int low_bits = bits == 8 ? 8 : bits >= 4 ? 4 : 2;
};

/* Bytes of the scales of a panel of k columns; its records follow. */
template <class F> __host__ __device__ size_t scale_area(uint32_t k)
{
    return (static_cast<size_t>(k / F::block_elems) * F::scale_bytes + 63) / 64 * 64;
}

/* The 4-bit codes in the bytes of q as the values that they stand for (IQ4_NL, IQ4_XS): -127, -104,
 * -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113. */
__device__ inline uint32_t table_values(uint32_t q)
{
    /* A selector of a nibble a byte: bits 0 to 2 choose among eight bytes. */
    uint32_t low = q & 0x07070707u;
    uint32_t selector = (low | low >> 4) & 0x00ff00ffu;
    selector = (selector | selector >> 8) & 0xffffu;
    uint32_t below = __byte_perm(0xbfad9881u, 0xf6eaddcfu, selector);
    uint32_t above = __byte_perm(0x26190d01u, 0x71594535u, selector);
    uint32_t high = (q >> 3 & 0x01010101u) * 0xffu;
    return (below & ~high) | (above & high);
}

/* Scale and offset from d and m (binary16) and, of K types, the factors: of the scale, and of the
 * offset where that is not in its high nibble.  element = scale * (q - bias) + offset */
template <class F>
__device__ void scale_from(uint16_t d, uint16_t m, uint32_t factor, uint32_t offset_factor,
                           float *scale, float *offset)
{
    *scale = from_half(d);
    *offset = F::offset ? from_half(m) : 0.0f;
    if (F::k_type && F::offset && F::sub == 16) { /* Q2_K: nibbles */
        *scale *= static_cast<float>(factor & 15);
        *offset *= -static_cast<float>(factor >> 4);
    } else if (F::k_type) {
        *scale *= static_cast<float>(static_cast<int8_t>(factor));
        if (F::offset)
            *offset *= -static_cast<float>(offset_factor);
    }
}

/* Those of a row of a panel for (half of) a record. */
template <class F>
__device__ void scale_of(const unsigned char *area, uint32_t record, int half, int row,
                         float *scale, float *offset)
{
    const int records = F::block_elems / 32;
    const unsigned char *block = area + record / records * F::scale_bytes;
    const uint16_t *d = reinterpret_cast<const uint16_t *>(block);
    const unsigned char *factor =
        block + (F::offset ? 64 : 32) + record % records * F::factor_bytes + row;
    if (F::k_type && F::sub == 16)
        factor += 16 * half;
    scale_from<F>(d[row], F::offset ? d[16 + row] : 0, F::k_type ? *factor : 0,
                  F::k_type && F::offset && F::sub == 32 ? factor[16] : 0, scale, offset);
}

} // namespace strata

#endif

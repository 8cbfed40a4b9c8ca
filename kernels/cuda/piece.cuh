/* Records of packed weights on their way through shared memory. */
#ifndef STRATA_CUDA_PIECE_CUH
#define STRATA_CUDA_PIECE_CUH

#include "formats.cuh"

#include STRATA_CUDA_MMA /* "mma_ptx.cuh"; the build of the emulator names its own */

namespace strata
{

/* What a stage has of a panel: the quants of its records, d (and m) of each block, factors.
 * records: a divisor of 8, so that they are of one block. */
template <class F, uint32_t records> struct Piece {
    static const uint32_t HEAD = F::offset ? 64 : 32, BLOCK = F::block_elems / 32;
    static const uint32_t QUANTS = records * F::quant_bytes;
    static const uint32_t SCALES = F::k_type ? HEAD : records * HEAD;
    static const uint32_t BYTES = QUANTS + SCALES + records * F::factor_bytes;

    /* A warp begins to bring it to shared memory, from a record on; zeros where `left` records end.
     */
    static __device__ void fetch(unsigned char *to, const unsigned char *panel, size_t area,
                                 uint32_t record, uint32_t left)
    {
        const unsigned char *block = panel + record / BLOCK * F::scale_bytes;
        const unsigned char *quants = panel + area + static_cast<size_t>(record) * F::quant_bytes;
        fetch_run<QUANTS, F::quant_bytes>(to, quants, left);
        fetch_run<SCALES, F::k_type ? SCALES : HEAD>(to + QUANTS, block, left);
        if constexpr (F::k_type)
            fetch_run<records * F::factor_bytes, F::factor_bytes>(
                to + QUANTS + SCALES, block + HEAD + record % BLOCK * F::factor_bytes, left);
    }

    /* Of record n: d (and m) and factors of its rows. */
    static __device__ const unsigned char *head(const unsigned char *piece, uint32_t n)
    {
        return piece + QUANTS + (F::k_type ? 0 : n * HEAD);
    }
    static __device__ const unsigned char *factors(const unsigned char *piece, uint32_t n)
    {
        return piece + QUANTS + SCALES + n * F::factor_bytes;
    }

  private:
    /* Bytes that follow each other, EACH of a record. */
    template <uint32_t ALL, uint32_t EACH>
    static __device__ void fetch_run(unsigned char *to, const unsigned char *from, uint32_t left)
    {
        UNROLL
        for (uint32_t i = 0; i < ALL; i += 16 * WARP) {
            const uint32_t at = i + 16 * lane_of();
            const bool there = at / EACH < left;
            if (at < ALL)
                copy_async(to + at, from + at, there);
        }
    }
};

} // namespace strata

#endif

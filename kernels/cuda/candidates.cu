/* The greatest logits of rows, in order: greater first, the lower id first among equals.
 *
 * An entry is 64 bits that compare as its place in that order: the logit's bits, changed so that
 * they compare as integers do, and below them the id inverted.  No two entries are the same, so
 * that what comes out depends on nothing else.  A block leaves the k best of PART entries, and so
 * on level by level until a block has all that is left of a row: two levels for most vocabularies,
 * and three for k = 256.  k = 1 is a tournament, others are a bitonic sort in shared memory
 * (Batcher 1968).  Logits that are not finite come before all others, as entries that say just
 * that. */
#include "kernels.cuh"

namespace
{

const unsigned THREADS = 256;
const uint32_t PART = 2048, MOST = 256;
const uint32_t NOT_FINITE = 0xffffffffu; /* the upper half of an entry */

/* One of the levels: rows of n logits or entries. */
struct Level {
    const float *logits; /* NULL: entries */
    const uint64_t *entries;
    uint64_t *out;               /* k for each part, */
    strata_cuda_candidate *best; /* and of the last level, with one part a row, k for the row */
    uint32_t n, k, width;        /* width: entries that a block sorts, a power of two; at least k */
};

__device__ uint64_t entry_of(float logit, uint32_t id)
{
    uint32_t bits = logit == 0 ? 0 : __float_as_uint(logit); /* zeros are equal */
    uint32_t key = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    if ((bits & 0x7f800000u) == 0x7f800000u)
        key = NOT_FINITE;
    return static_cast<uint64_t>(key) << 32 | static_cast<uint32_t>(~id);
}

__device__ strata_cuda_candidate candidate_of(uint64_t entry)
{
    uint32_t key = static_cast<uint32_t>(entry >> 32), id = ~static_cast<uint32_t>(entry);
    strata_cuda_candidate c;
    c.id = key == NOT_FINITE ? -1 : static_cast<int32_t>(id);
    c.logit = __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
    return c;
}

/* Puts the greatest entry first. */
__device__ void take_best(uint64_t *entries, unsigned width)
{
    for (unsigned half = width / 2; half > 0; half /= 2) {
        __syncthreads();
        for (unsigned i = threadIdx.x; i < half; i += THREADS)
            if (entries[i] < entries[i + half])
                entries[i] = entries[i + half];
    }
}

/* Sorts the entries, the greatest first. */
__device__ void sort(uint64_t *entries, unsigned width)
{
    for (unsigned size = 2; size <= width; size *= 2)
        for (unsigned step = size / 2; step > 0; step /= 2) {
            __syncthreads();
            for (unsigned i = threadIdx.x; i < width / 2; i += THREADS) {
                unsigned a = 2 * i - (i & (step - 1)), b = a + step;
                uint64_t first = entries[a], second = entries[b];
                if ((first < second) == ((a & size) == 0)) {
                    entries[a] = second;
                    entries[b] = first;
                }
            }
        }
}

/* A block a part of a row.  Shared memory: `width` entries. */
__global__ void best_kernel(Level level)
{
    uint64_t *entries = reinterpret_cast<uint64_t *>(shared_bytes);
    let_next_start();
    wait_for_inputs();
    const uint32_t n = level.n;
    const size_t row = static_cast<size_t>(blockIdx.y) * n;
    for (unsigned i = threadIdx.x; i < level.width; i += THREADS) {
        uint32_t at = blockIdx.x * PART + i;
        uint64_t entry = 0; /* below all that are real */
        if (at < n)
            entry = level.logits ? entry_of(level.logits[row + at], at) : level.entries[row + at];
        entries[i] = entry;
    }
    if (level.k == 1)
        take_best(entries, level.width);
    else
        sort(entries, level.width);
    __syncthreads();
    const size_t out = (static_cast<size_t>(blockIdx.y) * gridDim.x + blockIdx.x) * level.k;
    for (unsigned i = threadIdx.x; i < level.k; i += THREADS)
        if (level.best)
            level.best[out + i] = candidate_of(entries[i]);
        else
            level.out[out + i] = entries[i];
}

uint32_t parts_of(uint32_t n)
{
    return n / PART + (n % PART != 0);
}

} // namespace

namespace strata
{

uint64_t best_entries(uint32_t rows, uint32_t n, uint32_t k)
{
    uint64_t first = static_cast<uint64_t>(parts_of(n)) * k;
    uint64_t second = (first + PART - 1) / PART * k;
    return first > k ? rows * (first + second) : 0;
}

cudaError_t best_of_rows(cudaStream_t stream, strata_cuda_candidate *best, uint64_t *entries,
                         const float *logits, uint32_t rows, uint32_t n, uint32_t k)
{
    uint64_t *out[2] = {entries, entries + static_cast<uint64_t>(rows) * parts_of(n) * k};
    Level level = {logits, nullptr, nullptr, nullptr, n, k, 2};
    if (k == 0 || k > MOST || n == 0)
        return cudaErrorInvalidValue;
    for (unsigned depth = 0;; depth++) {
        uint32_t parts = parts_of(level.n), least = level.n < PART ? level.n : PART;
        level.out = out[depth % 2];
        level.best = parts == 1 ? best : nullptr;
        for (level.width = 2; level.width < least || level.width < k;)
            level.width *= 2;
        cudaError_t error = launch_chained(best_kernel, dim3(parts, rows), THREADS,
                                           level.width * sizeof(uint64_t), stream, level);
        if (error != cudaSuccess || parts == 1)
            return error;
        level.logits = nullptr;
        level.entries = level.out;
        level.n = parts * k;
    }
}

} // namespace strata

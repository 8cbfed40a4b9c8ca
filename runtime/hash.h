/* Hashes for tables whose keys come from a file: seeded, so that no file can be made to collide. */
#ifndef STRATA_HASH_H
#define STRATA_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>

/* A seed that differs from process to process: 8 of the 16 random bytes that the kernel gives
 * (getauxval(3), AT_RANDOM). */
static inline uint64_t strata__hash_seed(void)
{
    uint64_t seed = UINT64_C(0xa0761d6478bd642f);
    const void *random = (const void *)getauxval(AT_RANDOM);
    if (random)
        memcpy(&seed, random, sizeof seed);
    return seed;
}

/* A 64-bit hash of a key under a seed: multiply and fold, after wyhash. */
static inline uint64_t strata__hash_u64(uint64_t key, uint64_t seed)
{
    unsigned __int128 product =
        (unsigned __int128)(key ^ seed) * (seed ^ UINT64_C(0x9e3779b97f4a7c15));
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The same for bytes, eight at a time. */
static inline uint64_t strata__hash_bytes(const char *text, size_t size, uint64_t seed)
{
    uint64_t hash = strata__hash_u64(size, seed), word;
    for (; size >= 8; text += 8, size -= 8) {
        memcpy(&word, text, 8);
        hash = strata__hash_u64(hash ^ word, seed);
    }
    word = 0;
    memcpy(&word, text, size);
    return strata__hash_u64(hash ^ word, seed);
}

#endif

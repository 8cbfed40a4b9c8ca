/* Sorting records of 64-bit numbers (radix_sort.h). */
#include "radix_sort.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"

#define BITS 11
#define BUCKETS ((size_t)1 << BITS)
#define DIGITS 6 /* of a number */
#define FEW 4096 /* records that are not worth the tables of digits */

static int compare_1(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int compare_2(const void *a, const void *b)
{
    const int first = compare_1(a, b);
    return first ? first : compare_1((const uint64_t *)a + 1, (const uint64_t *)b + 1);
}

/* Moves the records from `from` to `to` in the order of a digit of one of their numbers; false when
 * all have the same one, and nothing was moved. */
static bool pass(const uint64_t *from, uint64_t *to, size_t n, size_t words, size_t word,
                 unsigned shift, size_t *counts)
{
    memset(counts, 0, BUCKETS * sizeof *counts);
    for (size_t i = 0; i < n; i++)
        counts[from[i * words + word] >> shift & (BUCKETS - 1)]++;
    if (counts[from[word] >> shift & (BUCKETS - 1)] == n)
        return false;
    for (size_t b = 0, sum = 0; b < BUCKETS; b++) {
        const size_t count = counts[b];
        counts[b] = sum;
        sum += count;
    }
    for (size_t i = 0; i < n; i++) {
        const uint64_t *record = from + i * words;
        const size_t at = counts[record[word] >> shift & (BUCKETS - 1)]++;
        to[at * words] = record[0];
        if (words == 2)
            to[at * words + 1] = record[1];
    }
    return true;
}

strata_status strata__radix_sort(uint64_t *records, size_t n, size_t words, size_t by)
{
    size_t *counts = NULL;
    uint64_t *other = NULL, *from = records;
    strata_status status;
    if (n < 2)
        return STRATA_OK;
    if (n < FEW && by == words) {
        qsort(records, n, words * sizeof *records, words == 1 ? compare_1 : compare_2);
        return STRATA_OK;
    }
    STRATA_TRY_DONE(strata__calloc(&counts, BUCKETS, sizeof *counts, "sorting"));
    STRATA_TRY_DONE(strata__alloc_aligned(&other, n * words * sizeof *other, "sorting"));
    uint64_t *to = other;
    for (size_t word = by; word-- > 0;)
        for (unsigned digit = 0; digit < DIGITS; digit++)
            if (pass(from, to, n, words, word, digit * BITS, counts)) {
                uint64_t *swapped = from;
                from = to;
                to = swapped;
            }
    if (from != records)
        memcpy(records, from, n * words * sizeof *records);
done:
    strata__free(other);
    strata__free(counts);
    return status;
}

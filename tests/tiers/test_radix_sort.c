/* Sorting records of numbers: few and many, one and two words, equal and extreme ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "radix_sort.h"

static uint64_t next(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return *state ^ *state >> 29;
}

static int compare(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    for (size_t i = 0; i < 2; i++)
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    return 0;
}

/* Records of `words` numbers under a mask, against qsort (one word: the other one is 0). */
static void check(size_t n, size_t words, uint64_t mask)
{
    uint64_t state = n + words;
    uint64_t *records = malloc((n + 1) * words * sizeof *records);
    uint64_t *expected = calloc(n + 1, 2 * sizeof *expected);
    assert_non_null(records);
    assert_non_null(expected);
    for (size_t i = 0; i < n; i++)
        for (size_t w = 0; w < words; w++)
            expected[2 * i + w] = records[i * words + w] = next(&state) & mask;
    qsort(expected, n, 2 * sizeof *expected, compare);
    assert_int_equal(strata__radix_sort(records, n, words, words), STRATA_OK);
    for (size_t i = 0; i < n; i++)
        assert_memory_equal(records + i * words, expected + 2 * i, words * sizeof *records);
    free(records);
    free(expected);
}

/* By the first number alone: those that are equal keep their order, which the second one tells. */
static void keeps_order(void **unused)
{
    static const size_t sizes[] = {0, 1, 2, 100, 5000};
    (void)unused;
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const size_t n = sizes[k];
        uint64_t state = n, *records = malloc((n + 1) * 2 * sizeof *records);
        assert_non_null(records);
        for (size_t i = 0; i < n; i++) {
            records[2 * i] = next(&state) & UINT64_C(0x700000003);
            records[2 * i + 1] = n - i;
        }
        assert_int_equal(strata__radix_sort(records, n, 2, 1), STRATA_OK);
        for (size_t i = 1; i < n; i++)
            assert_true(
                records[2 * i - 2] < records[2 * i] ||
                (records[2 * i - 2] == records[2 * i] && records[2 * i - 1] > records[2 * i + 1]));
        free(records);
    }
}

static void sorts(void **unused)
{
    static const size_t sizes[] = {0, 1, 2, 100, 4095, 4096, 4097, 50000};
    static const uint64_t masks[] = {UINT64_MAX,
                                     0xff,
                                     0,
                                     UINT64_C(0xffffffff00000000),
                                     UINT64_C(1) << 63,
                                     UINT64_C(0x8000000000000001)};
    (void)unused;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < sizeof masks / sizeof *masks; k++)
            for (size_t words = 1; words <= 2; words++)
                check(sizes[i], words, masks[k]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sorts), cmocka_unit_test(keeps_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

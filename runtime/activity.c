/* Counting evaluations (activity.h). */
#include "activity.h"

#include <stdlib.h>

#define RELAXED memory_order_relaxed

void strata__activity_add(struct strata__activity *a, size_t tokens, bool decoded, double ms)
{
    uint64_t us = ms > 0 ? (uint64_t)(ms * 1e3) : 0;
    atomic_fetch_add_explicit(&a->evaluations, 1, RELAXED);
    atomic_fetch_add_explicit(&a->tokens, tokens, RELAXED);
    atomic_fetch_add_explicit(&a->busy_us, us, RELAXED);
    if (!decoded)
        return;
    uint64_t n = atomic_fetch_add_explicit(&a->decoded, 1, RELAXED);
    atomic_store_explicit(&a->recent_us[n % STRATA__ACTIVITY_KEPT],
                          us < UINT32_MAX ? (uint32_t)us : UINT32_MAX, RELAXED);
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

void strata__activity_read(const struct strata__activity *a, strata_activity *out)
{
    uint32_t recent[STRATA__ACTIVITY_KEPT];
    uint64_t decoded = atomic_load_explicit(&a->decoded, RELAXED);
    size_t n = decoded < STRATA__ACTIVITY_KEPT ? (size_t)decoded : STRATA__ACTIVITY_KEPT;
    out->evaluations = atomic_load_explicit(&a->evaluations, RELAXED);
    out->tokens = atomic_load_explicit(&a->tokens, RELAXED);
    out->busy_ms = (double)atomic_load_explicit(&a->busy_us, RELAXED) / 1e3;
    if (n == 0)
        return;
    for (size_t i = 0; i < n; i++)
        recent[i] = atomic_load_explicit(&a->recent_us[i], RELAXED);
    qsort(recent, n, sizeof *recent, by_size);
    out->token_p50_ms = recent[n / 2] / 1e3;
    out->token_p95_ms = recent[n - 1 - n / 20] / 1e3;
}

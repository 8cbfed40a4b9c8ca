/* Drawing a token: filters narrow those there are, then one is drawn. */
#include "draw.h"

#include <assert.h>
#include <math.h>

/* Of token i, where that of the best is 1. */
static double weight(const float *logits, const int32_t *ids, size_t i, double best,
                     double temperature)
{
    return exp(((double)logits[ids ? (size_t)ids[i] : i] - best) / temperature);
}

double strata_draw_sum_ref(const float *logits, const int32_t *ids, size_t n, double best,
                           float temperature)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += weight(logits, ids, i, best, (double)temperature);
    return sum;
}

size_t strata_draw_keep_ref(const float *logits, const int32_t *ids, size_t n, double sum,
                            float top_p, float min_p)
{
    assert(n > 0);
    double best = (double)logits[ids ? ids[0] : 0], run = 0;
    size_t kept = 0;
    while (kept < n && (kept == 0 || top_p == 1 || run < (double)top_p * sum)) {
        double p = weight(logits, ids, kept, best, 1);
        if (kept && p < (double)min_p)
            break;
        run += p;
        kept++;
    }
    return kept;
}

size_t strata_draw_one_ref(const float *logits, const int32_t *ids, size_t n, double best,
                           float temperature, double random)
{
    assert(n > 0 && temperature > 0);
    double left = random * strata_draw_sum_ref(logits, ids, n, best, temperature);
    for (size_t i = 0; i + 1 < n; i++) {
        left -= weight(logits, ids, i, best, (double)temperature);
        if (left < 0)
            return i;
    }
    return n - 1;
}

size_t strata_draw_ref(const float *logits, const int32_t *ids, size_t n, float temperature,
                       float top_p, float min_p, double random)
{
    assert(n > 0);
    if (temperature == 0)
        return 0;
    double best = (double)logits[ids ? ids[0] : 0];
    double sum = strata_draw_sum_ref(logits, ids, n, best, 1);
    size_t kept = strata_draw_keep_ref(logits, ids, n, sum, top_p, min_p);
    return strata_draw_one_ref(logits, ids, kept, best, temperature, random);
}

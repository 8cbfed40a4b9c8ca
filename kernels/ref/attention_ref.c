/* Attention with an online softmax over tiles of positions (Milakov & Gimelshein 2018, algorithm 3;
 * Dao et al. 2022, algorithm 1).
 *
 * For each query vector a running maximum M, denominator L and weighted sum O of values are kept.
 * A tile with scores s and new maximum M' changes them to
 *   L' = L * exp(M - M') + sum exp(s - M'),   O' = O * exp(M - M') + sum exp(s - M') * v,
 * and the result is O / L.  All of it is in double, O in scratch, so that only the final division
 * rounds to float. */
#include <assert.h>
#include <math.h>

#include "half.h"
#include "kernel_list.h"

struct running {
    double largest, denominator, *sum;
};

static double score(const struct strata_attention *a, const float *q, size_t p)
{
    const uint16_t *k = a->k + p * a->k_stride;
    double dot = 0;
    for (size_t i = 0; i < a->head_dim; i++)
        dot += (double)q[i] * (double)strata_half_to_float(k[i]);
    return dot * (double)a->scale;
}

/* Takes positions first .. first + n - 1 into the running state. */
static void take_tile(const struct strata_attention *a, struct running *r, const float *q,
                      size_t first, size_t n)
{
    double scores[STRATA_ATTENTION_TILE], largest = r->largest;
    for (size_t p = 0; p < n; p++) {
        scores[p] = score(a, q, first + p);
        largest = scores[p] > largest ? scores[p] : largest;
    }
    double shrink = first ? exp(r->largest - largest) : 0;
    r->largest = largest;
    r->denominator *= shrink;
    for (size_t i = 0; i < a->head_dim; i++)
        r->sum[i] *= shrink;
    for (size_t p = 0; p < n; p++) {
        double weight = exp(scores[p] - largest);
        const uint16_t *v = a->v + (first + p) * a->v_stride;
        r->denominator += weight;
        for (size_t i = 0; i < a->head_dim; i++)
            r->sum[i] += weight * (double)strata_half_to_float(v[i]);
    }
}

void strata_attention_f16_ref(const struct strata_attention *a)
{
    assert(a->tokens * a->heads <= STRATA_ATTENTION_ROWS);
    for (size_t t = 0; t < a->tokens; t++) {
        size_t visible = a->visible[t];
        assert(visible >= 1);
        for (size_t h = 0; h < a->heads; h++) {
            struct running r = {-INFINITY, 0, a->scratch};
            for (size_t i = 0; i < a->head_dim; i++)
                r.sum[i] = 0;
            const float *q = a->q + t * a->q_token_stride + h * a->q_head_stride;
            for (size_t p = 0; p < visible; p += STRATA_ATTENTION_TILE) {
                size_t left = visible - p;
                take_tile(a, &r, q, p, left < STRATA_ATTENTION_TILE ? left : STRATA_ATTENTION_TILE);
            }
            float *out = a->out + t * a->out_token_stride + h * a->out_head_stride;
            for (size_t i = 0; i < a->head_dim; i++)
                out[i] = (float)(r.sum[i] / r.denominator);
        }
    }
}

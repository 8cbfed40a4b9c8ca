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
#include <string.h>

#include "half.h"
#include "kernel_list.h"
#include "tree_mask.h"

struct running {
    double largest, denominator, *sum;
};

/* Element i of a row of keys or values. */
static double element(enum strata_type type, const void *row, size_t i)
{
    if (type == STRATA_TYPE_F32) {
        float value;
        memcpy(&value, (const char *)row + 4 * i, sizeof value);
        return (double)value;
    }
    if (type == STRATA_TYPE_F16) {
        uint16_t half;
        memcpy(&half, (const char *)row + 2 * i, sizeof half);
        return (double)strata_half_to_float(half);
    }
    struct strata_block_q8_0 block;
    memcpy(&block, (const char *)row + i / 32 * sizeof block, sizeof block);
    return (double)(strata_half_to_float(block.d) * (float)block.qs[i % 32]);
}

static double score(const struct strata_attention *a, enum strata_type type, const float *q,
                    size_t p)
{
    const char *k = (const char *)a->k + p * a->k_stride;
    double dot = 0;
    for (size_t i = 0; i < a->head_dim; i++)
        dot += (double)q[i] * element(type, k, i);
    return dot * (double)a->scale;
}

/* Takes those of positions first .. first + n - 1 that token t sees into the running state. */
static void take_tile(const struct strata_attention *a, enum strata_type type, struct running *r,
                      const float *q, size_t t, size_t first, size_t n)
{
    double scores[STRATA_ATTENTION_TILE], largest = r->largest;
    uint64_t hidden = strata_hidden(a, t, first, n);
    for (size_t p = 0; p < n; p++) {
        if (hidden >> p & 1)
            continue;
        scores[p] = score(a, type, q, first + p);
        largest = scores[p] > largest ? scores[p] : largest;
    }
    double shrink = r->denominator > 0 ? exp(r->largest - largest) : 0;
    r->largest = largest;
    r->denominator *= shrink;
    for (size_t i = 0; i < a->head_dim; i++)
        r->sum[i] *= shrink;
    for (size_t p = 0; p < n; p++) {
        if (hidden >> p & 1)
            continue;
        double weight = exp(scores[p] - largest);
        const char *v = (const char *)a->v + (first + p) * a->v_stride;
        r->denominator += weight;
        for (size_t i = 0; i < a->head_dim; i++)
            r->sum[i] += weight * element(type, v, i);
    }
}

static void attention(const struct strata_attention *a, enum strata_type type)
{
    assert(a->tokens * a->heads <= STRATA_ATTENTION_ROWS);
    for (size_t t = 0; t < a->tokens; t++) {
        size_t visible = a->visible[t];
        assert(visible >= 1 && a->window >= 1);
        for (size_t h = 0; h < a->heads; h++) {
            struct running r = {-INFINITY, 0, a->scratch};
            for (size_t i = 0; i < a->head_dim; i++)
                r.sum[i] = 0;
            const float *q = a->q + t * a->q_token_stride + h * a->q_head_stride;
            for (size_t p = visible > a->window ? visible - a->window : 0, n; p < visible; p += n) {
                n = visible - p < STRATA_ATTENTION_TILE ? visible - p : STRATA_ATTENTION_TILE;
                take_tile(a, type, &r, q, t, p, n);
            }
            float *out = a->out + t * a->out_token_stride + h * a->out_head_stride;
            for (size_t i = 0; i < a->head_dim; i++)
                out[i] = (float)(a->largest ? r.sum[i] : r.sum[i] / r.denominator);
            if (a->largest) {
                a->largest[h] = (float)r.largest;
                a->denominator[h] = (float)r.denominator;
            }
        }
    }
}

void strata_attention_F32_ref(const struct strata_attention *a)
{
    attention(a, STRATA_TYPE_F32);
}

void strata_attention_F16_ref(const struct strata_attention *a)
{
    attention(a, STRATA_TYPE_F16);
}

void strata_attention_Q8_0_ref(const struct strata_attention *a)
{
    attention(a, STRATA_TYPE_Q8_0);
}

void strata_attention_merge_ref(const struct strata_attention_parts *a)
{
    double largest = -INFINITY, denominator = 0;
    for (size_t p = 0; p < a->parts; p++)
        largest = (double)a->largest[p] > largest ? (double)a->largest[p] : largest;
    for (size_t p = 0; p < a->parts; p++)
        denominator += exp((double)a->largest[p] - largest) * (double)a->denominator[p];
    for (size_t i = 0; i < a->head_dim; i++) {
        double sum = 0;
        for (size_t p = 0; p < a->parts; p++)
            sum += exp((double)a->largest[p] - largest) * (double)a->sums[p * a->head_dim + i];
        a->out[i] = (float)(sum / denominator);
    }
}

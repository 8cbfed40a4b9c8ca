/* Operations on one vector.  Sums and functions are taken in double and rounded to float once: the
 * exact result in all but rare cases, against which float orders of summation are judged. */
#include <assert.h>
#include <math.h>

#include "kernel_list.h"

void strata_rms_norm_ref(float *y, const float *x, const float *weight, size_t n, float eps)
{
    assert(n > 0);
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (double)x[i] * (double)x[i];
    double factor = 1 / sqrt(squares / (double)n + (double)eps);
    for (size_t i = 0; i < n; i++)
        y[i] = (float)((double)x[i] * factor * (double)weight[i]);
}

void strata_layer_norm_ref(float *y, const float *x, const float *weight, const float *bias,
                           size_t n, float eps)
{
    assert(n > 0);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i];
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    double factor = 1 / sqrt(squares / (double)n + (double)eps);
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(((double)x[i] - mean) * factor * (double)weight[i] + (double)bias[i]);
}

void strata_gelu_ref(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (float)((double)x[i] * (erfc(-(double)x[i] * M_SQRT1_2) / 2));
}

void strata_softmax_ref(float *x, size_t n)
{
    assert(n > 0);
    double largest = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        largest = (double)x[i] > largest ? (double)x[i] : largest;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)x[i] - largest);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(exp((double)x[i] - largest) / sum);
}

void strata_silu_mul_ref(float *y, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double g = gate[i];
        y[i] = (float)(g / (1 + exp(-g)) * (double)up[i]);
    }
}

void strata_add_ref(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

size_t strata_argmax_ref(const float *x, size_t n)
{
    assert(n > 0);
    size_t best = n;
    for (size_t i = 0; i < n; i++)
        if (!isnan(x[i]) && (best == n || x[i] > x[best]))
            best = i;
    return best == n ? 0 : best;
}

/* The order of top_k: greater first, NaN last, the lower index first among equals. */
static int precedes(const float *x, int32_t a, int32_t b)
{
    if (isnan(x[a]) || isnan(x[b])) {
        if (isnan(x[a]) && isnan(x[b]))
            return a < b;
        return isnan(x[b]);
    }
    return x[a] > x[b] || (x[a] == x[b] && a < b);
}

/* Restores, from `at` down, a heap whose root comes last in the order. */
static void sift_down(int32_t *heap, size_t n, size_t at, const float *x)
{
    for (;;) {
        size_t last = at, left = 2 * at + 1;
        for (size_t child = left; child < n && child <= left + 1; child++)
            if (precedes(x, heap[last], heap[child]))
                last = child;
        if (last == at)
            return;
        int32_t moved = heap[at];
        heap[at] = heap[last];
        heap[last] = moved;
        at = last;
    }
}

void strata_top_k_ref(int32_t *index, const float *x, size_t n, size_t k)
{
    assert(1 <= k && k <= n && n < (size_t)1 << 31);
    for (size_t i = 0; i < k; i++)
        index[i] = (int32_t)i;
    for (size_t i = k; i-- > 0;)
        sift_down(index, k, i, x);
    for (size_t i = k; i < n; i++)
        if (precedes(x, (int32_t)i, index[0])) {
            index[0] = (int32_t)i;
            sift_down(index, k, 0, x);
        }
    for (size_t left = k; left-- > 1;) { /* heap sort: the last of the order goes to the end */
        int32_t moved = index[0];
        index[0] = index[left];
        index[left] = moved;
        sift_down(index, left, 0, x);
    }
}

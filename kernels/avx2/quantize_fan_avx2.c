/* Eight candidates for the scale and offset of a run, one in each lane: see quantize_fit.h.
 *
 * An element and its weight are broadcast, and each lane rounds the element by its own scale, so
 * nothing is added across lanes.  Levels of a table are found by four comparisons: each one's
 * threshold is looked up (vpermps) by the bits that those before it gave. */
#include "quantize_fit.h"
#include "vec_avx2.h"

struct sums {
    __m256 scale, offset, error, wl, wll, wxl;
};

STRATA_INLINE void add_element(struct sums *s, __m256 l, __m256 x, __m256 w)
{
    const __m256 e = _mm256_sub_ps(_mm256_sub_ps(x, _mm256_mul_ps(l, s->scale)), s->offset);
    const __m256 p = _mm256_mul_ps(w, l);
    s->error = _mm256_add_ps(s->error, _mm256_mul_ps(_mm256_mul_ps(w, e), e));
    s->wl = _mm256_add_ps(s->wl, p);
    s->wll = _mm256_add_ps(s->wll, _mm256_mul_ps(p, l));
    s->wxl = _mm256_add_ps(s->wxl, _mm256_mul_ps(p, x));
}

/* Index so far, doubled, plus 1 where v is above the threshold (a mask is -1). */
STRATA_INLINE __m256i next_bit(__m256i index, __m256 v, __m256 threshold)
{
    const __m256i above = _mm256_castps_si256(_mm256_cmp_ps(v, threshold, _CMP_GT_OQ));
    return _mm256_sub_epi32(_mm256_add_epi32(index, index), above);
}

#define MIDDLE(k) (value[k] + value[(k) + 1]) * 0.5f

STRATA_INLINE void fit_table(struct sums *s, const float *x, const float *w, int n, __m256 inverse)
{
    static const float value[16] = {STRATA_IQ4_VALUES};
    const __m256 second = _mm256_setr_ps(MIDDLE(3), MIDDLE(11), 0, 0, 0, 0, 0, 0);
    const __m256 third = _mm256_setr_ps(MIDDLE(1), MIDDLE(5), MIDDLE(9), MIDDLE(13), 0, 0, 0, 0);
    const __m256 fourth = _mm256_setr_ps(MIDDLE(0), MIDDLE(2), MIDDLE(4), MIDDLE(6), MIDDLE(8),
                                         MIDDLE(10), MIDDLE(12), MIDDLE(14));
    const __m256 low = _mm256_loadu_ps(value), high = _mm256_loadu_ps(value + 8);
    for (int i = 0; i < n; i++) {
        const __m256 xi = _mm256_broadcast_ss(x + i), v = _mm256_mul_ps(xi, inverse);
        __m256i k = next_bit(_mm256_setzero_si256(), v, _mm256_set1_ps(MIDDLE(7)));
        k = next_bit(k, v, _mm256_permutevar8x32_ps(second, k));
        k = next_bit(k, v, _mm256_permutevar8x32_ps(third, k));
        k = next_bit(k, v, _mm256_permutevar8x32_ps(fourth, k));
        const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(k, 28));
        const __m256 l = _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, k),
                                          _mm256_permutevar8x32_ps(high, k), upper);
        add_element(s, l, xi, _mm256_broadcast_ss(w + i));
    }
}

STRATA_INLINE void fit_integers(struct sums *s, const struct strata_lattice *lattice,
                                const float *x, const float *w, __m256 inverse)
{
    const __m256 lo = _mm256_set1_ps(lattice->lo), hi = _mm256_set1_ps(lattice->hi);
    for (int i = 0; i < lattice->sub; i++) {
        const __m256 xi = _mm256_broadcast_ss(x + i);
        __m256 v = _mm256_mul_ps(_mm256_sub_ps(xi, s->offset), inverse);
        v = _mm256_min_ps(_mm256_max_ps(v, lo), hi);
        const __m256 l = _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        add_element(s, l, xi, _mm256_broadcast_ss(w + i));
    }
}

void strata_fan_fit_avx2(struct strata_fan *fan, const struct strata_lattice *lattice,
                         const struct strata_run *run)
{
    struct sums s = {.scale = _mm256_loadu_ps(fan->scale), .offset = _mm256_loadu_ps(fan->offset)};
    s.error = s.wl = s.wll = s.wxl = _mm256_setzero_ps();
    const __m256 magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), s.scale);
    const __m256 tiny = _mm256_cmp_ps(magnitude, _mm256_set1_ps(0x1p-100f), _CMP_LT_OQ);
    const __m256 inverse = _mm256_andnot_ps(tiny, _mm256_div_ps(_mm256_set1_ps(1), s.scale));
    if (lattice->table)
        fit_table(&s, run->x, run->w, lattice->sub, inverse);
    else
        fit_integers(&s, lattice, run->x, run->w, inverse);
    _mm256_storeu_ps(fan->error, s.error);
    _mm256_storeu_ps(fan->wl, s.wl);
    _mm256_storeu_ps(fan->wll, s.wll);
    _mm256_storeu_ps(fan->wxl, s.wxl);
}

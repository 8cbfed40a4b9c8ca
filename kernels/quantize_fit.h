/* What a search over the scales of a block is made of: rounding a run of elements to levels with a
 * given scale and offset, the error, and the least squares that lead to better ones; for eight
 * candidates at a time, one in each lane of a vector.
 *
 * With levels l (integers, or values of a table) a run is x ~ scale * l + offset.  For given levels
 * the error is a parabola in scale and offset, so one pass gives the error at its own scale and, by
 * the sums it collects, the best scale for its levels and the error there; rounding and solving in
 * turn is the classical alternation (Lloyd 1982), which never gets worse.
 *
 * Candidates in lanes, and not elements: sums over elements then need no order of their own, there
 * is no adding up across a vector, and solving is done for eight at once.  (Elements in lanes, the
 * first version, took 2.5 times as long.)
 */
#ifndef STRATA_QUANTIZE_FIT_H
#define STRATA_QUANTIZE_FIT_H

#include "packed.h"

#define STRATA_FAN 8

/* Scales and offsets with the errors that they give, and the sums of w * l, w * l * l, w * x * l
 * for the levels that were nearest. */
struct strata_fan {
    float scale[STRATA_FAN], offset[STRATA_FAN], error[STRATA_FAN];
    float wl[STRATA_FAN], wll[STRATA_FAN], wxl[STRATA_FAN];
};

struct strata_lattice;
struct strata_run;

/* Sets error and sums at the fan's scales and offsets: for each lane, over the elements in order,
 * inverse = 1 / scale (0 when |scale| < 2^-100), l = the level nearest to (x - offset) * inverse, e
 * = (x - l * scale) - offset, error += w * e * e, wl += w * l, wll += w * l * l, wxl += w * l * x,
 * products from left to right.  Integer levels: rounded to nearest even after clamping; of a table,
 * the lower one at equal distance, and the offset counts as 0 for l.  Bit-exact at all levels. */
typedef void strata_fan_fit_fn(struct strata_fan *fan, const struct strata_lattice *lattice,
                               const struct strata_run *run);
strata_fan_fit_fn strata_fan_fit_ref, strata_fan_fit_avx2;

/* What the levels of a type can be, and the integers of its scales. */
struct strata_lattice {
    float lo, hi;             /* of a level */
    float power;              /* a level that is a power of two */
    int sub;                  /* elements of a run: 16 or 32 */
    int bias;                 /* stored quant = level + bias (not with a table) */
    bool offset, table;       /* as struct strata_packed_format */
    bool below;               /* the offset is never above 0, the scale never below (K types) */
    int factor_lo, factor_hi; /* K types */
    int minor_hi;             /* K types with an offset */
    strata_fan_fit_fn *fit;   /* the kernel to use */
};

/* A run: its elements, brought near 1 by a power of two, and their weights. */
struct strata_run {
    const float *x, *w;
    float least, most;
    float sw, swx; /* sums of w and w * x */
};

/* A lane of a fan. */
struct strata_fit {
    float scale, offset, error;
    float wl, wll, wxl;
};

/* Moves to the best scale and offset for the levels of the fit, and sets the error there; lanes
 * whose best scale the lattice does not allow stay. */
void strata_fan_solve(struct strata_fan *fan, const struct strata_lattice *lattice,
                      const struct strata_run *run);

/* Returns the lane with the smallest error, the first among equals. */
static inline int strata_fan_best(const struct strata_fan *fan)
{
    int best = 0;
    for (int c = 1; c < STRATA_FAN; c++)
        best = fan->error[c] < fan->error[best] ? c : best;
    return best;
}

static inline struct strata_fit strata_fan_lane(const struct strata_fan *fan, int c)
{
    return (struct strata_fit){fan->scale[c], fan->offset[c], fan->error[c],
                               fan->wl[c],    fan->wll[c],    fan->wxl[c]};
}

/* Sums and extremes of a run. */
void strata_run_open(struct strata_run *run, const struct strata_lattice *lattice, const float *x,
                     const float *w);

/* Scale and offset by the extremes alone; error and sums are not set. */
struct strata_fit strata_fit_simple(const struct strata_lattice *lattice,
                                    const struct strata_run *run);

/* Scale and offset by which a run of equal elements is exact, as long as binary16 can hold them. */
struct strata_fit strata_fit_constant(const struct strata_lattice *lattice,
                                      const struct strata_run *run);

/* The best scale and offset for a run, not rounded to what the type can store. */
struct strata_fit strata_fit_search(const struct strata_lattice *lattice,
                                    const struct strata_run *run);

/* The stored quants of a run with this scale and offset. */
void strata_fit_store(uint8_t *q, const struct strata_lattice *lattice, const float *x, float scale,
                      float offset);

/* The binary16 nearest to value / unit, within its finite range; and back. */
uint16_t strata_fit_to_half(float value, float unit);
float strata_fit_from_half(uint16_t half, float unit);

/* Chooses all scales of a block of one run, or of a K type's 256 elements, and writes the parts;
 * `unit` is what the elements were multiplied by.  x and w are of the whole block. */
void strata_fit_block(struct strata_block_parts *parts, const struct strata_lattice *lattice,
                      const float *x, const float *w, float unit);
void strata_fit_super(struct strata_block_parts *parts, const struct strata_lattice *lattice,
                      const float *x, const float *w, float unit);

#endif

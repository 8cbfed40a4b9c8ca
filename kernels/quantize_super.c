/* The scales of K types: 256 elements in runs of 16 or 32, whose scales (and offsets) are small
 * integers times one (two) of the block's.
 *
 * Each run has its own best scale; the block's scale makes integers of them, and the integers
 * around the nearest are tried with the levels chosen anew.  Then the block's scales are solved for
 * all integers at once (least squares in two unknowns) and the runs placed anew.  This is done for
 * a few of the block's scales, and the best is kept. */
#include <math.h>

#include "half.h"
#include "quantize_fit.h"

#define RUNS_MAX 16
#define REFITS 2

/* The block's scale by which the largest run's gets its largest integer, and others near it. */
static const float super_reach[] = {1, 0.965f, 1.04f};
#define N_SUPERS ((int)(sizeof super_reach / sizeof *super_reach))

struct super {
    const struct strata_lattice *lattice;
    float unit;
    int n_runs;
    struct strata_run run[RUNS_MAX];
    struct strata_fit fit[RUNS_MAX]; /* the best of each run alone */
};

/* All scales of a block, as stored, with the error and what the refit needs. */
struct chosen {
    uint16_t d, m;
    int factor[RUNS_MAX], minor[RUNS_MAX];
    struct strata_fit fit[RUNS_MAX];
    float error;
};

static int clamp(int value, int low, int high)
{
    return value < low ? low : value > high ? high : value;
}

static int nearest(float value, float unit, int low, int high)
{
    float q = unit != 0 ? value / unit : 0;
    return (int)lrintf(q < (float)low ? (float)low : q > (float)high ? (float)high : q);
}

/* Finds the integers of run j for the block's scales d and m, near the fit `from`. */
static void place(const struct super *s, struct chosen *out, int j, const struct strata_fit *from,
                  float d, float m)
{
    const struct strata_lattice *lattice = s->lattice;
    const struct strata_run *run = &s->run[j];
    int centre = nearest(from->scale, d, lattice->factor_lo, lattice->factor_hi);
    int factor[STRATA_FAN], minor[STRATA_FAN] = {0};
    struct strata_fan fan = {0};
    for (int c = 0; c < STRATA_FAN; c++) {
        factor[c] = clamp(centre + c - STRATA_FAN / 2, lattice->factor_lo, lattice->factor_hi);
        fan.scale[c] = d * (float)factor[c];
        fan.offset[c] = from->offset;
    }
    if (lattice->offset) {
        lattice->fit(&fan, lattice, run);
        for (int c = 0; c < STRATA_FAN; c++) {
            float below = (fan.scale[c] * fan.wl[c] - run->swx) / run->sw;
            minor[c] = nearest(below, m, 0, lattice->minor_hi);
            fan.offset[c] = -(m * (float)minor[c]);
        }
    }
    lattice->fit(&fan, lattice, run);
    int c = strata_fan_best(&fan);
    out->fit[j] = strata_fan_lane(&fan, c);
    out->factor[j] = factor[c];
    out->minor[j] = minor[c];
}

static void place_all(const struct super *s, struct chosen *out, const struct strata_fit *from)
{
    float d = strata_fit_from_half(out->d, s->unit), m = strata_fit_from_half(out->m, s->unit);
    out->error = 0;
    for (int j = 0; j < s->n_runs; j++) {
        place(s, out, j, &from[j], d, m);
        out->error += out->fit[j].error;
    }
}

/* The block's scales that are best for the integers chosen. */
static void refit(const struct super *s, struct chosen *c)
{
    float a = 0, b = 0, g = 0, p = 0, q = 0; /* [a b; b g] (d, m) = (p, q) */
    for (int j = 0; j < s->n_runs; j++) {
        float factor = (float)c->factor[j], minor = -(float)c->minor[j];
        a += factor * factor * c->fit[j].wll;
        b += factor * minor * c->fit[j].wl;
        g += minor * minor * s->run[j].sw;
        p += factor * c->fit[j].wxl;
        q += minor * s->run[j].swx;
    }
    float d = a > 0 ? p / a : 0, m = 0, det = a * g - b * b;
    if (s->lattice->offset && det > a * g * 1e-6f) {
        d = (p * g - q * b) / det;
        m = (a * q - b * p) / det;
    }
    if (s->lattice->offset && (m < 0 || d < 0))
        return;
    c->d = strata_fit_to_half(d, s->unit);
    c->m = strata_fit_to_half(m, s->unit);
}

/* Places the runs for the block's scales in `first`, and keeps that when it is better. */
static void try_super(const struct super *s, struct chosen *best, struct chosen first,
                      const struct strata_fit *from)
{
    place_all(s, &first, from);
    if (first.error < best->error)
        *best = first;
}

/* Solves for the block's scales and places the runs anew, while that gains. */
static void improve(const struct super *s, struct chosen *best)
{
    for (int i = 0; i < REFITS; i++) {
        struct chosen next = *best;
        refit(s, &next);
        if (next.d == best->d && next.m == best->m)
            return;
        place_all(s, &next, best->fit);
        if (!(next.error < best->error))
            return;
        *best = next;
    }
}

/* The run with the largest scale, and the largest offset, of the fits. */
static void largest(const struct super *s, const struct strata_fit *fit, float *scale, float *minor)
{
    *scale = *minor = 0;
    for (int j = 0; j < s->n_runs; j++) {
        if (fabsf(fit[j].scale) > fabsf(*scale))
            *scale = fit[j].scale;
        if (-fit[j].offset > *minor)
            *minor = -fit[j].offset;
    }
}

/* The binary16 of a block's scale; the smallest of its sign where that would be 0. */
static uint16_t some_half(float value, float unit)
{
    uint16_t half = strata_fit_to_half(value, unit);
    return (half & 0x7fff) == 0 && value != 0 ? half | 1 : half;
}

static void try_supers(const struct super *s, struct chosen *best, const struct strata_fit *from,
                       int n)
{
    const struct strata_lattice *lattice = s->lattice;
    float scale, minor;
    largest(s, from, &scale, &minor);
    int top = lattice->factor_lo < 0 ? lattice->factor_lo : lattice->factor_hi;
    for (int i = 0; i < n; i++) {
        struct chosen first;
        first.d = some_half(scale / (float)top * super_reach[i], s->unit);
        first.m = 0;
        if (lattice->offset)
            first.m = some_half(minor / (float)lattice->minor_hi * super_reach[i], s->unit);
        try_super(s, best, first, from);
    }
}

/* For a block of equal elements: integers that are powers of two. */
static void try_constant(const struct super *s, struct chosen *best)
{
    const struct strata_lattice *lattice = s->lattice;
    struct strata_fit fit[RUNS_MAX];
    struct chosen first;
    for (int j = 0; j < s->n_runs; j++) {
        if (s->run[j].least != s->run[0].most || s->run[j].most != s->run[0].most)
            return;
        fit[j] = strata_fit_constant(lattice, &s->run[0]);
    }
    int factor = lattice->factor_lo < 0 ? lattice->factor_lo : (lattice->factor_hi + 1) / 2;
    first.d = strata_fit_to_half(fit[0].scale / (float)factor, s->unit);
    first.m = 0;
    if (lattice->offset)
        first.m = strata_fit_to_half(-fit[0].offset * 2 / (float)(lattice->minor_hi + 1), s->unit);
    try_super(s, best, first, fit);
}

void strata_fit_super(struct strata_block_parts *parts, const struct strata_lattice *lattice,
                      const float *x, const float *w, float unit)
{
    struct super s = {.lattice = lattice, .unit = unit, .n_runs = 256 / lattice->sub};
    struct strata_fit simple[RUNS_MAX];
    struct chosen best = {.error = INFINITY};
    for (int j = 0; j < s.n_runs; j++) {
        strata_run_open(&s.run[j], lattice, x + j * lattice->sub, w + j * lattice->sub);
        s.fit[j] = strata_fit_search(lattice, &s.run[j]);
        simple[j] = strata_fit_simple(lattice, &s.run[j]);
    }
    try_supers(&s, &best, s.fit, N_SUPERS);
    try_supers(&s, &best, simple, 1);
    try_constant(&s, &best);
    improve(&s, &best);
    parts->d = best.d;
    parts->m = best.m;
    for (int j = 0; j < s.n_runs; j++) {
        parts->factor[j] = (int8_t)best.factor[j];
        parts->minor[j] = (uint8_t)best.minor[j];
        strata_fit_store(parts->q + j * lattice->sub, lattice, x + j * lattice->sub,
                         best.fit[j].scale, best.fit[j].offset);
    }
}

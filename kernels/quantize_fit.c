/* The search for the scale and offset of one run of elements, and blocks of one run.
 *
 * Rounding makes the error as a function of the scale ragged, with many minima, so the search
 * starts from a fan of scales around the one that the extremes give (the largest element some
 * fraction of a level beyond or before the last one), alternates from each, and keeps the best. */
#include "quantize_fit.h"

#include <math.h>

#include "half.h"

#define ALTERNATIONS 2

/* Levels by which the largest element of a run may lie beyond the last one; of tables, shares of
 * the last one. */
static const float symmetric_reach[STRATA_FAN] = {0,     -0.75f, -0.5f, -0.25f,
                                                  0.25f, 0.5f,   0.8f,  1.4f};
/* With an offset: at the upper end, and at the lower one. */
static const float upper_reach[][STRATA_FAN] = {{0, -0.6f, -0.3f, 0.25f, 0.5f, 0.8f, 1.2f, 1.8f},
                                                {0.6f, 0, 1.2f, -0.3f, 2, 0, 1, 3}};
static const float lower_reach[][STRATA_FAN] = {{0},
                                                {0.6f, 1.2f, 1.2f, -0.3f, 2, 2.5f, 0.3f, 0.5f}};
static const float table_reach[STRATA_FAN] = {1, 0.94f, 0.88f, 0.82f, 0.76f, 0.97f, 1.06f, 1.13f};

uint16_t strata_fit_to_half(float value, float unit)
{
    float v = value / unit;
    v = v > 65504 ? 65504 : v < -65504 ? -65504 : v;
    return strata_float_to_half(v);
}

float strata_fit_from_half(uint16_t half, float unit)
{
    return strata_half_to_float(half) * unit;
}

/* The element of the largest magnitude; the least and most that a scale with an offset has to
 * reach. */
static float largest_of(const struct strata_run *run)
{
    return run->most > -run->least ? run->most : run->least;
}

static float least_of(const struct strata_lattice *lattice, const struct strata_run *run)
{
    return lattice->below && run->least > 0 ? 0 : run->least;
}

static float span_of(const struct strata_lattice *lattice, const struct strata_run *run)
{
    float span = run->most - least_of(lattice, run);
    return span > 0 ? span : 0;
}

struct strata_fit strata_fit_simple(const struct strata_lattice *lattice,
                                    const struct strata_run *run)
{
    if (lattice->offset)
        return (struct strata_fit){.scale = span_of(lattice, run) / lattice->hi,
                                   .offset = least_of(lattice, run)};
    return (struct strata_fit){.scale = largest_of(run) / lattice->lo};
}

struct strata_fit strata_fit_constant(const struct strata_lattice *lattice,
                                      const struct strata_run *run)
{
    if (lattice->offset && (run->most < 0 || !lattice->below))
        return (struct strata_fit){.offset = run->most};
    return (struct strata_fit){.scale = run->most / lattice->power};
}

/* Alternates from the fan's scales and offsets; keeps the best in *best. */
static void alternate(struct strata_fit *best, struct strata_fan *fan,
                      const struct strata_lattice *lattice, const struct strata_run *run)
{
    for (int i = 0; i < ALTERNATIONS; i++) {
        lattice->fit(fan, lattice, run);
        strata_fan_solve(fan, lattice, run);
    }
    int c = strata_fan_best(fan);
    if (fan->error[c] < best->error)
        *best = strata_fan_lane(fan, c);
}

struct strata_fit strata_fit_search(const struct strata_lattice *lattice,
                                    const struct strata_run *run)
{
    struct strata_fit best = {.error = INFINITY};
    struct strata_fan fan = {0};
    if (lattice->offset) {
        for (int i = 0; i < 2; i++) {
            for (int c = 0; c < STRATA_FAN; c++) {
                float lower = lower_reach[i][c], levels = lattice->hi + lower + upper_reach[i][c];
                fan.scale[c] = span_of(lattice, run) / levels;
                fan.offset[c] = least_of(lattice, run) + lower * fan.scale[c];
            }
            alternate(&best, &fan, lattice, run);
        }
        return best;
    }
    float largest = largest_of(run);
    for (int side = 0; side < 2; side++) {
        float last = side ? lattice->hi : lattice->lo, outward = side ? 1 : -1;
        for (int c = 0; c < STRATA_FAN; c++) {
            fan.offset[c] = 0;
            fan.scale[c] = lattice->table ? largest / last * table_reach[c]
                                          : largest / (last + outward * symmetric_reach[c]);
        }
        alternate(&best, &fan, lattice, run);
    }
    return best;
}

void strata_fit_store(uint8_t *q, const struct strata_lattice *lattice, const float *x, float scale,
                      float offset)
{
    static const float value[16] = {STRATA_IQ4_VALUES};
    float magnitude = scale < 0 ? -scale : scale;
    float inverse = magnitude < 1e-30f ? 0 : 1 / scale, lo = lattice->lo, hi = lattice->hi;
    for (int i = 0; i < lattice->sub; i++) {
        float v = (x[i] - offset) * inverse;
        int index = 0;
        if (lattice->table) {
            while (index < 15 && v > (value[index] + value[index + 1]) * 0.5f)
                index++;
        } else {
            v = v < lo ? lo : v > hi ? hi : v;
            index = (int)((v + 0x1.8p23f) - 0x1.8p23f) + lattice->bias;
        }
        q[i] = (uint8_t)index;
    }
}

/* ---- blocks of one run ---- */

struct stored {
    uint16_t d, m;
    struct strata_fit fit;
};

/* Tries the eight scales around that of `from`, with the best offset for each. */
static void try_around(struct stored *best, const struct strata_lattice *lattice,
                       const struct strata_run *run, const struct strata_fit *from, float unit)
{
    uint16_t d[STRATA_FAN], m[STRATA_FAN] = {0};
    struct strata_fan fan = {0};
    uint16_t centre = strata_fit_to_half(from->scale, unit);
    for (int c = 0; c < STRATA_FAN; c++) {
        int magnitude = (centre & 0x7fff) + c - STRATA_FAN / 2;
        magnitude = magnitude < 0 ? 0 : magnitude > 0x7bff ? 0x7bff : magnitude;
        d[c] = (uint16_t)((centre & 0x8000) | magnitude);
        fan.scale[c] = strata_fit_from_half(d[c], unit);
        fan.offset[c] = from->offset;
    }
    if (lattice->offset) {
        lattice->fit(&fan, lattice, run);
        for (int c = 0; c < STRATA_FAN; c++) {
            m[c] = strata_fit_to_half((run->swx - fan.scale[c] * fan.wl[c]) / run->sw, unit);
            fan.offset[c] = strata_fit_from_half(m[c], unit);
        }
    }
    lattice->fit(&fan, lattice, run);
    int c = strata_fan_best(&fan);
    if (fan.error[c] < best->fit.error)
        *best = (struct stored){d[c], m[c], strata_fan_lane(&fan, c)};
}

void strata_fit_block(struct strata_block_parts *parts, const struct strata_lattice *lattice,
                      const float *x, const float *w, float unit)
{
    struct strata_run run;
    struct stored best = {.fit.error = INFINITY};
    strata_run_open(&run, lattice, x, w);
    struct strata_fit simple = strata_fit_simple(lattice, &run);
    struct strata_fit fit = strata_fit_search(lattice, &run);
    try_around(&best, lattice, &run, &simple, unit);
    try_around(&best, lattice, &run, &fit, unit);
    if (run.least == run.most) {
        fit = strata_fit_constant(lattice, &run);
        try_around(&best, lattice, &run, &fit, unit);
    }
    parts->d = best.d;
    parts->m = best.m;
    strata_fit_store(parts->q, lattice, x, best.fit.scale, best.fit.offset);
}

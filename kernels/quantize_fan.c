/* Runs of elements, and the least squares of a fan. */
#include "quantize_fit.h"

/* The best scale and offset of one lane for its levels. */
static void solve_lane(const struct strata_fan *f, int c, const struct strata_lattice *lattice,
                       const struct strata_run *run, float *scale, float *offset)
{
    float wl = f->wl[c], wll = f->wll[c], wxl = f->wxl[c];
    float alone = wll > 0 ? wxl / wll : 0; /* without an offset */
    *scale = alone;
    *offset = 0;
    if (!lattice->offset)
        return;
    float det = run->sw * wll - wl * wl;
    bool good = det > run->sw * wll * 1e-6f; /* else all levels are alike */
    *scale = good ? (run->sw * wxl - run->swx * wl) / det : f->scale[c];
    *offset = good ? (wll * run->swx - wl * wxl) / det : (run->swx - f->scale[c] * wl) / run->sw;
    if (lattice->below && *offset > 0) {
        *offset = 0;
        *scale = alone;
    }
    if (lattice->below && *scale < 0) {
        *scale = f->scale[c];
        *offset = f->offset[c];
    }
}

void strata_fan_solve(struct strata_fan *f, const struct strata_lattice *lattice,
                      const struct strata_run *run)
{
    for (int c = 0; c < STRATA_FAN; c++) {
        float scale, offset;
        solve_lane(f, c, lattice, run, &scale, &offset);
        /* error(old) - error(new): the parabola, and the slope at the new place, which is not 0
         * where the offset was kept from going above 0. */
        float ds = scale - f->scale[c], dm = offset - f->offset[c];
        float gain = ds * ds * f->wll[c];
        gain += 2 * ds * (f->wxl[c] - scale * f->wll[c] - offset * f->wl[c]);
        if (lattice->offset)
            gain += 2 * ds * dm * f->wl[c] + dm * dm * run->sw +
                    2 * dm * (run->swx - scale * f->wl[c] - offset * run->sw);
        f->scale[c] = scale;
        f->offset[c] = offset;
        f->error[c] -= gain;
    }
}

void strata_run_open(struct strata_run *run, const struct strata_lattice *lattice, const float *x,
                     const float *w)
{
    *run = (struct strata_run){.x = x, .w = w};
    float least[STRATA_FAN], most[STRATA_FAN], sw[STRATA_FAN] = {0}, swx[STRATA_FAN] = {0};
    for (int c = 0; c < STRATA_FAN; c++)
        least[c] = most[c] = x[c];
    for (int i = 0; i < lattice->sub; i += STRATA_FAN)
        for (int c = 0; c < STRATA_FAN; c++) {
            least[c] = x[i + c] < least[c] ? x[i + c] : least[c];
            most[c] = x[i + c] > most[c] ? x[i + c] : most[c];
            sw[c] += w[i + c];
            swx[c] += w[i + c] * x[i + c];
        }
    run->least = least[0];
    run->most = most[0];
    for (int c = 0; c < STRATA_FAN; c++) {
        run->least = least[c] < run->least ? least[c] : run->least;
        run->most = most[c] > run->most ? most[c] : run->most;
        run->sw += sw[c];
        run->swx += swx[c];
    }
}

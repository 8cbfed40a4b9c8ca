/* Eight candidates for the scale and offset of a run: see quantize_fit.h. */
#include "quantize_fit.h"

static float level_of(const struct strata_lattice *lattice, float x, float offset, float inverse)
{
    static const float value[16] = {STRATA_IQ4_VALUES};
    if (lattice->table) {
        int k = 0;
        while (k < 15 && x * inverse > (value[k] + value[k + 1]) * 0.5f)
            k++;
        return value[k];
    }
    float v = (x - offset) * inverse;
    v = v < lattice->lo ? lattice->lo : v;
    v = v > lattice->hi ? lattice->hi : v;
    return (v + 0x1.8p23f) - 0x1.8p23f; /* to the nearest integer */
}

void strata_fan_fit_ref(struct strata_fan *fan, const struct strata_lattice *lattice,
                        const struct strata_run *run)
{
    for (int c = 0; c < STRATA_FAN; c++) {
        float scale = fan->scale[c], offset = fan->offset[c];
        float magnitude = scale < 0 ? -scale : scale;
        float inverse = magnitude < 0x1p-100f ? 0 : 1 / scale;
        float error = 0, wl = 0, wll = 0, wxl = 0;
        for (int i = 0; i < lattice->sub; i++) {
            float x = run->x[i], w = run->w[i], l = level_of(lattice, x, offset, inverse);
            float e = (x - l * scale) - offset;
            error += w * e * e;
            wl += w * l;
            wll += w * l * l;
            wxl += w * l * x;
        }
        fan->error[c] = error;
        fan->wl[c] = wl;
        fan->wll[c] = wll;
        fan->wxl[c] = wxl;
    }
}

/* What a layer consists of in memory. */
#include "residency.h"

static size_t round_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static void add_part(struct strata__weight_part *parts, size_t *n, const void **address,
                     size_t bytes)
{
    if (*address)
        parts[(*n)++] = (struct strata__weight_part){address, bytes};
}

static size_t product_bytes(const struct strata__product *product)
{
    const struct strata__tensor *weight = product->weight;
    size_t panels = (weight->rows + STRATA_PANEL_ROWS - 1) / STRATA_PANEL_ROWS;
    if (product->panels)
        return panels * strata_panel_bytes(product->type, weight->shape[0]);
    return weight->rows * weight->row_bytes;
}

size_t strata__step_parts(const struct strata_model *model, struct strata__step *step,
                          struct strata__weight_part *parts)
{
    size_t columns = step->products ? step->product[0].weight->shape[0] : model->hp.embedding;
    size_t n = 0, width = columns * sizeof(float), head = model->hp.head_dim * sizeof(float);
    add_part(parts, &n, (const void **)&step->prelude.weight, width);
    add_part(parts, &n, (const void **)&step->prelude.bias, width);
    add_part(parts, &n, (const void **)&step->prelude.addend, width);
    add_part(parts, &n, (const void **)&step->q_norm, head);
    add_part(parts, &n, (const void **)&step->k_norm, head);
    for (unsigned i = 0; i < step->products; i++) {
        struct strata__product *product = &step->product[i];
        const void **weights = (const void **)(product->panels ? &product->panels : &product->rows);
        add_part(parts, &n, weights, product_bytes(product));
        add_part(parts, &n, (const void **)&product->bias, product->weight->rows * sizeof(float));
    }
    return n;
}

uint64_t strata__steps_bytes(const struct strata_model *model, const struct strata__step *steps,
                             size_t count)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        struct strata__step step = steps[i];
        struct strata__weight_part parts[STRATA__STEP_PARTS];
        size_t n = strata__step_parts(model, &step, parts);
        for (size_t p = 0; p < n; p++)
            bytes += round_up(parts[p].bytes);
    }
    return bytes;
}

/* The meaning of a block's integers; the formulas are those of block_formats.h. */
#include "decode_ref.h"

#include "half.h"

void strata_decode_ref(enum strata_type type, struct strata_decoded *out,
                       const struct strata_block_parts *parts)
{
    static const int8_t values[16] = {STRATA_IQ4_VALUES};
    const struct strata_packed_format f = strata_packed_format(type);
    float d = strata_half_to_float(parts->d);
    float m = f.offset ? strata_half_to_float(parts->m) : 0;
    for (int g = 0; g < f.block_elems / 16; g++) {
        int j = g * 16 / f.sub;
        out->scale[g] = f.k_type ? d * (float)parts->factor[j] : d;
        out->offset[g] = !f.offset ? 0 : f.k_type ? -(m * (float)parts->minor[j]) : m;
    }
    for (int i = 0; i < f.block_elems; i++) {
        uint8_t q = parts->q[i];
        out->q[i] = f.table ? values[q] : f.bits == 8 ? (int8_t)q : (int8_t)(q - f.bias);
    }
}

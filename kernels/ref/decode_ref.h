/* Quantised blocks as numbers: what the integers of a block (packed.h) stand for.
 *
 * A decoded block is a run of integers with a scale and an offset for every 16 of them:
 * element i is scale[i / 16] * q[i] + offset[i / 16].  Scales and offsets are exact in float (a
 * binary16 number times an integer of at most 8 bits has at most 19 significant bits), and so is
 * scale * q; only adding a non-zero offset rounds. */
#ifndef STRATA_DECODE_REF_H
#define STRATA_DECODE_REF_H

#include "kernels.h"
#include "packed.h"

#define STRATA_DECODED_MAX 256
struct strata_decoded {
    int8_t q[STRATA_DECODED_MAX];
    float scale[STRATA_DECODED_MAX / 16];
    float offset[STRATA_DECODED_MAX / 16]; /* 0 for types without offset */
};

void strata_decode_ref(enum strata_type type, struct strata_decoded *out,
                       const struct strata_block_parts *parts);

#endif

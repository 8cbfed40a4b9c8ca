/* Quantised blocks taken apart: the one place where the reference knows how a block type is packed.
 *
 * A decoded block is a run of integers with a scale and an offset for every 16 of them:
 * element i is scale[i / 16] * q[i] + offset[i / 16].  Scales and offsets are exact in float (a
 * binary16 number times an integer of at most 8 bits has at most 19 significant bits), and so is
 * scale * q; only adding a non-zero offset rounds. */
#ifndef STRATA_DECODE_REF_H
#define STRATA_DECODE_REF_H

#include "kernels.h"

#define STRATA_DECODED_MAX 256
struct strata_decoded {
    int8_t q[STRATA_DECODED_MAX];
    float scale[STRATA_DECODED_MAX / 16];
    float offset[STRATA_DECODED_MAX / 16]; /* not written by types without offset */
};

/* X(TYPE, 1 if the type has an offset) for the types that are quantised in blocks. */
#define STRATA_BLOCK_TYPES(X) X(Q4_0, 0) X(Q4_1, 1) X(Q8_0, 0) X(Q4_K, 1) X(Q6_K, 0)

/* Takes the block at `block` (any alignment) apart. */
typedef void strata_decode_fn(struct strata_decoded *out, const void *block);
#define X(type, has_offset) strata_decode_fn strata_decode_##type##_ref;
STRATA_BLOCK_TYPES(X)
#undef X

#endif

/* The matrices of a model that are of block types, packed into panels (packed.h of kernels), as
 * products read them; those of float types stay where they lie in the file. */
#ifndef STRATA_PACKED_WEIGHTS_H
#define STRATA_PACKED_WEIGHTS_H

#include "gguf.h"

struct strata_model;

struct strata__packed_weights {
    struct strata__packed_matrix {
        const struct strata__tensor *tensor;
        uint64_t offset, bytes; /* in data */
    } * matrices;
    size_t count;
    unsigned char *data; /* NULL when no matrix is of a block type */
    uint64_t bytes;
};

/* Sets `panels` of every product of the model's steps that is of a block type, packing on the
 * runtime's threads; the source's pages are given back to the system as it goes.  E_NOMEM.  To be
 * closed also after a failure. */
strata_status strata__packed_open(struct strata_model *model);
void strata__packed_close(struct strata__packed_weights *packed);

#endif

/* The matrices of a model that are of block types, packed into panels (packed.h of kernels), as
 * products read them; those of float types stay where they lie in the file, or are rounded to Q8_0
 * and packed likewise (STRATA_COMPUTE_DYNAMIC). */
#ifndef STRATA_PACKED_WEIGHTS_H
#define STRATA_PACKED_WEIGHTS_H

#include <stdatomic.h>

#include "gguf.h"

struct strata_model;
struct strata__cache_file;

struct strata__packed_weights {
    struct strata__packed_matrix {
        const struct strata__tensor *tensor;
        enum strata_type type;  /* of the panels: the tensor's, or Q8_0 for floats (dynamic) */
        uint64_t offset, bytes; /* in data */
        /* Of the panels and of the rows in the file: XXH3 of each run of panels, and of the rows
         * that it was made of, seeded with the run's number, added up. */
        _Atomic uint64_t checksum, source;
        uint64_t wanted_checksum, wanted_source; /* what the cache file promises */
    } * matrices;
    size_t count;
    unsigned char *data; /* NULL when no matrix is of a block type */
    uint64_t bytes;
    struct strata__cache_file *file; /* whose mapping holds the data, or NULL: memory of its own */
};

/* The type of the panels that a matrix becomes; one without a packed format stays as it is. */
enum strata_type strata__packed_type(const struct strata_model *model,
                                     const struct strata__tensor *tensor);

/* Sets `panels` and `type` of every product of the model's steps that is to be packed: from the
 * cache file, after checking it, or by packing on the runtime's threads, into a cache file where
 * that is possible and `cached`.  The source's pages are given back to the system as it goes.  What
 * is wrong with a cache file is logged; it never fails the load.  E_NOMEM.  To be closed also after
 * a failure. */
strata_status strata__packed_open(struct strata_model *model, bool cached);
void strata__packed_close(struct strata__packed_weights *packed);

#endif

/* Inside strata_quantize: which tensor gets which type, and the importance of columns.
 *
 *   quantize_plan.c  the types, by name and by table
 *   imatrix.c        files of column importance, read and made
 *   quantize.c       the work */
#ifndef STRATA_QUANTIZE_PLAN_H
#define STRATA_QUANTIZE_PLAN_H

#include "gguf.h"
#include "runtime.h"

/* What strata_quantize is about to do. */
struct strata__quantize_plan {
    const strata_file *file;
    const strata_runtime *runtime;
    const strata_quantize_options *options;
    enum strata_type target;
    enum strata_type *types; /* of each tensor */
    uint64_t fallen;         /* tensors that got another type because of their row length */
};

/* Checks type and rules of the options, and chooses the type of every tensor of the file; logs what
 * differs from what was asked for.  Frees with strata__quantize_plan_close, also after a failure.
 * E_INVALID, E_UNSUPPORTED, E_NOMEM as strata_quantize. */
strata_status strata__quantize_plan_open(struct strata__quantize_plan *plan,
                                         const strata_file *file, const strata_runtime *runtime,
                                         const strata_quantize_options *options);
void strata__quantize_plan_close(struct strata__quantize_plan *plan);

/* F32, F16, BF16. */
bool strata__quantize_is_float(enum strata_type type);

/* The number that stands for a file of this type in general.file_type. */
uint32_t strata__quantize_file_type(enum strata_type type);

/* A file of column importance; zeros: none. */
struct strata__imatrix {
    strata_file *file;
    uint64_t entries; /* weights that it has */
    uint64_t chunks;
    struct strata__string dataset; /* the first; text NULL: none */
};

/* Opens and checks it.  E_IO, E_FORMAT, E_NOMEM; close it all the same. */
strata_status strata__imatrix_open(struct strata__imatrix *imatrix, const char *path,
                                   const strata_runtime *runtime);
void strata__imatrix_close(struct strata__imatrix *imatrix);

/* True when it has an entry for this weight. */
bool strata__imatrix_knows(const struct strata__imatrix *imatrix,
                           const struct strata__tensor *weight);

/* The mean squared input of each column of `weight` into importance[0..shape[0] * shape[2]), one
 * matrix after the other, which the caller frees; NULL when there is no entry.  E_FORMAT: another
 * width, counts or sums that make no sense; E_NOMEM. */
strata_status strata__imatrix_load(const struct strata__imatrix *imatrix,
                                   const struct strata__tensor *weight, float **importance);

#endif

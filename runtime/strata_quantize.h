/* libstrata: quantising model files, and the importance of their weights' columns.
 *
 * Included by strata.h, whose rules for errors, ownership and threads hold here too. */
#ifndef STRATA_QUANTIZE_H
#define STRATA_QUANTIZE_H

#include "strata.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Quantising ---- */

/* Tensors whose name matches the pattern (*, ? and [] as in file names) get this type. */
typedef struct strata_quantize_rule {
    const char *pattern;
    const char *type;
} strata_quantize_rule;

typedef struct strata_quantize_options {
    size_t size;         /* sizeof(strata_quantize_options) */
    const char *type;    /* of the matrices: "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0",
                          * "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL" or "IQ4_XS", in
                          * any case; NULL is E_INVALID */
    const char *imatrix; /* file of strata_imatrix (or another engine's in the same form); NULL:
                          * errors count by the size of the weight, all columns alike */
    bool pure;           /* the output head (or the embedding that serves as one) gets no higher
                          * type than the others (default false) */
    bool float_only;     /* refuse input that is quantised already, which loses more than what it
                          * was made of (default false: a warning is logged) */
    const strata_quantize_rule *rules; /* the first that matches; they go before the table */
    size_t n_rules;
} strata_quantize_options;

STRATA_API void strata_quantize_options_default(strata_quantize_options *options);

typedef struct strata_quantize_result {
    uint64_t tensors, changed;    /* in the file; those that got another type */
    uint64_t in_bytes, out_bytes; /* of the tensors' data */
} strata_quantize_result;

/* Writes the model `in` (GGUF, any architecture; all shards of a split one, into one file) to
 * `out` with its matrices in options->type, on all threads of the runtime; the file is the same for
 * any number of them.  For each block the scales are searched that make the (weighted) squared
 * error smallest.
 *
 * Vectors, norms, position and token-type embeddings, and integers stay as they are.  Unless pure,
 * output.weight, or token_embd.weight where there is none, gets Q6_K when options->type has fewer
 * bits.  A type whose blocks do not divide a tensor's rows is replaced by the nearest one that has
 * blocks of 32 (Q2_K, Q3_K, IQ4_XS: IQ4_NL; Q4_K: Q5_0; Q5_K: Q5_1; Q6_K: Q8_0), else by F16: the
 * runtime's log says so (a warning with the number of tensors, and one line each as info).
 *
 * Metadata are copied, general.file_type and general.quantization_version set.  `out` appears when
 * it is whole; after an error it is as it was.  Memory: some rows for each thread, and what
 * strata_file_open takes.  on_progress (may be NULL) is called before each part of a tensor with
 * the tensor's name and the bytes of `in` that are done.  result may be NULL.
 *
 * E_INVALID: an option, named; `out` is a file of `in`.  E_FORMAT: a bad file; a weight that is not
 * finite (tensor and element are named); an imatrix whose entry for a tensor has another width or
 * has values that are negative or not finite.  E_UNSUPPORTED: a tensor of a type that strata cannot
 * read, or a value beyond F16, named; quantised input with float_only.  E_IO, E_NOMEM,
 * E_CANCELLED. */
STRATA_API strata_status strata_quantize(strata_runtime *runtime, const char *in, const char *out,
                                         const strata_quantize_options *options,
                                         strata_progress_fn *on_progress, void *user,
                                         strata_quantize_result *result);

/* ---- Importance matrix ---- */

typedef struct strata_imatrix_options {
    size_t size;         /* sizeof(strata_imatrix_options) */
    size_t window;       /* tokens that are read from an empty cache (default 512) */
    const char *dataset; /* name of the text, kept in the file; NULL: none */
} strata_imatrix_options;

STRATA_API void strata_imatrix_options_default(strata_imatrix_options *options);

/* Runs the session's model over `size` bytes of text and writes to `out` the mean squared input of
 * every column of every weight matrix: how much an error of a weight there matters.
 *
 * The text is tokenised and cut into windows, each beginning with the BOS token where the model
 * uses one; what is left at the end is dropped.  What the session held is forgotten.  The file is
 * GGUF in the form that other engines use: for each weight NAME two F32 tensors, NAME.in_sum2 (sums
 * of squares, one a column) and NAME.counts (how many tokens), general.type "imatrix",
 * imatrix.datasets, imatrix.chunk_count and imatrix.chunk_size.  It appears when it is whole; after
 * an error `out` is as it was.  on_progress (may be NULL) is called before each window, counting
 * them; strata_session_cancel stops it too.
 *
 * E_INVALID: an option; window above the session's context; less text than one window.  E_IO,
 * E_NOMEM, E_CANCELLED, and E_FORMAT as strata_session_eval. */
STRATA_API strata_status strata_imatrix(strata_session *session, const char *text, size_t size,
                                        const char *out, const strata_imatrix_options *options,
                                        strata_progress_fn *on_progress, void *user);

#ifdef __cplusplus
}
#endif

#endif

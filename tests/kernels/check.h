/* The kernel checker: makes calls of every operation, runs kernels on them between guard pages and
 * compares what they write with the reference or, for the reference, with formulas in double.
 *
 * Order to read in: this header, check_cases.c (shapes and data), check_weights.c (weight blocks),
 * check_oracle.c (expected values and bounds), check_run.c (guard pages, calls, planted faults),
 * check_kernels.c (the program). */
#ifndef STRATA_CHECK_H
#define STRATA_CHECK_H

#include <stdbool.h>

#include "registry.h"

/* ---- random numbers (splitmix64) ---- */

struct check_random {
    uint64_t state;
};

uint64_t check_next(struct check_random *random);
/* Uniform in low..high, both included. */
size_t check_between(struct check_random *random, size_t low, size_t high);
/* True once in n times on average. */
bool check_one_in(struct check_random *random, size_t n);
/* Uniform in [-1, 1). */
float check_unit(struct check_random *random);

/* ---- cases ---- */

enum check_role { CHECK_IN, CHECK_OUT, CHECK_INOUT, CHECK_SCRATCH };
enum check_kind { CHECK_BYTES, CHECK_F16, CHECK_F32 }; /* how elements are compared */

/* One buffer of a call: outer * inner rows of `cols` elements; the row (o, i) begins at element o *
 * outer_stride + i * inner_stride.  What lies between rows must be neither written nor used. */
struct check_buffer {
    const char *name;
    enum check_role role;
    enum check_kind kind;
    size_t elem; /* bytes an element */
    size_t outer, outer_stride, inner, inner_stride, cols;
    bool any_alignment;
    unsigned char *image;  /* contents before the call, check_extent bytes */
    unsigned char *placed; /* where the kernel sees it */
    unsigned char *result; /* contents after the call */
};

/* What the numbers are like.  PLAIN: of order 1.  EXACT: small integers times powers of two, so
 * that every float step of a product is exact.  EXTREME: finite, of all magnitudes.  HOSTILE: with
 * NaN and Inf in activations; HOSTILE_WEIGHTS: in weights or their scales. */
enum check_mode { CHECK_PLAIN, CHECK_EXACT, CHECK_EXTREME, CHECK_HOSTILE, CHECK_HOSTILE_WEIGHTS };

#define CHECK_MAX_BUFFERS 9
/* Indices of the buffers of each operation. */
enum {
    BUF_Y,
    BUF_W,
    BUF_SCRATCH,
    BUF_X,
    BUF_Q = BUF_X,
    BUF_SCALE,
    BUF_SUM,
    BUF_TOTAL,
    BUF_SCALES = BUF_SCALE, /* of coded ones */
    BUF_STEPS = BUF_SUM
}; /* products */
enum {
    ATT_OUT,
    ATT_LARGEST,
    ATT_DENOMINATOR,
    ATT_Q,
    ATT_K,
    ATT_V,
    ATT_VISIBLE,
    ATT_UNTIL,
    ATT_SCRATCH
};
enum { MERGE_OUT, MERGE_SUMS, MERGE_LARGEST, MERGE_DENOMINATOR };
enum { VEC_Y, VEC_A, VEC_B, VEC_C };                            /* the rest: output, then inputs */
enum { QUANT_Q, QUANT_SCALE, QUANT_SUM, QUANT_TOTAL, QUANT_X }; /* quantize_q8 */

struct check_case {
    enum strata_op op;
    enum strata_type type;
    enum check_mode mode;
    size_t rows, m, k;                                /* products; k: length of the others */
    size_t tokens, heads, head_dim, pairs, positions; /* attention and rope */
    size_t window;
    size_t tree, row; /* attention over a tree, of tokens from `row` on; tree 0: none */
    bool open;        /* attention leaves its result open, for attention_merge */
    size_t best;      /* top_k's k */
    float number;     /* eps of norms, scale of attention */
    int alias;        /* the buffer that the output shares (VEC_A, VEC_B), or -1 */
    bool flushes;     /* the kernel's instructions may take subnormal weights and sums for zero */
    unsigned char *rows_of_w; /* products: the weights as a file has them, for the oracle */
    size_t row_bytes;
    struct check_buffer buffer[CHECK_MAX_BUFFERS];
    int n_buffers;
};

bool check_is_product(enum strata_op op);
bool check_is_packed(enum strata_op op);
bool check_is_similarity(enum strata_op op);
bool check_is_coded(enum strata_op op); /* similarity_q16 and similarity_q4 */

size_t check_extent(const struct check_buffer *buffer); /* bytes from first to last element */
size_t check_elements(const struct check_buffer *buffer);
/* Offset in bytes of element `index`, counted without the gaps between rows. */
size_t check_offset(const struct check_buffer *buffer, size_t index);

/* Makes a random call.  Ends the program when memory runs out. */
void check_case_make(struct check_case *c, enum strata_op op, enum strata_type type,
                     struct check_random *random);
/* The product of weight rows row .. row + rows - 1 and activation rows token .. token + m - 1 of c;
 * `row` begins a panel where the weights are packed. */
void check_case_slice(struct check_case *out, const struct check_case *c, size_t row, size_t rows,
                      size_t token, size_t m);
void check_case_free(struct check_case *c);
/* "rows 3 m 2 k 64 exact", into text. */
void check_case_text(const struct check_case *c, char *text, size_t size);

/* ---- weights ---- */

/* The element i of a row, by the format's definition: scale * q + offset (q = 1 for float types).
 */
struct check_element {
    double scale, offset;
    int q;
    bool has_offset; /* the format adds one */
};

struct check_element check_weight(enum strata_type type, const unsigned char *row, size_t i);
/* Fills n elements of a weight row. */
void check_fill_weights(enum strata_type type, unsigned char *row, size_t n, enum check_mode mode,
                        struct check_random *random);
/* Fills in the ends of the subtrees of `rows` <= 300 tokens from position `tree` on, in preorder;
 * sometimes nobody sees the first one. */
void check_fill_tree(uint32_t *until, size_t tree, size_t rows, struct check_random *random);
/* A binary16 pattern as double, by its definition. */
double check_half(uint16_t half);

/* ---- expected values ---- */

/* For the elements of output buffer `index`, in order: the value by a formula in double, and how
 * far a kernel may be from it (0: same bits; Inf: any value).  For outputs that are compared as
 * bytes expected[i] is the integer. */
struct check_expected {
    double *value, *tolerance;
};

/* `strict` gives the reference's own bound: one rounding of the exact result. */
void check_expect(const struct check_case *c, int index, bool strict, struct check_expected *out);
void check_expected_free(struct check_expected *expected);

/* ---- running ---- */

/* Faults that are planted to see whether the checker finds them. */
// clang-format off
#define CHECK_FAULTS(X) \
    X(none) \
    X(wrong_bit) X(skipped_tail) X(overread) X(underread) X(overwrite) X(underwrite) \
    X(changed_input) X(depends_on_tile)
// clang-format on
enum check_fault {
#define X(name) CHECK_FAULT_##name,
    CHECK_FAULTS(X)
#undef X
        CHECK_FAULT_COUNT
};

/* Where buffers lie: ending at a guard page or beginning after one; in the odd places pointers that
 * may have any alignment are moved by one byte. */
enum check_place { CHECK_END, CHECK_BEGIN, CHECK_END_ODD, CHECK_BEGIN_ODD, CHECK_PLACES };

/* Calls the kernel; afterwards each output's `result` holds what it wrote.  Returns false, with a
 * message on stderr, when something outside the outputs changed.  Reading or writing beyond a guard
 * ends the program by SIGSEGV. */
bool check_run(struct check_case *c, const struct strata_kernel *kernel, enum check_place place,
               enum check_fault fault);

#endif

/* Timing variants of one computation against each other, for the tuner.
 *
 * Hosts are noisy and drift, so variants take turns: one run of each makes a round, and a variant
 * is better only if it is so by the medians of the rounds and in nearly each of them. */
#ifndef STRATA_TUNE_RACE_H
#define STRATA_TUNE_RACE_H

#include "threads.h"
#include "tune.h"

#define STRATA__TUNE_ROUNDS 5
#define STRATA__TUNE_WINS 4 /* rounds that a better variant wins at least */

/* What variants compute with, shared by all of them. */
struct strata__tune_bench {
    struct strata__threads *pool; /* all threads of the runtime */
    char *weights;                /* finite values for every type */
    size_t bytes;                 /* more than the last-level caches hold */
    float *x;                     /* STRATA__TUNE_TOKENS rows for float products */
    struct strata_q8_rows q8;     /* and rounded, for packed ones */
    float *y;                     /* results, for each thread its own */
    char *scratch;
};

/* The most tokens of a product. */
#define STRATA__TUNE_TOKENS 512

/* Allocates for up to `threads` threads and fills in, with the kernels of a table.  The caller
 * closes it also after a failure.  E_NOMEM; E_IO: hwloc cannot read the caches. */
strata_status strata__tune_bench_open(struct strata__tune_bench *bench,
                                      struct strata__threads *pool,
                                      const struct strata_kernels *kernels, unsigned threads);
void strata__tune_bench_close(struct strata__tune_bench *bench);

/* A variant. */
struct strata__trial {
    /* Filled by one of the functions below. */
    const struct strata__tune_bench *bench;
    struct strata__threads *pool;
    strata__threads_task *task;
    enum strata_type type;
    strata_matmul_fn *kernel;         /* NULL: OpenBLAS */
    strata_dequantize_fn *dequantize; /* for OpenBLAS */
    size_t tokens;
    double work;                      /* multiply-adds of a repeat */
    size_t repeats;                   /* of a run; the race sets it */
    double rate[STRATA__TUNE_ROUNDS]; /* measured: multiply-adds a second */
    double wall, processor;           /* seconds of all rounds, by the clock and of the process */
};

/* One token by all weights, packed or float rows, read from memory as decoding does: steps that a
 * barrier ends, cut into claims. */
void strata__trial_decode(struct strata__trial *trial, const struct strata__tune_bench *bench,
                          struct strata__threads *pool, enum strata_type type,
                          strata_matmul_fn *kernel);

/* 64 tokens by weights that the caches of each core hold. */
void strata__trial_prefill(struct strata__trial *trial, const struct strata__tune_bench *bench,
                           enum strata_type type, strata_packed_q8_fn *kernel);

/* Float products of so many tokens (2 .. STRATA__TUNE_TOKENS), by a gemm_f32 kernel or, when it is
 * NULL, by OpenBLAS. */
void strata__trial_float(struct strata__trial *trial, const struct strata__tune_bench *bench,
                         enum strata_type type, strata_gemm_f32_fn *kernel,
                         strata_dequantize_fn *dequantize, size_t tokens);

/* Multiply-adds a second of a type's products in a phase, on the pool, with the kernels of a table
 * (`q8`: packed weights take 8-bit activations). */
double strata__tune_product_rate(const struct strata__tune_bench *bench,
                                 struct strata__threads *pool, const struct strata_kernels *kernels,
                                 enum strata_type type, enum strata__phase phase, bool q8,
                                 double run_seconds);

/* Runs all, round by round, after runs that do not count and show how many repeats make one of at
 * least `run_seconds`. */
void strata__tune_race(struct strata__trial *trials, size_t n, double run_seconds);

/* The part of their time that the threads of a trial ran, about: well below 1 when the host is busy
 * or a quota holds. */
double strata__tune_share(const struct strata__trial *trial);

/* The median rate of a trial. */
double strata__tune_rate(const struct strata__trial *trial);

/* The fastest of the trials that convince, else the fastest of all.  One convinces when it is
 * faster than trials[0], the default, by more than `gain` (0.03) and in STRATA__TUNE_WINS rounds.
 */
struct strata__verdict {
    size_t best;
    bool convinces;
};

struct strata__verdict strata__tune_judge(const struct strata__trial *trials, size_t n,
                                          double gain);

/* ---- From how many tokens on another kernel is the better one ---- */

#define STRATA__CROSSINGS 6 /* numbers of tokens that are measured, at most */

/* What one number of tokens showed. */
struct strata__crossing {
    size_t tokens;
    double default_rate, other_rate;
    bool fast, sure; /* the other kernel is the better one; and with the doubt for the default */
};

/* Of two trials, of which the first is what that many tokens have by default: the other kernel, or
 * the one for few tokens. */
struct strata__crossing strata__tune_cross(const struct strata__trial trials[2], size_t tokens,
                                           bool usual_other, double gain);

/* Tokens from which the other kernel is used; 0: never. */
struct strata__crossing_choice {
    size_t best, kept; /* kept: best, or the default where that is not sure */
    double default_rate, best_rate;
};

/* The rates that are shown are those at the number of tokens from which the best choice differs, or
 * of the most tokens. */
struct strata__crossing_choice strata__tune_border(const struct strata__crossing *at, size_t n,
                                                   size_t usual);

#endif

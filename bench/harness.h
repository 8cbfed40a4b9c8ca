/* Benchmarks in C, run by Google Benchmark (the shim gbench_shim.cc is the only C++ here).
 *
 * A benchmark is added, then bench_run runs all that were added, and forgets them.  Rates come from
 * processor time, so that a host shared with others disturbs them less (or from the time that a
 * device says); with N threads each thread
 * does the work on its own state and the rates are those of all threads together.
 *
 * For the main thread; setup, run and teardown are called by each thread of the benchmark. */
#ifndef STRATA_BENCH_HARNESS_H
#define STRATA_BENCH_HARNESS_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Rates of the fastest repetition. */
struct bench_rates {
    double bytes_per_s, ops_per_s;
};

struct bench {
    const char *name; /* "add_avx2/n:576"; no other benchmark of a run has it */
    const void *arg;  /* for setup; must live until bench_run returns */
    /* Makes the state of one thread of several (thread < threads), which may be called for more
     * than once; NULL: out of memory, the run fails. */
    void *(*setup)(const void *arg, int thread, int threads);
    void (*run)(void *state); /* the measured work; or NULL, and: */
    /* Does the work so many times in a row, on a device, and returns the seconds that all of it
     * took there, from which the rates come; negative after a message on stderr: the run fails. */
    unsigned (*batch)(void *state);
    double (*run_batch)(void *state, unsigned times);
    void (*teardown)(void *state);
    double bytes, ops;        /* moved and computed by one run in one thread */
    double ideal_s;           /* the shortest time that the host's peaks allow `threads` threads for
                                 one run each; 0: unknown */
    int threads;              /* >= 1 */
    struct bench_rates *best; /* filled by bench_run; may be NULL */
};

/* Copies the benchmark and its name. */
void bench_add(const struct bench *bench);

enum bench_output { BENCH_QUIET, BENCH_TEXT, BENCH_JSON };

struct bench_run {
    enum bench_output output;
    double min_seconds; /* of each repetition; > 0 */
    int repetitions;    /* above 1, their mean, median and spread are shown instead of each */
};

/* A line about the host or the build that goes into the output of later runs ("version", "0.1.0").
 * Copied. */
void bench_describe(const char *key, const char *value);

/* Runs the added benchmarks, results to stdout, and forgets them.  Returns false with a message on
 * stderr when a setup failed. */
bool bench_run(const struct bench_run *how);

#ifdef __cplusplus
}
#endif

#endif

/* The suites of strata-bench, and the options that they are given. */
#ifndef STRATA_BENCH_SUITES_H
#define STRATA_BENCH_SUITES_H

#include <regex.h>
#include <stdbool.h>

#include "kernels.h"

struct suite_options {
    enum strata_level level; /* the highest to measure */
    int threads;             /* >= 1; of the host */
    const char *device;      /* as strata_config's */
    bool json;
    bool filtered;
    regex_t filter;     /* when filtered: found in the names to measure */
    double min_seconds; /* of a repetition */
    int repetitions;
    bool list;        /* names only */
    bool no_roofline; /* without of_roofline, which takes a second to get ready for */
};

/* Each prints its results to stdout and returns true, or a message to stderr and returns false. */

/* Each kernel at each level up to options->level, and each of a device where there is one, at
 * shapes of real models (bench_kernels.c, device_rows.c). */
bool suite_kernels(const struct suite_options *options);

/* Peaks of each level, on one thread and on options->threads (roofline.c). */
bool suite_roofline(const struct suite_options *options);

/* Becomes the benchmark manager (manager/manager.py), which is given the paths of strata-bench and
 * of the strata beside it, and then argv[0], the name of its suite, and the words after it. Returns
 * only on failure, with a message on stderr (run_manager.c). */
void run_manager(int argc, char **argv);

#endif

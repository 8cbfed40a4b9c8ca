/* The kernels of the CUDA plug-in as benchmarks (device_rows.c). */
#ifndef STRATA_BENCH_DEVICE_ROWS_H
#define STRATA_BENCH_DEVICE_ROWS_H

#include <stddef.h>

#include "suites.h"

struct device_rows;

/* The rows of the device that the options name, at their shapes, as far as the filter matches.
 * *out is NULL where there is no device, which only `auto` and `cpu` allow.  False with a message
 * on stderr. */
bool device_rows_open(struct device_rows **out, const struct suite_options *options);
void device_rows_close(struct device_rows *rows); /* NULL allowed */

/* How many; and prints their names, one a line.  NULL allowed: none. */
size_t device_rows_count(const struct device_rows *rows);
void device_rows_list(const struct device_rows *rows);

/* Adds them to the next run (harness.h); they must stay open until it has ended.  False with a
 * message on stderr. */
bool device_rows_add(struct device_rows *rows, const struct suite_options *options);

#endif

/* What the tests of indexes share. */
#ifndef INDEX_FIXTURE_H
#define INDEX_FIXTURE_H

#include "strata.h"

extern strata_runtime *runtime;
extern char folder[], path[64]; /* an empty folder, and the name of a file in it */

uint64_t index_random(void);
/* In [-1, 1). */
float unit(void);

strata_runtime *open_runtime(int threads, const char *level);
strata_index *make(size_t dimension, strata_index_type type, strata_index_metric metric);

/* n random vectors; every 50th is the one before it.  The caller frees both. */
float *vectors(size_t n, size_t dimension);
/* ids 7, 14, 21, ... in an order that is not that of rows. */
uint64_t *ids_of(size_t n);

/* The call failed with `wanted`, and its message has the text. */
void expect_refused(strata_status status, strata_status wanted, const char *text);

int set_up(void **state);
int tear_down(void **state);

#endif

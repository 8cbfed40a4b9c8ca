#include "index_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

strata_runtime *runtime;
char folder[] = "/tmp/test_index.XXXXXX", path[64];

static uint64_t random_state;

uint64_t index_random(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    return z ^ z >> 27;
}

float unit(void)
{
    return (float)(int32_t)(index_random() >> 32) * 0x1p-31f;
}

strata_runtime *open_runtime(int threads, const char *level)
{
    strata_config config;
    strata_runtime *opened;
    strata_config_default(&config);
    config.fixed_placement = true; /* no thread beside the test */
    config.threads = threads;
    config.cpu_level = level;
    config.no_tuning = true;
    assert_int_equal(strata_runtime_open(&opened, &config), STRATA_OK);
    return opened;
}

strata_index *make(size_t dimension, strata_index_type type, strata_index_metric metric)
{
    strata_index_options options;
    strata_index *index;
    strata_index_options_default(&options);
    options.dimension = dimension;
    options.type = type;
    options.metric = metric;
    assert_int_equal(strata_index_create(runtime, &options, &index), STRATA_OK);
    return index;
}

/* n random vectors; every 50th is the one before it. */
float *vectors(size_t n, size_t dimension)
{
    float *x = malloc(n * dimension * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n * dimension; i++)
        x[i] = unit();
    for (size_t i = 49; i < n; i += 50)
        memcpy(x + i * dimension, x + (i - 1) * dimension, dimension * sizeof *x);
    return x;
}

/* ids 7, 14, 21, ... in an order that is not that of rows. */
uint64_t *ids_of(size_t n)
{
    uint64_t *ids = malloc(n * sizeof *ids);
    assert_non_null(ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = 7 * (n - i);
    return ids;
}

void expect_refused(strata_status status, strata_status wanted, const char *text)
{
    assert_int_equal(status, wanted);
    if (!strstr(strata_last_error(), text))
        fail_msg("\"%s\" does not say \"%s\"", strata_last_error(), text);
}

int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/x.index", folder);
    runtime = open_runtime(2, NULL);
    return 0;
}

int tear_down(void **state)
{
    (void)state;
    strata_runtime_close(&runtime);
    unlink(path);
    return rmdir(folder);
}

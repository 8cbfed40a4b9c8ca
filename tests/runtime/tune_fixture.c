#include "tune_fixture.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <xxhash.h>

#include "faults.h"

struct strata__tune_host host;
char said[4096];
static char home[64];

size_t tune_files(void)
{
    char folder[96];
    size_t n = 0;
    snprintf(folder, sizeof folder, "%s/tune", home);
    DIR *stream = opendir(folder);
    for (struct dirent *entry; stream && (entry = readdir(stream));)
        n += entry->d_name[0] != '.';
    if (stream)
        closedir(stream);
    return n;
}

int tune_fresh_home(void **state)
{
    (void)state;
    char command[160];
    fault_reset();
    snprintf(command, sizeof command, "rm -rf %s/* && mkdir %s/tune", home, home);
    return system(command);
}

void tune_write_bytes(const char *bytes, size_t size)
{
    FILE *out = fopen(host.path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
}

size_t tune_compose(char *out, size_t cap, const char *first, const char *choices)
{
    int size = snprintf(out, cap, "%s\n%s", first, choices);
    unsigned long long hash = XXH3_64bits(out, (size_t)size);
    return (size_t)(size + snprintf(out + size, cap - (size_t)size, "checksum %016llx\n", hash));
}

void tune_write_choices(const char *choices)
{
    char text[4096];
    tune_write_bytes(text, tune_compose(text, sizeof text, host.line, choices));
}

static void listen(void *user, strata_log_level level, const char *line)
{
    (void)user;
    size_t used = strlen(said);
    snprintf(said + used, sizeof said - used, "%d %s\n", level, line);
}

strata_runtime *tune_runtime(const char *level, bool no_tuning, int threads)
{
    strata_config config;
    strata_config_default(&config);
    config.fixed_placement = true; /* no thread beside the test */
    config.cpu_level = level;
    config.no_tuning = no_tuning;
    config.threads = threads;
    config.log = listen;
    strata_runtime *runtime;
    said[0] = 0;
    assert_int_equal(strata_runtime_open(&runtime, &config), STRATA_OK);
    return runtime;
}

void tune_expect_unused(const char *level, bool no_tuning, const char *reason)
{
    strata_runtime *runtime = tune_runtime(level, no_tuning, 1);
    struct strata_kernels usual;
    strata_kernels_select(&usual, runtime->level);
    assert_memory_equal(&runtime->kernels, &usual, sizeof usual);
    assert_memory_equal(&runtime->decode, &usual, sizeof usual);
    strata_tuning *tuning;
    assert_int_equal(strata_tuning_load(runtime, &tuning), STRATA_OK);
    assert_false(tuning->in_use);
    assert_int_equal(tuning->n_choices, 0);
    if (!strstr(tuning->reason, reason))
        fail_msg("'%s' is not in '%s'", reason, tuning->reason);
    strata_tuning_free(&tuning);
    assert_null(tuning);
    strata_runtime_close(&runtime);
}

int tune_run_tests(int (*run)(void))
{
    snprintf(home, sizeof home, "/tmp/strata-tune-XXXXXX");
    if (!mkdtemp(home))
        return 1;
    setenv("STRATA_HOME", home, 1);
    unsetenv("STRATA_CPU");
    unsetenv("STRATA_BLAS");
    strata_runtime *runtime;
    if (strata_runtime_open(&runtime, NULL) != STRATA_OK)
        return 1;
    strata__tune_host(&host, runtime->cores);
    strata_runtime_close(&runtime);
    int failed = run();
    char command[160];
    snprintf(command, sizeof command, "rm -rf %s", home);
    return system(command) != 0 || failed;
}

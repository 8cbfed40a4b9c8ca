/* The file of tuned choices: every way in which it can be bad, and what then is said. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "faults.h"
#include "tune_fixture.h"

/* The file is refused with the reason, in one line of the log. */
static void expect_refused(const char *reason)
{
    tune_expect_unused(NULL, false, reason);
    char line[64];
    snprintf(line, sizeof line, "%d ", STRATA_LOG_INFO);
    assert_memory_equal(said, line, strlen(line));
    assert_non_null(strstr(said, reason));
    assert_non_null(strstr(said, host.path));
    assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
}

static void round_trip(void **state)
{
    (void)state;
    struct strata__tuning written, read, usual;
    char reason[4608];
    strata__tuning_default(&usual, host.level);
    read = usual;
    assert_int_equal(strata__tune_read(&host, &read, reason, sizeof reason), STRATA__TUNE_NONE);
    written = usual;
    for (enum strata_level level = STRATA_LEVEL_avx2; level <= host.level; level++)
        for (int t = 0; t < STRATA_TYPE_COUNT; t++)
            if (strata__tuning_kernel((enum strata_type)t, level))
                written.level[t % 2][t] = level;
    written.blas_from[STRATA_TYPE_F16] = 64;
    written.blas_from[STRATA_TYPE_F32] = usual.blas_from[STRATA_TYPE_F32] ? 0 : 512;
    written.threads = host.cores;
    written.rate_threads = 1;
    written.rate[STRATA__PREFILL][STRATA_TYPE_Q4_K] = 999999999;
    written.rate[STRATA__DECODE][STRATA_TYPE_F32] = 1;
    struct strata__device_tuning *device = strata__tuning_device_slot(&written, "9.0 A B");
    device->blas_from[STRATA_TYPE_Q4_K] = 999999999;
    device->gemv_tokens[STRATA_TYPE_IQ4_XS] = 1;
    device->tile_few[STRATA_TYPE_Q4_K] = 8;
    device->tile_many[STRATA_TYPE_Q5_0] = 512;
    device = strata__tuning_device_slot(&written, "8.0 A");
    device->blas_from[STRATA_TYPE_Q2_K] = UINT32_MAX;
    assert_int_equal(strata__tune_write(&host, &written), STRATA_OK);
    assert_int_equal(tune_files(), 1);
    assert_int_equal(strata__tune_read(&host, &read, reason, sizeof reason), STRATA__TUNE_FOUND);
    assert_memory_equal(&read, &written, sizeof read);
    read = usual;
    assert_int_equal(strata__tune_write(&host, &usual), STRATA_OK);
    assert_int_equal(strata__tune_read(&host, &read, reason, sizeof reason), STRATA__TUNE_FOUND);
    assert_memory_equal(&read, &usual, sizeof read);
    bool removed;
    assert_int_equal(strata__tune_remove(&host, &removed), STRATA_OK);
    assert_true(removed);
    assert_int_equal(strata__tune_remove(&host, &removed), STRATA_OK);
    assert_false(removed);
    assert_int_equal(tune_files(), 0);
}

/* As long a file as there can be. */
static void all_choices_fit(void **state)
{
    (void)state;
    struct strata__tuning written, read;
    char reason[1024], kind[sizeof written.device->kind];
    strata__tuning_default(&written, host.level);
    read = written;
    memset(kind, 'k', sizeof kind - 1);
    kind[sizeof kind - 1] = '\0';
    for (char i = 0; i < STRATA__TUNED_DEVICES; i++) {
        kind[0] = (char)('a' + i);
        struct strata__device_tuning *device = strata__tuning_device_slot(&written, kind);
        for (int type = 0; type < STRATA_TYPE_COUNT; type++)
            if (strata_packed_format((enum strata_type)type).bits) {
                device->blas_from[type] = device->gemv_tokens[type] = 999999999;
                device->tile_few[type] = device->tile_many[type] = 999999992;
            }
    }
    written.rate_threads = host.cores;
    for (int type = 0; type < STRATA_TYPE_COUNT; type++)
        for (int phase = 0; phase < STRATA__PHASES; phase++)
            if (strata__tuning_has_rate((enum strata_type)type))
                written.rate[phase][type] = 999999999;
    assert_int_equal(strata__tune_write(&host, &written), STRATA_OK);
    assert_int_equal(strata__tune_read(&host, &read, reason, sizeof reason), STRATA__TUNE_FOUND);
    assert_memory_equal(&read, &written, sizeof read);
}

/* A kind takes a place that is free, or that of the one that was there longest. */
static void kinds_of_devices(void **state)
{
    (void)state;
    struct strata__tuning tuning;
    strata__tuning_default(&tuning, host.level);
    for (int i = 0; i < STRATA__TUNED_DEVICES + 1; i++) {
        char kind[16];
        snprintf(kind, sizeof kind, "9.0 %d", i);
        assert_null(strata__tuning_device(&tuning, kind));
        strata__tuning_device_slot(&tuning, kind)->gemv_tokens[0] = 1;
        assert_ptr_equal(strata__tuning_device(&tuning, kind),
                         strata__tuning_device_slot(&tuning, kind));
    }
    assert_null(strata__tuning_device(&tuning, "9.0 0"));
    for (int i = 1; i < STRATA__TUNED_DEVICES + 1; i++) {
        char kind[16];
        snprintf(kind, sizeof kind, "9.0 %d", i);
        assert_int_equal(strata__tuning_device(&tuning, kind)->gemv_tokens[0], 1);
    }
}

/* Choices of a file, and why it is refused. */
struct bad_line {
    const char *choices, *reason;
};

static void expect_line_refused(const struct bad_line *bad)
{
    tune_write_choices(bad->choices);
    expect_refused(bad->reason);
}

/* The reason names the line: the first is 1. */
static void bad_lines_are_named(void **state)
{
    (void)state;
    char many[40];
    snprintf(many, sizeof many, "threads %u\n", host.cores + 1);
    const struct bad_line cases[] = {
        {"decode Q9_9 avx2\n", ":2: \"Q9_9\" is no type"},
        {"blas F16 64\ndecode Q4_1 avx9\n", ":3: this host has no kernel \"avx9\" for Q4_1"},
        {"decode Q4_1 ref\n", ":2: this host has no kernel \"ref\""},
        {"prefill F16 avx2\n", ":2: this host has no kernel \"avx2\" for F16"},
        {"prefill Q4_1 avx512bf16\n", ":2: this host has no kernel \"avx512bf16\""},
        {"blas Q4_1 64\n", ":2: \"Q4_1\" is no type of float"},
        {"blas XY 64\n", ":2: \"XY\" is no type of float"},
        {"blas F32 1\n", ":2: blas: \"1\""},
        {"blas F32 513\n", ":2: blas: \"513\""},
        {"blas F32 -2\n", ":2: blas: \"-2\""},
        {"blas F32 064\n", ":2: blas: \"064\""},
        {"blas F32 9999999\n", ":2: blas: \"9999999\""},
        {"blas F32 64\nblas F16 64\nblas F32 64\n", ":4: blas F32 for the second time"},
        {"threads 0\n", ":2: threads: \"0\""},
        {"threads 1x\n", ":2: threads: \"1x\""},
        {many, ":2: threads: "},
        {"threads 1\nthreads 1\n", ":3: threads for the second time"},
        {"threads\n", ":2: \"threads\" is none of"},
        {"rates 0\n", ":2: rates: \"0\""},
        {"rates 1\nrates 1\n", ":3: rates for the second time"},
        {"rate decode Q4_K 5\n", ":2: rate Q4_K before the number of threads"},
        {"rates 1\nrate decode Q4_K 0\n", ":3: rate: \"0\""},
        {"rates 1\nrate decode Q4_K 1000000000\n", ":3: rate: \"1000000000\""},
        {"rates 1\nrate both Q4_K 5\n", ":3: rate: \"both\" is neither"},
        {"rates 1\nrate decode I8 5\n", ":3: \"I8\" is no type"},
        {"rates 1\nrate decode Q4_K 5\nrate decode Q4_K 5\n",
         ":4: rate decode Q4_K for the second time"},
        {"threads 1 1\n", ":2: \"threads\" is none of"},
        {"blas F32 2 2\n", ":2: \"blas\" is none of"},
        {"gpu 1\n", ":2: \"gpu\" is none of"},
        {"\n", ":2: \"\" is none of"},
        {"thr\001eads 1\n", ":2: a byte that is no text"},
        {"threads 1\r\n", ":2: a byte that is no text"},
        {"threads 1                                                                1\n",
         ":2: longer than any choice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_line_refused(&cases[i]);
    tune_write_choices("blas F16 64\nthreads 1\n"); /* their valid neighbour */
    strata_runtime *runtime = tune_runtime(NULL, false, 0);
    assert_true(runtime->tuned);
    strata_runtime_close(&runtime);
}

static void bad_lines_of_devices_are_named(void **state)
{
    (void)state;
    static const struct bad_line cases[] = {
        {"cublas Q4_K 64\n", ":2: cublas Q4_K before its device"},
        {"device \n", ":2: device: not 1 to"},
        {"device a\ndevice a\n", ":3: device a for the second time"},
        {"device a\ndevice b\ndevice c\ndevice d\ndevice e\n", ":6: more than 4 devices"},
        {"device a\ngemv F16 4\n", ":3: \"F16\" is no packed type"},
        {"device a\ngemv Q4_K 0\n", ":3: gemv: \"0\" is no number"},
        {"device a\ncublas Q4_K 1000000000\n", ":3: cublas: \"1000000000\" is no number"},
        {"tile_few Q4_K 64\n", ":2: tile_few Q4_K before its device"},
        {"device a\ntile_few Q4_K 0\n", ":3: tile_few: \"0\" is no number"},
        {"device a\ntile_many Q4_K 60\n", ":3: tile_many: \"60\" is no number"},
        {"device a\ntile_many F32 64\n", ":3: \"F32\" is no packed type"},
        {"device a\ntile_few Q4_K 8\ntile_many Q4_K 8\ntile_few Q4_K 8\n",
         ":5: tile_few Q4_K for the second time"},
        {"device a\ntile Q4_K 64\n", ":3: \"tile\" is none of"},
        {"device a\ncublas Q4_K 0\ncublas Q4_K 2\n", ":4: cublas Q4_K for the second time"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_line_refused(&cases[i]);
}

/* Whatever byte changes, and wherever the file ends, it is refused. */
static void damage_is_found(void **state)
{
    (void)state;
    char text[4096], changed[4096], reason[4608];
    struct strata__tuning tuning, usual;
    size_t size = tune_compose(text, sizeof text, host.line, "blas F16 64\nthreads 1\n");
    strata__tuning_default(&usual, host.level);
    for (size_t i = 0; i < 2 * size; i++) {
        size_t at = i / 2;
        memcpy(changed, text, size);
        changed[at] ^= 4;
        tune_write_bytes(changed, i % 2 ? size : at);
        tuning = usual;
        assert_int_equal(strata__tune_read(&host, &tuning, reason, sizeof reason),
                         STRATA__TUNE_BAD);
        assert_memory_equal(&tuning, &usual, sizeof usual);
    }
    tune_write_bytes("", 0);
    expect_refused(":1: empty");
    tune_write_bytes(text, size - 1);
    expect_refused(":4: the line does not end");
    tune_write_bytes(text, size - strlen("checksum 0123456789abcdef\n"));
    expect_refused(":4: the checksum is missing");
    text[size - 2] ^= 1;
    tune_write_bytes(text, size);
    expect_refused(":4: the checksum of the lines before is another");
    text[size - 2] ^= 1;
    memcpy(text + size, "threads 1\n", 10);
    tune_write_bytes(text, size + 10);
    expect_refused(":4: more after the checksum");
    memcpy(changed, text, size);
    *strchr(changed, '6') = 0;
    tune_write_bytes(changed, size);
    expect_refused("a byte that is no text");
    char many[16384];
    memset(many, 'a', sizeof many);
    tune_write_bytes(many, sizeof many);
    expect_refused("longer than any file");
}

/* Files of other hosts and formats under this host's name; and what is no file. */
static void foreign_files_are_ignored(void **state)
{
    (void)state;
    char text[4096], line[256];
    const char *const versions[] = {"strata-tune 3 |", "strata-tune 40 |", "strata-tune "};
    for (size_t i = 0; i < 3; i++) {
        tune_write_bytes(text, tune_compose(text, sizeof text, versions[i], ""));
        expect_refused(":1: not of format 4");
    }
    tune_write_bytes(text, tune_compose(text, sizeof text, "something else", ""));
    expect_refused(":1: not a file of tuned choices");
    memcpy(line, host.line, sizeof line);
    line[strlen(line) - 1] ^= 1; /* another processor */
    tune_write_bytes(text, tune_compose(text, sizeof text, line, "threads 1\n"));
    expect_refused(":1: made on another host or by another version");
    struct strata__tune_host other;
    strata__tune_host(&other, host.cores + 1);
    assert_string_not_equal(other.path, host.path);
    tune_write_bytes(text, tune_compose(text, sizeof text, other.line, "threads 1\n"));
    expect_refused(":1: made on another host or by another version");
    unlink(host.path);
    assert_int_equal(mkdir(host.path, 0700), 0);
    expect_refused("not a plain file");
    rmdir(host.path);
    assert_int_equal(mkfifo(host.path, 0600), 0);
    expect_refused("not a plain file");
    unlink(host.path);
    tune_expect_unused(NULL, false, host.path);
    assert_string_equal(said, ""); /* no file is no news */
}

/* Each step of writing fails in turn: the old file stays, and nothing else. */
static void failing_disk_keeps_the_old_file(void **state)
{
    (void)state;
    struct strata__tuning tuning, read;
    char reason[4608];
    strata__tuning_default(&tuning, host.level);
    tune_write_choices("blas F16 64\n");
    tuning.threads = 1;
    const struct {
        enum fault_call call;
        int error;
    } faults[] = {
        {FAULT_PWRITE, ENOSPC}, {FAULT_PWRITE, EIO}, {FAULT_NEW_FILE, EROFS}, {FAULT_RENAME, EIO}};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        fault_arm(faults[i].call, 1, true, faults[i].error);
        assert_int_equal(strata__tune_write(&host, &tuning), STRATA_E_IO);
        fault_reset();
        assert_non_null(strstr(strata_last_error(), strerror(faults[i].error)));
        assert_int_equal(tune_files(), 1);
        strata__tuning_default(&read, host.level);
        assert_int_equal(strata__tune_read(&host, &read, reason, sizeof reason),
                         STRATA__TUNE_FOUND);
        assert_int_equal(read.blas_from[STRATA_TYPE_F16], 64);
        assert_int_equal(read.threads, 0);
    }
    fault_arm(FAULT_OPEN, 1, false, EACCES);
    assert_int_equal(strata__tune_read(&host, &read, reason, sizeof reason), STRATA__TUNE_BAD);
    fault_reset();
    assert_non_null(strstr(reason, strerror(EACCES)));
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(round_trip, tune_fresh_home),
        cmocka_unit_test_setup(all_choices_fit, tune_fresh_home),
        cmocka_unit_test_setup(kinds_of_devices, tune_fresh_home),
        cmocka_unit_test_setup(bad_lines_are_named, tune_fresh_home),
        cmocka_unit_test_setup(bad_lines_of_devices_are_named, tune_fresh_home),
        cmocka_unit_test_setup(damage_is_found, tune_fresh_home),
        cmocka_unit_test_setup(foreign_files_are_ignored, tune_fresh_home),
        cmocka_unit_test_setup(failing_disk_keeps_the_old_file, tune_fresh_home),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return tune_run_tests(run);
}

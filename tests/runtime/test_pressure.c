/* Memory pressure from folders that look like /proc and /sys: what is read, and which level it
 * makes, also over time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "memory_folder.h"
#include "pressure.h"

#define MB 1000000ull
#define GB (1000 * MB)

static int64_t now;

static int64_t fake_clock(void *user)
{
    (void)user;
    return now;
}

static const char *root;

static struct strata__pressure *open_pressure(void)
{
    struct strata__pressure_options options = {.root = root, .now_ms = fake_clock};
    struct strata__pressure *p;
    assert_int_equal(strata__pressure_open(&p, &options), STRATA_OK);
    return p;
}

/* What is read with so much held, without opening anew. */
static struct strata__pressure_sample sample_of(uint64_t held)
{
    struct strata__pressure *p = open_pressure();
    struct strata__pressure_sample sample;
    strata__pressure_read(p, held, &sample);
    strata__pressure_close(&p);
    return sample;
}

static int setup(void **state)
{
    (void)state;
    root = memory_folder_create();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    memory_folder_remove();
    return 0;
}

/* ---- Reading ---- */

static void nothing_there_is_calm(void **state)
{
    (void)state;
    struct strata__pressure *p = open_pressure();
    struct strata__pressure_sample sample;
    char text[2048];
    strata__pressure_read(p, GB, &sample);
    assert_true(sample.headroom == INT64_MAX);
    assert_true(sample.limit == UINT64_MAX);
    assert_int_equal(strata__pressure_update(p, &sample), STRATA_PRESSURE_CALM);
    strata__pressure_describe(p, text, sizeof text);
    assert_non_null(strstr(text, "No such file"));
    assert_null(strstr(text, "in use"));
    strata__pressure_close(&p);
}

static void meminfo_counts(void **state)
{
    (void)state;
    memory_available(1024 * MB, 16384 * MB);
    struct strata__pressure_sample sample = sample_of(24 * MB);
    assert_true(sample.headroom == 1000 * (int64_t)MB);
    assert_true(sample.limit == 16384 * MB);
    sample = sample_of(2024 * MB); /* more held than there is */
    assert_true(sample.headroom == -1000 * (int64_t)MB);
}

/* File pages are free, but for those that are held. */
static void v1_limits_count(void **state)
{
    (void)state;
    memory_available(8 * GB, 16 * GB);
    memory_v1(1000 * MB, 900 * MB, 300 * MB);
    assert_true(sample_of(0).headroom == 400 * (int64_t)MB);
    assert_true(sample_of(250 * MB).headroom == 150 * (int64_t)MB);
    assert_true(sample_of(0).limit == 1000 * MB);
    memory_v1(1ull << 63, 900 * MB, 0); /* none */
    assert_true(sample_of(0).limit > 15 * GB);
}

static void v2_limits_count(void **state)
{
    (void)state;
    memory_v2("2000000000", "max", 1500 * MB, 200 * MB);
    assert_true(sample_of(0).headroom == 700 * (int64_t)MB);
    memory_v2("2000000000", "1600000000", 1500 * MB, 200 * MB);
    assert_true(sample_of(0).headroom == 300 * (int64_t)MB);
    memory_v2("max", "max", 1500 * MB, 200 * MB);
    assert_true(sample_of(0).limit == UINT64_MAX);
}

/* The tightest of the cgroup and those above it. */
static void limits_above_count(void **state)
{
    (void)state;
    memory_v2("max", "max", 100 * MB, 0);
    memory_file("/sys/fs/cgroup/app/memory.max", "500000000\n");
    memory_file("/sys/fs/cgroup/app/memory.current", "450000000\n");
    assert_true(sample_of(0).headroom == 50 * (int64_t)MB);
    assert_true(sample_of(0).limit == 500 * MB);
}

/* A namespace shows a path above its root; a mount may show a part of the hierarchy. */
static void odd_mounts(void **state)
{
    (void)state;
    memory_v2("700000000", "max", 100 * MB, 0);
    memory_file("/proc/self/mountinfo",
                "24 30 0:22 /app /sys/fs/cgroup/app rw - cgroup2 cgroup2 rw\n");
    assert_true(sample_of(0).limit == 700 * MB);
    memory_file("/proc/self/cgroup", "0::/../other\n");
    memory_file("/sys/fs/cgroup/app/memory.max", "800000000\n");
    memory_file("/sys/fs/cgroup/app/memory.current", "1\n");
    assert_true(sample_of(0).limit == 800 * MB);
}

static void malformed_files_are_no_limits(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "\n",
                                      "-5\n",
                                      "18446744073709551616\n",
                                      "x5",
                                      "99999999999999999999999",
                                      "max5\n",
                                      "5x\n",
                                      "\x01\xff\xfe\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memory_v2(bad[i], bad[i], 100 * MB, 0);
        memory_file("/proc/meminfo", bad[i]);
        assert_true(sample_of(0).limit == UINT64_MAX);
        memory_v2("700000000", "max", 0, 0);
        memory_file("/sys/fs/cgroup/app/worker/memory.current", bad[i]);
        assert_true(sample_of(0).limit == UINT64_MAX);
        memory_file("/proc/self/mountinfo", bad[i]);
        memory_file("/proc/self/cgroup", bad[i]);
        memory_file("/proc/pressure/memory", bad[i]);
        assert_true(sample_of(0).some == 0);
        memory_file("/proc/self/mountinfo", NULL);
        memory_file("/proc/self/cgroup", NULL);
    }
}

/* Changed bytes of all files: nothing but sensible numbers comes out. */
static void mutated_files(void **state)
{
    (void)state;
    static const char text[] =
        "4:cpu,memory:/a\n0::/a\n35 31 0:32 / /sys rw - cgroup cgroup rw,memory\n"
        "MemAvailable: 123 kB\nsome avg10=1.50 avg60=0.00 total=5\n";
    unsigned random = 1;
    for (int round = 0; round < 4000; round++) {
        char changed[sizeof text];
        memcpy(changed, text, sizeof text);
        for (int i = 0; i < 4; i++) {
            random = random * 1664525u + 1013904223u;
            changed[(random >> 8) % (sizeof text - 1)] = (char)(random >> 24);
        }
        uint64_t value = 0;
        double share = 0;
        strata__field_u64(changed, "MemAvailable:", &value);
        strata__field_avg10(changed, "some", &share);
        assert_true(share >= 0 && share <= 100);
        if (round % 40)
            continue;
        memory_file("/proc/self/cgroup", changed);
        memory_file("/proc/self/mountinfo", changed);
        memory_file("/proc/meminfo", changed);
        memory_file("/proc/pressure/memory", changed);
        assert_true(sample_of(0).headroom >= 0);
    }
}

/* A limit that the process has of its own counts its anonymous memory and what is held. */
static void an_own_limit_counts(void **state)
{
    (void)state;
    memory_available(8 * GB, 16 * GB);
    memory_file("/proc/self/status", "Name:\tx\nRssAnon:\t  300000 kB\nRssShmem:\t 1000 kB\n");
    struct strata__pressure_options options = {
        .root = root, .now_ms = fake_clock, .memory_limit = 1024 * MB};
    struct strata__pressure *p;
    struct strata__pressure_sample sample;
    assert_int_equal(strata__pressure_open(&p, &options), STRATA_OK);
    strata__pressure_read(p, 700 * MB, &sample);
    assert_true(sample.limit == 1024 * MB);
    assert_true(sample.headroom == (int64_t)(1024 * MB - 301000 * 1024 - 700 * MB));
    memory_file("/proc/self/status", "Name:\tx\nRssAnon:\t  lots\n");
    strata__pressure_read(p, 0, &sample);
    assert_true(sample.limit > 15 * GB);
    strata__pressure_close(&p);
}

/* ---- Levels ---- */

static strata_pressure level_after(struct strata__pressure *p, int64_t ms, uint64_t available)
{
    struct strata__pressure_sample sample;
    now += ms;
    memory_available(available, 10 * GB);
    strata__pressure_read(p, 0, &sample);
    return strata__pressure_update(p, &sample);
}

/* Worse at once, better when it has lasted, and with a margin. */
static void levels_have_hysteresis(void **state)
{
    (void)state;
    memory_available(5 * GB, 10 * GB);
    struct strata__pressure *p = open_pressure();
    assert_int_equal(level_after(p, 0, 5 * GB), STRATA_PRESSURE_CALM);
    assert_int_equal(level_after(p, 10, 200 * MB), STRATA_PRESSURE_TIGHT); /* below 256 MiB */
    assert_int_equal(level_after(p, 10, 50 * MB), STRATA_PRESSURE_CRITICAL);
    assert_int_equal(level_after(p, 10, 5 * GB), STRATA_PRESSURE_CRITICAL);
    assert_int_equal(level_after(p, 2000, 5 * GB), STRATA_PRESSURE_CRITICAL);
    assert_int_equal(level_after(p, 1000, 5 * GB), STRATA_PRESSURE_CALM);
    assert_int_equal(level_after(p, 10, 200 * MB), STRATA_PRESSURE_TIGHT);
    assert_int_equal(level_after(p, 10, 300 * MB), STRATA_PRESSURE_TIGHT); /* not 1.5 times */
    assert_int_equal(level_after(p, 9000, 300 * MB), STRATA_PRESSURE_TIGHT);
    assert_int_equal(level_after(p, 10, 500 * MB), STRATA_PRESSURE_TIGHT);
    assert_int_equal(level_after(p, 2000, 200 * MB), STRATA_PRESSURE_TIGHT); /* counts anew */
    assert_int_equal(level_after(p, 10, 500 * MB), STRATA_PRESSURE_TIGHT);
    assert_int_equal(level_after(p, 2990, 500 * MB), STRATA_PRESSURE_TIGHT);
    assert_int_equal(level_after(p, 10, 500 * MB), STRATA_PRESSURE_CALM);
    strata__pressure_close(&p);
}

/* Thresholds follow small limits. */
static void small_limits(void **state)
{
    (void)state;
    struct strata__pressure *p = open_pressure();
    struct strata__pressure_sample sample = {.headroom = 15 * MB, .limit = 200 * MB};
    assert_int_equal(strata__pressure_update(p, &sample), STRATA_PRESSURE_CALM);
    sample.headroom = 9 * MB;
    assert_int_equal(strata__pressure_update(p, &sample), STRATA_PRESSURE_TIGHT);
    sample.headroom = 3 * MB;
    assert_int_equal(strata__pressure_update(p, &sample), STRATA_PRESSURE_CRITICAL);
    strata__pressure_close(&p);
}

/* Stalls count where memory is scarce: a program that reads a large file stalls too. */
static void stalls_count_when_scarce(void **state)
{
    (void)state;
    memory_available(8 * GB, 10 * GB);
    memory_file("/proc/pressure/memory", "some avg10=12.00 avg60=1.00 avg300=0.00 total=9\n"
                                         "full avg10=0.50 avg60=0.00 avg300=0.00 total=3\n");
    struct strata__pressure *p = open_pressure();
    assert_int_equal(level_after(p, 0, 8 * GB), STRATA_PRESSURE_CALM);
    assert_int_equal(level_after(p, 0, 2 * GB), STRATA_PRESSURE_TIGHT);
    memory_file("/proc/pressure/memory", "some avg10=50.00 avg60=1.00 avg300=0.00 total=9\n"
                                         "full avg10=30.00 avg60=0.00 avg300=0.00 total=3\n");
    assert_int_equal(level_after(p, 0, 2 * GB), STRATA_PRESSURE_CRITICAL);
    strata__pressure_close(&p);
}

static void a_kill_is_critical(void **state)
{
    (void)state;
    memory_v1(4 * GB, 1 * GB, 0);
    struct strata__pressure *p = open_pressure();
    assert_int_equal(level_after(p, 0, 8 * GB), STRATA_PRESSURE_CALM);
    memory_file("/sys/fs/cgroup/memory/a/b/memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
    assert_int_equal(level_after(p, 0, 8 * GB), STRATA_PRESSURE_CRITICAL);
    strata__pressure_close(&p);
}

static void devices_by_what_is_free(void **state)
{
    (void)state;
    uint64_t tight;
    assert_int_equal(strata__pressure_of_device(900 * MB, 8 * GB, &tight), STRATA_PRESSURE_CALM);
    assert_true(tight == (uint64_t)256 << 20);
    assert_int_equal(strata__pressure_of_device(200 * MB, 8 * GB, &tight), STRATA_PRESSURE_TIGHT);
    assert_int_equal(strata__pressure_of_device(0, 8 * GB, &tight), STRATA_PRESSURE_CRITICAL);
}

/* This machine has at least its memory; whatever it lacks has a reason. */
static void this_machine(void **state)
{
    (void)state;
    struct strata__pressure *p;
    struct strata__pressure_sample sample;
    char text[16384];
    assert_int_equal(strata__pressure_open(&p, NULL), STRATA_OK);
    strata__pressure_read(p, 0, &sample);
    assert_true(sample.limit != UINT64_MAX && sample.headroom > 0);
    strata__pressure_describe(p, text, sizeof text);
    assert_non_null(strstr(text, "available  /proc/meminfo: in use"));
    strata__pressure_wake(p);
    strata__pressure_wait(p, 60000); /* returns at once */
    strata__pressure_close(&p);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(nothing_there_is_calm),
        TEST(meminfo_counts),
        TEST(v1_limits_count),
        TEST(v2_limits_count),
        TEST(limits_above_count),
        TEST(odd_mounts),
        TEST(malformed_files_are_no_limits),
        TEST(mutated_files),
        TEST(an_own_limit_counts),
        TEST(levels_have_hysteresis),
        TEST(small_limits),
        TEST(stalls_count_when_scarce),
        TEST(a_kill_is_critical),
        TEST(devices_by_what_is_free),
        TEST(this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* CPU quotas of control groups, read from folders, and the number of threads that follows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cpu_quota.h"
#include "faults.h"

#define V2_MOUNT "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
#define V1_MOUNT "31 1 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpuacct,cpu\n"

/* Where quotas are read, and what the runtime is told instead of this process's own (--wrap). */
static char root[] = "quota-root-XXXXXX";
static double told;

strata_status __real_strata__cpu_quota(const char *folder, double *cores);
strata_status __wrap_strata__cpu_quota(const char *folder, double *cores);
strata_status __wrap_strata__cpu_quota(const char *folder, double *cores)
{
    assert_string_equal(folder, "");
    *cores = told;
    return STRATA_OK;
}

static void run(const char *format, const char *what)
{
    char command[1024];
    snprintf(command, sizeof command, format, what);
    assert_int_equal(system(command), 0);
}

static int begin(void **state)
{
    (void)state;
    strcpy(root, "quota-root-XXXXXX");
    fault_reset();
    return mkdtemp(root) ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    fault_reset();
    run("rm -r %s", root);
    return 0;
}

/* Writes a file below the root, with its folders. */
static void put(const char *path, const char *text)
{
    char name[512], folder[512];
    snprintf(name, sizeof name, "%s%s", root, path);
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(name, '/') - name), name);
    run("mkdir -p '%s'", folder);
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void expect(double quota)
{
    double cores = -1;
    assert_int_equal(__real_strata__cpu_quota(root, &cores), STRATA_OK);
    if (fabs(cores - quota) > 1e-9)
        fail_msg("%g cores, expected %g", cores, quota);
}

static void nothing_there(void **state)
{
    (void)state;
    expect(0);
    put("/proc/self/cgroup", "0::/\n");
    expect(0);
}

static void version_2(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/proc/self/mountinfo", "22 1 0:20 / /proc rw - proc proc rw\n" V2_MOUNT);
    put("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    expect(0);
    put("/sys/fs/cgroup/a/b/cpu.max", "150000 100000\n");
    expect(1.5);
    put("/sys/fs/cgroup/a/cpu.max", "50000 100000\n"); /* the group above */
    expect(0.5);
    put("/sys/fs/cgroup/a/cpu.max", "800000 100000\n");
    expect(1.5);
    put("/sys/fs/cgroup/cpu.max", "25000 50000\n"); /* a container's own top */
    expect(0.5);
}

static void version_1(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "5:cpuset:/x\n4:cpuacct,cpu:/docker/c\n1:name=systemd:/\n0::/\n");
    put("/proc/self/mountinfo", V1_MOUNT);
    put("/sys/fs/cgroup/cpu,cpuacct/docker/c/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu,cpuacct/docker/c/cpu.cfs_period_us", "100000\n");
    expect(0);
    put("/sys/fs/cgroup/cpu,cpuacct/docker/c/cpu.cfs_quota_us", "320000\n");
    expect(3.2);
    put("/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "20000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "10000\n");
    expect(2);
}

/* A container that sees its own group as the top of the hierarchy, by a name with a blank. */
static void mounted_in_a_container(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "4:cpu:/docker/c/inner\n");
    put("/proc/self/mountinfo",
        "31 1 0:27 /docker/c /sys/fs/control\\040groups/cpu rw - cgroup cgroup rw,cpu\n");
    put("/sys/fs/control groups/cpu/inner/cpu.cfs_quota_us", "200000\n");
    put("/sys/fs/control groups/cpu/inner/cpu.cfs_period_us", "100000\n");
    expect(2);
    put("/sys/fs/control groups/cpu/cpu.cfs_quota_us", "100000\n");
    put("/sys/fs/control groups/cpu/cpu.cfs_period_us", "100000\n");
    expect(1);
}

/* Without mountinfo the usual folders are tried. */
static void usual_folders(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "4:cpu,cpuacct:/g\n0::/h\n");
    put("/sys/fs/cgroup/cpu/g/cpu.cfs_quota_us", "400000\n");
    put("/sys/fs/cgroup/cpu/g/cpu.cfs_period_us", "100000\n");
    expect(4);
    put("/sys/fs/cgroup/h/cpu.max", "300000 100000");
    expect(3);
}

/* A group above the mount, and names that begin alike, are not below it. */
static void groups_elsewhere(void **state)
{
    (void)state;
    put("/proc/self/mountinfo", "30 1 0:26 /top /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    put("/sys/fs/cgroup/cpu.max", "200000 100000\n");
    put("/sys/fs/cgroup/side/cpu.max", "100000 100000\n");
    put("/side/cpu.max", "100000 100000\n");
    put("/proc/self/cgroup", "0::/topside\n");
    expect(2);
    put("/proc/self/cgroup", "0::/top/../../../../side\n");
    expect(2);
    put("/proc/self/cgroup", "0::/top/side\n");
    expect(1);
}

static void malformed_files(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "\n",
                                      "0 100000",
                                      "-5 100000",
                                      "999 100000",
                                      "100000",
                                      "100000 0",
                                      "100000 -1",
                                      "100000 999",
                                      "100000 1000001",
                                      "1e5 100000",
                                      "100000x 100000",
                                      "100000 100000x",
                                      "99999999999999999999999 100000",
                                      "words",
                                      "max",
                                      "\xff\xfe"};
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/proc/self/cgroup", "0::/g\n");
    put("/sys/fs/cgroup/cpu.max", "700000 100000\n");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put("/sys/fs/cgroup/g/cpu.max", bad[i]);
        expect(7);
    }
    run("rm %s/sys/fs/cgroup/g/cpu.max", root);
    run("mkfifo %s/sys/fs/cgroup/g/cpu.max", root);
    expect(7);
}

static void malformed_lists(void **state)
{
    (void)state;
    static const char *const groups[] = {
        "", "\n\n", "0", "0:", "0::", ":::", "x:cpu", "\xff", "99:memory,cpux,xcpu:/g", "1::/g"};
    static const char *const mounts[] = {"",
                                         " - ",
                                         "30 1 - cgroup2",
                                         "30 1 0:26 - cgroup2 x",
                                         "30 1 0:26 / /sys\\ - cgroup2 a b",
                                         "\\ \\4 \\40 - \\"};
    put("/sys/fs/cgroup/g/cpu.max", "100000 100000\n");
    put("/sys/fs/cgroup/cpu/g/cpu.cfs_quota_us", "100000\n");
    put("/sys/fs/cgroup/cpu/g/cpu.cfs_period_us", "100000\n");
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        put("/proc/self/cgroup", groups[i]);
        expect(0);
    }
    put("/proc/self/cgroup", "\n\n7\n0::/g");
    for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
        double cores;
        put("/proc/self/mountinfo", mounts[i]);
        assert_int_equal(__real_strata__cpu_quota(root, &cores), STRATA_OK);
        assert_true(cores == 0 || cores == 1);
    }
}

static void very_long_lists(void **state)
{
    (void)state;
    static char long_line[1 << 18], group[1 << 16];
    memset(long_line, 'x', sizeof long_line - 1);
    memset(group, 'g', sizeof group - 1);
    memcpy(group, "0::/", 4);
    char *mounts = NULL;
    assert_true(asprintf(&mounts, "%s\n" V2_MOUNT, long_line) > 0);
    put("/proc/self/mountinfo", mounts);
    put("/sys/fs/cgroup/g/cpu.max", "600000 100000\n");
    put("/proc/self/cgroup", "0::/g\n");
    expect(6);
    put("/proc/self/cgroup", group);
    expect(0);
    free(mounts);
}

static void no_memory(void **state)
{
    (void)state;
    double cores;
    put("/proc/self/cgroup", "4:cpu:/g\n0::/g\n");
    put("/proc/self/mountinfo", V1_MOUNT V2_MOUNT);
    put("/sys/fs/cgroup/g/cpu.max", "100000 100000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/g/cpu.cfs_quota_us", "200000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/g/cpu.cfs_period_us", "100000\n");
    fault_reset();
    expect(1);
    size_t n = fault_count(FAULT_MEMORY);
    assert_true(n >= 6);
    for (size_t i = 1; i <= n; i++) {
        fault_arm(FAULT_MEMORY, i, false, ENOMEM);
        assert_int_equal(__real_strata__cpu_quota(root, &cores), STRATA_E_NOMEM);
    }
}

static void numbers_of_threads(void **state)
{
    (void)state;
    assert_int_equal(strata__cpu_quota_threads(8, 0), 8);
    assert_int_equal(strata__cpu_quota_threads(8, 0.01), 1);
    assert_int_equal(strata__cpu_quota_threads(8, 1), 1);
    assert_int_equal(strata__cpu_quota_threads(8, 1.01), 2);
    assert_int_equal(strata__cpu_quota_threads(8, 7.5), 8);
    assert_int_equal(strata__cpu_quota_threads(8, 1e15), 8);
}

/* The runtime's default follows the quota; a number that is asked for does not. */
static void threads_of_the_runtime(void **state)
{
    (void)state;
    strata_config config;
    strata_runtime *runtime;
    strata_config_default(&config);
    config.no_tuning = true;
    for (config.threads = 0; config.threads <= 3; config.threads += 3) {
        told = 0.5;
        assert_int_equal(strata_runtime_open(&runtime, &config), STRATA_OK);
        assert_int_equal(strata_threads(runtime), config.threads ? 3 : 1);
        strata_runtime_close(&runtime);
    }
    /* Half of the cores, and of those that the quota leaves. */
    config.threads = 0;
    told = 1024;
    assert_int_equal(strata_runtime_open(&runtime, &config), STRATA_OK);
    const int cores = strata_threads(runtime);
    strata_runtime_close(&runtime);
    config.threads = STRATA_THREADS_HALF;
    for (told = 0.5; told <= 1024; told *= 2) {
        const int left = told < cores ? told < 1 ? 1 : (int)told : cores;
        assert_int_equal(strata_runtime_open(&runtime, &config), STRATA_OK);
        assert_int_equal(strata_threads(runtime), left > 1 ? left / 2 : 1);
        strata_runtime_close(&runtime);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_there, begin, end),
        cmocka_unit_test_setup_teardown(version_2, begin, end),
        cmocka_unit_test_setup_teardown(version_1, begin, end),
        cmocka_unit_test_setup_teardown(mounted_in_a_container, begin, end),
        cmocka_unit_test_setup_teardown(usual_folders, begin, end),
        cmocka_unit_test_setup_teardown(groups_elsewhere, begin, end),
        cmocka_unit_test_setup_teardown(malformed_files, begin, end),
        cmocka_unit_test_setup_teardown(malformed_lists, begin, end),
        cmocka_unit_test_setup_teardown(very_long_lists, begin, end),
        cmocka_unit_test_setup_teardown(no_memory, begin, end),
        cmocka_unit_test_setup_teardown(numbers_of_threads, begin, end),
        cmocka_unit_test_setup_teardown(threads_of_the_runtime, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Topology: this machine and what the process may use of it, descriptions that cannot be read, and
 * the order in which threads are bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "faults.h"
#include "topology_fixture.h"

/* The processing units that the process may use, as the test wishes (linked with --wrap). */
static const unsigned *allowed;
static size_t n_allowed;

int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set);
int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
    assert_int_equal(pid, 0);
    CPU_ZERO_S(size, set);
    for (size_t i = 0; i < n_allowed; i++)
        CPU_SET_S(allowed[i], size, set);
    return 0;
}

static void this_machine(void **state)
{
    (void)state;
    strata_topology *t = NULL;
    unsigned may[] = {0};
    allowed = may;
    n_allowed = 1;
    assert_int_equal(strata_topology_load(&t), STRATA_OK);
    assert_true(t->pus >= 1 && t->cores <= t->pus && t->packages <= t->pus);
    assert_true(t->n_allowed_pus <= 1);
    assert_true(t->n_isa >= 1);
    assert_string_equal(t->isa[0], "ref");
    strata_topology_free(&t);
    strata_topology_free(&t);
}

/* The affinity mask and the quota count for this system, also where a description is taken for it,
 * and not for another one. */
static void limits_of_the_process(void **state)
{
    (void)state;
    char root[] = "topology-root-XXXXXX", path[128];
    unsigned may[] = {17, 0, 8, 5000};
    strata_topology *t = NULL;
    allowed = may;
    n_allowed = 4;
    assert_non_null(mkdtemp(root));
    snprintf(path, sizeof path, "mkdir -p %s/proc/self %s/sys/fs/cgroup", root, root);
    assert_int_equal(system(path), 0);
    snprintf(path, sizeof path,
             "cd %s && echo 0::/ >proc/self/cgroup && echo 250000 100000 >sys/fs/cgroup/cpu.max",
             root);
    assert_int_equal(system(path), 0);
    setenv("HWLOC_SYNTHETIC", "core:10 pu:2", 1);
    setenv("HWLOC_THISSYSTEM", "1", 1);
    assert_int_equal(strata__topology_load(root, &t), STRATA_OK);
    assert_int_equal(t->pus, 20);
    assert_int_equal(t->n_allowed_pus, 3);
    assert_int_equal(t->allowed_pus[0], 0);
    assert_int_equal(t->allowed_pus[1], 8);
    assert_int_equal(t->allowed_pus[2], 17);
    assert_true(t->cpu_quota == 2.5);
    strata_topology_free(&t);
    setenv("HWLOC_THISSYSTEM", "0", 1);
    assert_int_equal(strata__topology_load(root, &t), STRATA_OK);
    assert_int_equal(t->n_allowed_pus, 20);
    assert_true(t->cpu_quota == 0);
    strata_topology_free(&t);
    snprintf(path, sizeof path, "rm -r %s", root);
    assert_int_equal(system(path), 0);
}

/* ---- Descriptions that cannot be read ---- */

/* Loading must say why, with `about` in the message; threads are placed all the same. */
static void expect_refused(const char *about)
{
    unsigned may[] = {3, 1}, pus[4];
    size_t n_pus, n_cores;
    strata_topology *t;
    for (unsigned this_system = 0; this_system < 2; this_system++) {
        setenv("HWLOC_THISSYSTEM", this_system ? "1" : "0", 1);
        assert_int_equal(strata_topology_load(&t), STRATA_E_IO);
        assert_null(t);
        if (!strstr(strata_last_error(), about))
            fail_msg("\"%s\" is not about \"%s\"", strata_last_error(), about);
    }
    allowed = may;
    n_allowed = 2;
    assert_int_equal(strata__topology_pus(pus, 4, &n_pus, &n_cores), STRATA_E_IO);
    unsetenv("HWLOC_THISSYSTEM");
    assert_int_equal(strata__topology_pus(pus, 4, &n_pus, &n_cores), STRATA_OK);
    assert_int_equal(n_pus, 2);
    assert_int_equal(pus[0], 1);
    assert_int_equal(pus[1], 3);
}

static void write_file(const char *path, const char *text, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void files_that_are_none(void **state)
{
    (void)state;
    setenv("HWLOC_XMLFILE", "absent.xml", 1);
    expect_refused("absent.xml: No such file");
    setenv("HWLOC_XMLFILE", ".", 1);
    expect_refused("is no plain file");
    setenv("HWLOC_XMLFILE", "-", 1);
    expect_refused("HWLOC_XMLFILE: -: No such file");
    unlink("topology.fifo");
    assert_int_equal(mkfifo("topology.fifo", 0600), 0);
    setenv("HWLOC_XMLFILE", "topology.fifo", 1);
    expect_refused("topology.fifo: is no plain file");
    unlink("topology.fifo");
}

/* The made-up machine's description, terminated; returns its size. */
static size_t read_description(char text[65536])
{
    FILE *file = fopen(STRATA_TEST_DATA "/topology/made_up.xml", "rb");
    assert_non_null(file);
    size_t size = fread(text, 1, 65535, file);
    assert_int_equal(fclose(file), 0);
    assert_in_range(size, 10000, 65534);
    text[size] = '\0';
    return size;
}

static void damaged_files(void **state)
{
    (void)state;
    static char text[65536];
    const char *path = "topology_damaged.xml";
    size_t size = read_description(text);
    setenv("HWLOC_XMLFILE", path, 1);
    write_file(path, "", 0);
    expect_refused("is empty");
    write_file(path, "no XML at all", 13);
    expect_refused("hwloc cannot read it");
    for (size_t part = 1; part < 16; part++) {
        write_file(path, text, size * part / 16);
        expect_refused("hwloc cannot read it");
    }
    unlink(path);
}

/* hwloc 2.9 follows a NULL pointer when a core's set of units ends in the middle; others may only
 * refuse it. */
static void a_file_that_crashes_hwloc(void **state)
{
    (void)state;
    static char text[65536];
    const char *path = "topology_crash.xml";
    read_description(text);
    char *core = strstr(text, "<object type=\"Core\" os_index=\"1\"");
    assert_non_null(core);
    char *from = strstr(core, "cpuset=\"0x") + strlen("cpuset=\"0x"), *to = strchr(from, '\n');
    memmove(from, to, strlen(to) + 1);
    write_file(path, text, strlen(text));
    setenv("HWLOC_XMLFILE", path, 1);
    expect_refused(path);
    signal(SIGCHLD, SIG_IGN); /* a program that does not wait for its children */
    expect_refused(path);
    signal(SIGCHLD, SIG_DFL);
    unlink(path);
}

static void words_that_say_nothing(void **state)
{
    (void)state;
    static const char *const words[] = {
        "no such description", "core",    "pu:0",    "package:2 core",
        "pu:4 core:2",         "core:-1", "\x1b[31m"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        setenv("HWLOC_SYNTHETIC", words[i], 1);
        expect_refused("HWLOC_SYNTHETIC");
        assert_null(strchr(strata_last_error(), '\x1b'));
    }
}

static void words_without_end(void **state)
{
    (void)state;
    strata_topology *t;
    setenv("HWLOC_SYNTHETIC", "package:10000 core:10000 pu:20", 1);
    assert_int_equal(strata_topology_load(&t), STRATA_E_IO);
    assert_non_null(strstr(strata_last_error(), "HWLOC_SYNTHETIC"));
}

static void no_memory(void **state)
{
    (void)state;
    strata_topology *t;
    topology_use("made_up.xml", "0");
    fault_reset();
    assert_int_equal(strata_topology_load(&t), STRATA_OK);
    strata_topology_free(&t);
    size_t n = fault_count(FAULT_MEMORY);
    assert_true(n >= 10);
    for (size_t i = 1; i <= n; i++) {
        fault_arm(FAULT_MEMORY, i, false, ENOMEM);
        assert_int_equal(strata_topology_load(&t), STRATA_E_NOMEM);
        assert_null(t);
    }
    fault_reset();
}

/* ---- Where threads are bound ---- */

/* strata__topology_pus must give the `n` units of `expected`, `cores` of them first ones. */
static void expect_order(const unsigned *may, size_t n_may, const unsigned *expected, size_t n,
                         size_t cores)
{
    unsigned pus[64];
    size_t n_pus, n_cores;
    allowed = may;
    n_allowed = n_may;
    assert_int_equal(strata__topology_pus(pus, 64, &n_pus, &n_cores), STRATA_OK);
    assert_int_equal(n_pus, n);
    assert_memory_equal(pus, expected, n * sizeof *pus);
    assert_int_equal(n_cores, cores);
}

static void cores_before_siblings(void **state)
{
    (void)state;
    topology_use("2socket-xeon-nvidia-pci.xml", "1");
    unsigned all[32], few[] = {0, 1, 8, 16, 24};
    for (unsigned i = 0; i < 32; i++)
        all[i] = i;
    expect_order(all, 32, all, 32, 16);
    expect_order(few, 5, few, 5, 3); /* cores {0,16} {1} {8,24} */
    unsigned sibling[] = {16, 17}, both[] = {17, 16, 0}, both_order[] = {0, 17, 16};
    expect_order(sibling, 2, sibling, 2, 2);
    expect_order(both, 3, both_order, 3, 2);
}

static void neighbours_of_interleaved_packages(void **state)
{
    (void)state;
    setenv("HWLOC_SYNTHETIC", "package:2 core:2 pu:2(indexes=0,4,1,5,2,6,3,7)", 1);
    setenv("HWLOC_THISSYSTEM", "1", 1);
    unsigned may[] = {0, 1, 2, 3, 4, 5, 6, 7};
    expect_order(may, 8, may, 8, 4);
    setenv("HWLOC_SYNTHETIC", "package:2 core:2 pu:2(indexes=0,1,2,3,4,5,6,7)", 1);
    unsigned expected[] = {0, 2, 4, 6, 1, 3, 5, 7};
    expect_order(may, 8, expected, 8, 4);
}

static void another_machine_binds_nothing(void **state)
{
    (void)state;
    topology_use("dgx2-16xV100.xml", "0");
    unsigned may[] = {1, 3};
    expect_order(may, 2, may, 2, 2);
}

static void small_capacity(void **state)
{
    (void)state;
    setenv("HWLOC_SYNTHETIC", "core:4 pu:2", 1);
    setenv("HWLOC_THISSYSTEM", "1", 1);
    unsigned may[] = {0, 1, 2, 3, 4, 5, 6, 7}, pus[4] = {0, 0, 0, 77};
    size_t n_pus, n_cores;
    allowed = may;
    n_allowed = 8;
    assert_int_equal(strata__topology_pus(pus, 3, &n_pus, &n_cores), STRATA_OK);
    assert_int_equal(n_pus, 3);
    assert_int_equal(n_cores, 3);
    assert_int_equal(pus[2], 4);
    assert_int_equal(pus[3], 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(this_machine, topology_forget),
        cmocka_unit_test_setup(limits_of_the_process, topology_forget),
        cmocka_unit_test_setup(files_that_are_none, topology_forget),
        cmocka_unit_test_setup(damaged_files, topology_forget),
        cmocka_unit_test_setup(a_file_that_crashes_hwloc, topology_forget),
        cmocka_unit_test_setup(words_that_say_nothing, topology_forget),
        cmocka_unit_test_setup(words_without_end, topology_forget),
        cmocka_unit_test_setup(no_memory, topology_forget),
        cmocka_unit_test_setup(cores_before_siblings, topology_forget),
        cmocka_unit_test_setup(neighbours_of_interleaved_packages, topology_forget),
        cmocka_unit_test_setup(another_machine_binds_nothing, topology_forget),
        cmocka_unit_test_setup(small_capacity, topology_forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

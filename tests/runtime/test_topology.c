/* Topology: other machines' hwloc files against expectations read off them by hand, and the order
 * in which threads are bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "topology.h"

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

static int forget_environment(void **state)
{
    (void)state;
    unsetenv("HWLOC_XMLFILE");
    unsetenv("HWLOC_SYNTHETIC");
    unsetenv("HWLOC_THISSYSTEM");
    return 0;
}

/* Lets hwloc read STRATA_SHARED/topologies/`name`, or skips the test. */
static void use_machine(const char *name, const char *is_this_system)
{
    char path[512];
    snprintf(path, sizeof path, "%s/topologies/%s", STRATA_SHARED, name);
    if (access(path, R_OK) != 0) {
        print_message("%s is absent\n", path);
        skip();
    }
    setenv("HWLOC_XMLFILE", path, 1);
    setenv("HWLOC_THISSYSTEM", is_this_system, 1);
}

static strata_topology *load(const char *name)
{
    use_machine(name, "0");
    strata_topology *t = NULL;
    assert_int_equal(strata_topology_load(&t), STRATA_OK);
    return t;
}

static void expect_cache(const strata_topology *t, unsigned level, uint64_t bytes, unsigned count)
{
    for (size_t i = 0; i < t->n_caches; i++)
        if (t->caches[i].level == level && t->caches[i].bytes == bytes) {
            assert_int_equal(t->caches[i].count, count);
            return;
        }
    fail_msg("no cache of level %u with %llu bytes", level, (unsigned long long)bytes);
}

static void expect_gpu(const strata_gpu_info *gpu, const char *pci, const char *vendor,
                       const char *name, const char *reason)
{
    assert_string_equal(gpu->pci, pci);
    assert_string_equal(gpu->vendor, vendor);
    assert_string_equal(gpu->name, name);
    assert_false(gpu->usable);
    assert_non_null(strstr(gpu->reason, reason));
}

static void expect_near(const strata_gpu_info *gpu, unsigned first, unsigned second, unsigned run)
{
    assert_int_equal(gpu->n_near_pus, 2 * run);
    for (unsigned i = 0; i < run; i++) {
        assert_int_equal(gpu->near_pus[i], first + i);
        assert_int_equal(gpu->near_pus[run + i], second + i);
    }
}

static void two_sockets_with_mixed_cards(void **state)
{
    (void)state;
    strata_topology *t = load("2socket-xeon-nvidia-pci.xml");
    assert_int_equal(t->packages, 2);
    assert_int_equal(t->cores, 16);
    assert_int_equal(t->pus, 32);
    expect_cache(t, 1, 32768, 16);
    expect_cache(t, 2, 262144, 16);
    expect_cache(t, 3, 20971520, 2);
    assert_int_equal(t->n_numa, 2);
    assert_int_equal(t->numa[0].memory_bytes, 34330173440);
    assert_int_equal(t->numa[1].os_index, 1);
    assert_int_equal(t->numa[1].memory_bytes, 34359738368);
    assert_int_equal(t->numa[1].pus, 16);
    assert_int_equal(t->n_gpus, 5);
    const char *tesla = "Tesla M2075 Dual-Slot Computing Processor Module";
    expect_gpu(&t->gpus[0], "0000:03:00.0", "10de", tesla, "libstrata_cuda.so");
    expect_near(&t->gpus[0], 0, 16, 8);
    expect_gpu(&t->gpus[1], "0000:05:03.0", "102b", "MGA G200eW WPCM450", "display adapter");
    expect_gpu(&t->gpus[2], "0000:83:00.0", "10de", tesla, "libstrata_cuda.so");
    expect_near(&t->gpus[2], 8, 24, 8);
    expect_gpu(&t->gpus[3], "0000:84:00.0", "10de", "Tesla K40m", "libstrata_cuda.so");
    expect_gpu(&t->gpus[4], "0000:84:00.1", "1002", "AMD Radeon R9 200 / HD 7900 Series",
               "no driver for this vendor (1002)");
    expect_near(&t->gpus[4], 8, 24, 8);
    assert_null(t->cuda_plugin);
    assert_int_equal(t->cuda_devices, 0);
    strata_topology_free(&t);
    assert_null(t);
}

static void sixteen_gpus(void **state)
{
    (void)state;
    strata_topology *t = load("dgx2-16xV100.xml");
    assert_int_equal(t->packages, 2);
    assert_int_equal(t->cores, 4);
    assert_int_equal(t->pus, 4);
    expect_cache(t, 3, 34603008, 2);
    assert_int_equal(t->n_numa, 2);
    assert_int_equal(t->numa[1].memory_bytes, 811737923584);
    static const char *const buses[] = {"34", "36", "39", "3b", "57", "59", "5c", "5e",
                                        "b7", "b9", "bc", "be", "e0", "e2", "e5", "e7"};
    assert_int_equal(t->n_gpus, 16);
    for (unsigned i = 0; i < 16; i++) {
        char pci[16];
        snprintf(pci, sizeof pci, "0000:%s:00.0", buses[i]);
        expect_gpu(&t->gpus[i], pci, "10de", "Tesla V100-SXM3-32GB-H", "libstrata_cuda.so");
        expect_near(&t->gpus[i], i < 8 ? 0 : 24, i < 8 ? 1 : 25, 1);
    }
    strata_topology_free(&t);
}

static void many_cores_without_devices(void **state)
{
    (void)state;
    strata_topology *t = load("2xepyc9654-nogpu.xml");
    assert_int_equal(t->packages, 2);
    assert_int_equal(t->cores, 192);
    assert_int_equal(t->pus, 384);
    expect_cache(t, 3, 33554432, 24);
    assert_int_equal(t->n_numa, 1);
    assert_int_equal(t->numa[0].pus, 384);
    assert_int_equal(t->n_gpus, 0);
    strata_topology_free(&t);
}

static void caches_of_two_sizes(void **state)
{
    (void)state;
    strata_topology *t = load("dgx-gb10-arm64.xml");
    assert_int_equal(t->packages, 1);
    assert_int_equal(t->cores, 20);
    assert_int_equal(t->pus, 20);
    expect_cache(t, 2, 524288, 10);
    expect_cache(t, 2, 2097152, 10);
    expect_cache(t, 3, 8388608, 1);
    expect_cache(t, 3, 16777216, 1);
    assert_int_equal(t->numa[0].memory_bytes, 128520671232);
    assert_int_equal(t->n_gpus, 0);
    strata_topology_free(&t);
}

static void this_machine(void **state)
{
    (void)state;
    strata_topology *t = NULL;
    assert_int_equal(strata_topology_load(&t), STRATA_OK);
    assert_true(t->pus >= 1 && t->cores <= t->pus && t->packages <= t->pus);
    assert_true(t->n_isa >= 1);
    assert_string_equal(t->isa[0], "ref");
    strata_topology_free(&t);
    strata_topology_free(&t);
}

static void unreadable_descriptions(void **state)
{
    (void)state;
    strata_topology *t;
    setenv("HWLOC_XMLFILE", "absent.xml", 1);
    assert_int_equal(strata_topology_load(&t), STRATA_E_IO);
    assert_null(t);
    assert_non_null(strstr(strata_last_error(), "absent.xml"));
    forget_environment(NULL);
    setenv("HWLOC_SYNTHETIC", "no such description", 1);
    assert_int_equal(strata_topology_load(&t), STRATA_E_IO);
    assert_null(t);
}

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
    use_machine("2socket-xeon-nvidia-pci.xml", "1");
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
    use_machine("dgx2-16xV100.xml", "0");
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
        cmocka_unit_test_setup(two_sockets_with_mixed_cards, forget_environment),
        cmocka_unit_test_setup(sixteen_gpus, forget_environment),
        cmocka_unit_test_setup(many_cores_without_devices, forget_environment),
        cmocka_unit_test_setup(caches_of_two_sizes, forget_environment),
        cmocka_unit_test_setup(this_machine, forget_environment),
        cmocka_unit_test_setup(unreadable_descriptions, forget_environment),
        cmocka_unit_test_setup(cores_before_siblings, forget_environment),
        cmocka_unit_test_setup(neighbours_of_interleaved_packages, forget_environment),
        cmocka_unit_test_setup(another_machine_binds_nothing, forget_environment),
        cmocka_unit_test_setup(small_capacity, forget_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

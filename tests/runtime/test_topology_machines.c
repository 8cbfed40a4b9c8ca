/* Topology: descriptions of other machines against tables read off them by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topology_fixture.h"

#define NO_PLUGIN "no CUDA plug-in: $STRATA_CUDA_PLUGIN is 'no-plug-in'"
#define NO_VENDOR "no driver for this vendor (1002)"
#define DISPLAY "display adapter"

#define UNIFIED STRATA_CACHE_UNIFIED
#define DATA STRATA_CACHE_DATA
#define CODE STRATA_CACHE_INSTRUCTION

/* What a description says.  Units are written "0-3,8"; lists end with an entry of zeros. */
struct gpu {
    const char *pci, *vendor, *name, *os_devices, *near;
    int numa;
    const char *reason;
};

struct numa {
    uint64_t bytes;
    unsigned os_index, pus;
    const char *kind;
    uint64_t bandwidth, latency;
};

struct machine {
    unsigned packages, cores, pus, threads_per_core;
    const char *allowed;
    strata_core_info kinds[3];
    strata_cache_info caches[9];
    struct numa numa[5];
    struct gpu gpus[17];
    strata_accelerator_info accelerators[3];
};

static void expect_text(const char *is, const char *expected)
{
    if (expected)
        assert_string_equal(is, expected);
    else
        assert_null(is);
}

static void expect_units(const unsigned *units, size_t n, const char *expected)
{
    size_t i = 0;
    for (const char *at = expected; *at; at += strcspn(at, ",") + (strchr(at, ',') != NULL)) {
        unsigned first, last;
        if (sscanf(at, "%u-%u", &first, &last) != 2)
            last = first;
        for (unsigned unit = first; unit <= last; unit++) {
            assert_true(i < n);
            assert_int_equal(units[i++], unit);
        }
    }
    assert_int_equal(i, n);
}

static void expect_memories(const strata_topology *t, const struct machine *m)
{
    size_t i;
    for (i = 0; m->caches[i].count; i++) {
        size_t found = 0;
        for (size_t j = 0; j < t->n_caches; j++)
            if (t->caches[j].level == m->caches[i].level &&
                t->caches[j].bytes == m->caches[i].bytes && t->caches[j].kind == m->caches[i].kind)
                found += t->caches[j].count;
        assert_int_equal(found, m->caches[i].count);
    }
    assert_int_equal(t->n_caches, i);
    for (i = 0; m->numa[i].pus; i++) {
        assert_true(i < t->n_numa);
        assert_int_equal(t->numa[i].os_index, m->numa[i].os_index);
        assert_int_equal(t->numa[i].memory_bytes, m->numa[i].bytes);
        assert_int_equal(t->numa[i].pus, m->numa[i].pus);
        expect_text(t->numa[i].kind, m->numa[i].kind);
        assert_int_equal(t->numa[i].bandwidth_mib_per_s, m->numa[i].bandwidth);
        assert_int_equal(t->numa[i].latency_ns, m->numa[i].latency);
    }
    assert_int_equal(t->n_numa, i);
}

static void expect_gpu(const strata_gpu_info *gpu, const struct gpu *expected)
{
    char names[128] = "";
    assert_string_equal(gpu->pci, expected->pci);
    assert_string_equal(gpu->vendor, expected->vendor);
    expect_text(gpu->name, expected->name);
    for (size_t i = 0; i < gpu->n_os_devices; i++) {
        strcat(names, i ? " " : "");
        strcat(names, gpu->os_devices[i]);
    }
    assert_string_equal(names, expected->os_devices);
    expect_units(gpu->near_pus, gpu->n_near_pus, expected->near);
    assert_int_equal(gpu->near_numa, expected->numa);
    assert_false(gpu->usable);
    assert_int_equal(gpu->memory_bytes, 0);
    if (!strstr(gpu->reason, expected->reason))
        fail_msg("%s: \"%s\" is not about \"%s\"", gpu->pci, gpu->reason, expected->reason);
}

static void expect_devices(const strata_topology *t, const struct machine *m)
{
    size_t i;
    for (i = 0; m->gpus[i].pci; i++) {
        assert_true(i < t->n_gpus);
        expect_gpu(&t->gpus[i], &m->gpus[i]);
    }
    assert_int_equal(t->n_gpus, i);
    for (i = 0; m->accelerators[i].os_device; i++) {
        assert_true(i < t->n_accelerators);
        assert_string_equal(t->accelerators[i].os_device, m->accelerators[i].os_device);
        expect_text(t->accelerators[i].name, m->accelerators[i].name);
        expect_text(t->accelerators[i].pci, m->accelerators[i].pci);
    }
    assert_int_equal(t->n_accelerators, i);
    assert_null(t->cuda_plugin);
    assert_int_equal(t->cuda_devices, 0);
}

static void expect_machine(const char *name, const struct machine *m)
{
    strata_topology *t = NULL;
    size_t i;
    topology_use(name, "0");
    assert_int_equal(strata_topology_load(&t), STRATA_OK);
    assert_int_equal(t->packages, m->packages);
    assert_int_equal(t->cores, m->cores);
    assert_int_equal(t->pus, m->pus);
    assert_int_equal(t->threads_per_core, m->threads_per_core);
    expect_units(t->allowed_pus, t->n_allowed_pus, m->allowed);
    assert_true(t->cpu_quota == 0);
    for (i = 0; m->kinds[i].pus; i++) {
        assert_true(i < t->n_core_kinds);
        assert_int_equal(t->core_kinds[i].efficiency, m->kinds[i].efficiency);
        expect_text(t->core_kinds[i].type, m->kinds[i].type);
        assert_int_equal(t->core_kinds[i].cores, m->kinds[i].cores);
        assert_int_equal(t->core_kinds[i].pus, m->kinds[i].pus);
    }
    assert_int_equal(t->n_core_kinds, i);
    expect_memories(t, m);
    expect_devices(t, m);
    strata_topology_free(&t);
    assert_null(t);
}

static void every_kind_of_device(void **state)
{
    (void)state;
    static const struct machine machine = {
        1,
        4,
        6,
        2,
        "0-4,6",
        {{0, "IntelAtom", 2, 2}, {1, "IntelCore", 2, 4}},
        {{1, 49152, 2, DATA},
         {1, 32768, 2, DATA},
         {1, 32768, 2, CODE},
         {1, 65536, 2, CODE},
         {2, 2097152, 2, UNIFIED},
         {2, 4194304, 1, UNIFIED},
         {3, 37748736, 1, UNIFIED}},
        {{68719476736, 0, 4, NULL, 131072, 90},
         {17179869184, 2, 4, "HBM", 819200, 0},
         {34359738368, 1, 2, NULL, 0, 0},
         {274877906944, 3, 6, "CXLMemory", 0, 250}},
        {{"0000:01:00.0", "10de", "Made Up 4090", "card1 opencl0d1 nvml0 cuda0", "0-3", 0,
          NO_PLUGIN},
         {"0001:81:00.0", "10de", NULL, "", "4,6", 1, NO_PLUGIN},
         {"0001:c1:00.0", "1002", "Made Up Instinct", "rsmi0", "4,6", 1, NO_VENDOR},
         {"0002:00:02.0", "1af4", NULL, "card0", "0-4,6", -1, DISPLAY},
         {"0002:00:03.0", "10de", NULL, "", "0-4,6", -1, NO_PLUGIN}},
        {{"Made Up MI", "rsmi1", "0001:c2:00.0"}, {"Made Up on Board", "cuda1", NULL}},
    };
    expect_machine("made_up.xml", &machine);
}

static void two_sockets_with_mixed_cards(void **state)
{
    (void)state;
    static const char tesla[] = "Tesla M2075 Dual-Slot Computing Processor Module";
    static const char first[] = "0-7,16-23", second[] = "8-15,24-31";
    const struct machine machine = {
        2,
        16,
        32,
        2,
        "0-31",
        {{0, NULL, 0, 0}},
        {{1, 32768, 16, UNIFIED}, {2, 262144, 16, UNIFIED}, {3, 20971520, 2, UNIFIED}},
        {{34330173440, 0, 16, NULL, 0, 0}, {34359738368, 1, 16, NULL, 0, 0}},
        {{"0000:03:00.0", "10de", tesla, "", first, 0, NO_PLUGIN},
         {"0000:05:03.0", "102b", "MGA G200eW WPCM450", "", first, 0, DISPLAY},
         {"0000:83:00.0", "10de", tesla, "", second, 1, NO_PLUGIN},
         {"0000:84:00.0", "10de", "Tesla K40m", "cuda0 card0", second, 1, NO_PLUGIN},
         {"0000:84:00.1", "1002", "AMD Radeon R9 200 / HD 7900 Series", "opencl0d1", second, 1,
          NO_VENDOR}},
        {{NULL, NULL, NULL}},
    };
    expect_machine("2socket-xeon-nvidia-pci.xml", &machine);
}

#define V100(bus, number, near, node)                                                     \
    {                                                                                     \
        "0000:" bus ":00.0", "10de", "Tesla V100-SXM3-32GB-H", "nvml" number, near, node, \
            NO_PLUGIN                                                                     \
    }

static void sixteen_gpus(void **state)
{
    (void)state;
    static const struct machine machine = {
        2,
        4,
        4,
        1,
        "0-1,24-25",
        {{0, NULL, 4, 4}},
        {{1, 32768, 4, DATA},
         {1, 32768, 4, CODE},
         {2, 1048576, 4, UNIFIED},
         {3, 34603008, 2, UNIFIED}},
        {{810234351616, 0, 2, NULL, 0, 0}, {811737923584, 1, 2, NULL, 0, 0}},
        {V100("34", "0", "0-1", 0), V100("36", "1", "0-1", 0), V100("39", "2", "0-1", 0),
         V100("3b", "3", "0-1", 0), V100("57", "4", "0-1", 0), V100("59", "5", "0-1", 0),
         V100("5c", "6", "0-1", 0), V100("5e", "7", "0-1", 0), V100("b7", "8", "24-25", 1),
         V100("b9", "9", "24-25", 1), V100("bc", "10", "24-25", 1), V100("be", "11", "24-25", 1),
         V100("e0", "12", "24-25", 1), V100("e2", "13", "24-25", 1), V100("e5", "14", "24-25", 1),
         V100("e7", "15", "24-25", 1)},
        {{NULL, NULL, NULL}},
    };
    expect_machine("dgx2-16xV100.xml", &machine);
}

static void many_cores_without_devices(void **state)
{
    (void)state;
    static const struct machine machine = {
        2,
        192,
        384,
        2,
        "0-383",
        {{0, NULL, 0, 0}},
        {{1, 32768, 192, DATA},
         {1, 32768, 192, CODE},
         {2, 1048576, 192, UNIFIED},
         {3, 33554432, 24, UNIFIED}},
        {{0, 0, 384, NULL, 0, 0}},
        {{NULL, NULL, NULL, NULL, NULL, 0, NULL}},
        {{NULL, NULL, NULL}},
    };
    expect_machine("2xepyc9654-nogpu.xml", &machine);
}

static void caches_of_two_sizes(void **state)
{
    (void)state;
    static const struct machine machine = {
        1,
        20,
        20,
        1,
        "0-19",
        {{0, NULL, 10, 10}, {1, NULL, 10, 10}},
        {{1, 65536, 20, DATA},
         {1, 65536, 20, CODE},
         {2, 524288, 10, UNIFIED},
         {2, 2097152, 10, UNIFIED},
         {3, 8388608, 1, UNIFIED},
         {3, 16777216, 1, UNIFIED}},
        {{128520671232, 0, 20, NULL, 0, 0}},
        {{NULL, NULL, NULL, NULL, NULL, 0, NULL}},
        {{NULL, NULL, NULL}},
    };
    expect_machine("dgx-gb10-arm64.xml", &machine);
}

static void a_machine_in_words(void **state)
{
    (void)state;
    static const struct machine machine = {
        2,
        6,
        12,
        2,
        "0-11",
        {{0, NULL, 0, 0}},
        {{2, 1048576, 6, UNIFIED}},
        {{1073741824, 0, 6, NULL, 0, 0}, {1073741824, 1, 6, NULL, 0, 0}},
        {{NULL, NULL, NULL, NULL, NULL, 0, NULL}},
        {{NULL, NULL, NULL}},
    };
    strata_topology *t = NULL;
    setenv("HWLOC_SYNTHETIC", "package:2 [numa(memory=1073741824)] l2:3(size=1048576) core:1 pu:2",
           1);
    assert_int_equal(strata_topology_load(&t), STRATA_OK);
    assert_int_equal(t->packages, 2);
    assert_int_equal(t->cores, 6);
    assert_int_equal(t->threads_per_core, 2);
    expect_units(t->allowed_pus, t->n_allowed_pus, machine.allowed);
    expect_memories(t, &machine);
    strata_topology_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_kind_of_device, topology_forget),
        cmocka_unit_test_setup(two_sockets_with_mixed_cards, topology_forget),
        cmocka_unit_test_setup(sixteen_gpus, topology_forget),
        cmocka_unit_test_setup(many_cores_without_devices, topology_forget),
        cmocka_unit_test_setup(caches_of_two_sizes, topology_forget),
        cmocka_unit_test_setup(a_machine_in_words, topology_forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

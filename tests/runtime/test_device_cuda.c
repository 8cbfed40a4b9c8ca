/* The chain of steps to a GPU that is used: plug-in found, opened, driver and device usable,
 * self-test passed.  The GPUs are those of the made-up machine, the plug-in a stand-in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device_cuda.h"
#include "topology_fixture.h"

/* Its NVIDIA GPUs; the second one has no name but the driver's. */
#define FIRST "0000:01:00.0"
#define SECOND "0001:81:00.0"
#define THIRD "0002:00:03.0"

static int begin(void **state)
{
    unsetenv("FAKE_CUDA");
    setenv("FAKE_CUDA_DEVICES", FIRST " " SECOND, 1);
    return topology_forget(state);
}

static strata_topology *load(const char *plugin, const char *fails, const char *this_system)
{
    strata_topology *t = NULL;
    setenv("STRATA_CUDA_PLUGIN", plugin, 1);
    setenv("FAKE_CUDA", fails, 1);
    topology_use("made_up.xml", this_system);
    assert_int_equal(strata_topology_load(&t), STRATA_OK);
    return t;
}

static const strata_gpu_info *find(const strata_topology *t, const char *pci)
{
    for (size_t i = 0; i < t->n_gpus; i++)
        if (!strcmp(t->gpus[i].pci, pci))
            return &t->gpus[i];
    fail_msg("no GPU at %s", pci);
    return NULL;
}

static void expect_reason(const strata_topology *t, const char *pci, const char *about)
{
    const strata_gpu_info *gpu = find(t, pci);
    assert_false(gpu->usable);
    assert_int_equal(gpu->memory_bytes, 0);
    if (!strstr(gpu->reason, about))
        fail_msg("%s: \"%s\" is not about \"%s\"", pci, gpu->reason, about);
}

/* No NVIDIA GPU is usable, for this reason; the plug-in is shown once it was opened as one. */
static void expect_none(const char *plugin, const char *fails, bool opened, const char *about)
{
    strata_topology *t = load(plugin, fails, "1");
    expect_reason(t, FIRST, about);
    expect_reason(t, SECOND, about);
    expect_reason(t, "0001:c1:00.0", "no driver for this vendor (1002)");
    if (opened)
        assert_string_equal(t->cuda_plugin, plugin);
    else
        assert_null(t->cuda_plugin);
    strata_topology_free(&t);
}

static void not_found(void **state)
{
    (void)state;
    expect_none("absent.so", "", false, "no CUDA plug-in: $STRATA_CUDA_PLUGIN is 'absent.so'");
    expect_none(".", "", false, "is '.', which is no file");
    unlink("plugin.fifo");
    assert_int_equal(mkfifo("plugin.fifo", 0600), 0);
    expect_none("plugin.fifo", "", false, "which is no file");
    unlink("plugin.fifo");
}

static void not_opened(void **state)
{
    (void)state;
    char file[PATH_MAX];
    snprintf(file, sizeof file, "%s/topology/made_up.xml", STRATA_TEST_DATA);
    expect_none(file, "", false, "CUDA plug-in cannot be opened: ");
    expect_none(FAKE_NO_ENTRY, "", false, "has no function strata_cuda_entry");
    expect_none(FAKE_CUDA, "table", false, "gives no table");
    expect_none(FAKE_CUDA, "abi", false, "is of another version: ABI 6");
    expect_none(FAKE_CUDA, "size", false, "is of another version: ABI 5 of ");
    expect_none(FAKE_CUDA, "function", false, "lacks a function");
}

static void no_driver(void **state)
{
    (void)state;
    expect_none(FAKE_CUDA, "driver", true,
                "driver cannot be used: libcuda.so.1 is not installed (error 35); install");
    expect_none(FAKE_CUDA, "silent driver", true, "it does not say why (error 36)");
    expect_none(FAKE_CUDA, "long driver", true, "driver cannot be used: \\x1b\\x1b");
}

static void no_device(void **state)
{
    (void)state;
    strata_topology *t = load(FAKE_CUDA, "device", "1");
    expect_reason(t, FIRST, "cannot use the device: compute capability 2.0 is too old (error 35)");
    expect_reason(t, THIRD, "does not show it (2 other devices); see CUDA_VISIBLE_DEVICES");
    assert_true(find(t, SECOND)->usable);
    strata_topology_free(&t);
    expect_none(FAKE_CUDA, "nameless device", true, "cannot use the device: lost");
    setenv("FAKE_CUDA_DEVICES", "", 1);
    expect_none(FAKE_CUDA, "", true, "does not show it (0 other devices)");
}

static void failed_self_test(void **state)
{
    (void)state;
    strata_topology *t = load(FAKE_CUDA, "self-test", "1");
    expect_reason(t, FIRST, "self-test failed: dot product of 64: 63, must be 64 (error 35)");
    assert_true(find(t, SECOND)->usable);
    strata_topology_free(&t);
}

static void usable(void **state)
{
    (void)state;
    static const char *const fails[] = {"", "newer size"};
    for (size_t i = 0; i < 2; i++) {
        strata_topology *t = load(FAKE_CUDA, fails[i], "1");
        const strata_gpu_info *first = find(t, FIRST), *second = find(t, SECOND);
        assert_true(first->usable);
        assert_string_equal(first->name, "Made Up 4090");
        assert_memory_equal(first->reason,
                            "CUDA device 0, compute capability 9.0, self-test passed, yyy", 60);
        assert_int_equal(strlen(first->reason), 57 + 63);
        assert_int_equal(first->memory_bytes, 80000000000);
        assert_int_equal(first->memory_free_bytes, 79000000000);
        assert_true(second->usable);
        assert_int_equal(strlen(second->name), 127);
        assert_non_null(strstr(second->reason, "CUDA device 1"));
        assert_string_equal(t->cuda_plugin, FAKE_CUDA);
        assert_int_equal(t->cuda_devices, 2);
        strata_topology_free(&t);
    }
}

/* A device of this host may have the address of the other machine's. */
static void another_machines_gpus(void **state)
{
    (void)state;
    strata_topology *t = load(FAKE_CUDA, "", "0");
    expect_reason(t, FIRST, "not a GPU of this host");
    expect_reason(t, SECOND, "not a GPU of this host");
    strata_topology_free(&t);
}

static void machines_without_nvidia(void **state)
{
    (void)state;
    strata_topology *t = NULL;
    setenv("STRATA_CUDA_PLUGIN", FAKE_CUDA, 1);
    setenv("HWLOC_SYNTHETIC", "core:2 pu:1", 1);
    setenv("HWLOC_THISSYSTEM", "1", 1);
    assert_int_equal(strata_topology_load(&t), STRATA_OK);
    assert_null(t->cuda_plugin);
    strata_topology_free(&t);
}

/* Without the variable, the plug-in lies beside the library. */
static void beside_the_library(void **state)
{
    (void)state;
    char folder[] = "plugin-XXXXXX", command[3 * PATH_MAX], path[PATH_MAX];
    assert_non_null(mkdtemp(folder));
    snprintf(command, sizeof command, "cp %s %s/libstrata.so && cp %s %s/" STRATA_CUDA_LIBRARY,
             STRATA_LIBRARY, folder, FAKE_CUDA, folder);
    assert_int_equal(system(command), 0);
    unsetenv("STRATA_CUDA_PLUGIN");
    topology_use("made_up.xml", "1");
    snprintf(path, sizeof path, "%s/libstrata.so", folder);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        fail_msg("%s", dlerror());
    strata_status (*topology_load)(strata_topology **) =
        (strata_status(*)(strata_topology **))dlsym(library, "strata_topology_load");
    void (*topology_free)(strata_topology **) =
        (void (*)(strata_topology **))dlsym(library, "strata_topology_free");
    for (unsigned there = 2; there-- > 0;) {
        strata_topology *t = NULL;
        assert_int_equal(topology_load(&t), STRATA_OK);
        assert_int_equal(t->cuda_devices, there ? 2 : 0);
        assert_int_equal(find(t, FIRST)->usable, there);
        if (!there)
            expect_reason(t, FIRST, "libstrata_cuda.so is not in ");
        topology_free(&t);
        snprintf(path, sizeof path, "%s/" STRATA_CUDA_LIBRARY, folder);
        assert_int_equal(unlink(path), there ? 0 : -1);
    }
    dlclose(library);
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(not_found, begin),
        cmocka_unit_test_setup(not_opened, begin),
        cmocka_unit_test_setup(no_driver, begin),
        cmocka_unit_test_setup(no_device, begin),
        cmocka_unit_test_setup(failed_self_test, begin),
        cmocka_unit_test_setup(usable, begin),
        cmocka_unit_test_setup(another_machines_gpus, begin),
        cmocka_unit_test_setup(machines_without_nvidia, begin),
        cmocka_unit_test_setup(beside_the_library, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

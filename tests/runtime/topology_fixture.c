#include "topology_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int topology_forget(void **state)
{
    (void)state;
    unsetenv("HWLOC_XMLFILE");
    unsetenv("HWLOC_SYNTHETIC");
    unsetenv("HWLOC_THISSYSTEM");
    return setenv("STRATA_CUDA_PLUGIN", "no-plug-in", 1);
}

void topology_use(const char *name, const char *is_this_system)
{
    char path[512];
    snprintf(path, sizeof path, "%s/topology/%s", STRATA_TEST_DATA, name);
    if (access(path, R_OK) != 0)
        snprintf(path, sizeof path, "%s/topologies/%s", STRATA_SHARED, name);
    if (access(path, R_OK) != 0) {
        print_message("%s is absent\n", path);
        skip();
    }
    setenv("HWLOC_XMLFILE", path, 1);
    setenv("HWLOC_THISSYSTEM", is_this_system, 1);
}

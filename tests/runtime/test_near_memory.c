/* Pages come from a node while that is wanted, and from where they did before afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "near_memory.h"
#include "topology.h"

/* The thread's policy, and the nodes of it. */
static hwloc_membind_policy_t policy_now(hwloc_topology_t hwloc, hwloc_bitmap_t nodes)
{
    hwloc_membind_policy_t policy;
    if (hwloc_get_membind(hwloc, nodes, &policy, HWLOC_MEMBIND_THREAD | HWLOC_MEMBIND_BYNODESET) !=
        0)
        return HWLOC_MEMBIND_MIXED;
    return policy;
}

static void bound_for_a_while(void **state)
{
    (void)state;
    struct strata__near_memory near;
    hwloc_topology_t hwloc;
    hwloc_bitmap_t nodes = hwloc_bitmap_alloc();
    assert_int_equal(strata__topology_open(&hwloc), STRATA_OK);
    hwloc_obj_t node = hwloc_get_next_obj_by_type(hwloc, HWLOC_OBJ_NUMANODE, NULL);
    hwloc_membind_policy_t before = policy_now(hwloc, nodes);
    bool bound = node && strata__near_memory_begin(&near, (int)node->os_index);
    if (bound) {
        assert_int_equal(policy_now(hwloc, nodes), HWLOC_MEMBIND_BIND);
        assert_true(hwloc_bitmap_isset(nodes, node->os_index));
        assert_true(strata__near_memory_end(&near));
        assert_int_equal(policy_now(hwloc, nodes), before);
    }
    hwloc_bitmap_free(nodes);
    hwloc_topology_destroy(hwloc);
    if (!bound) {
        print_message("this system does not let memory be bound\n");
        skip();
    }
}

static void unknown_nodes_change_nothing(void **state)
{
    (void)state;
    struct strata__near_memory near;
    assert_false(strata__near_memory_begin(&near, -1));
    strata__near_memory_end(&near);
    assert_false(strata__near_memory_begin(&near, 4000));
    strata__near_memory_end(&near);
    setenv("HWLOC_SYNTHETIC", "node:2 core:2 pu:1", 1);
    assert_false(strata__near_memory_begin(&near, 1)); /* of another machine */
    strata__near_memory_end(&near);
    unsetenv("HWLOC_SYNTHETIC");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bound_for_a_while),
        cmocka_unit_test(unknown_nodes_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

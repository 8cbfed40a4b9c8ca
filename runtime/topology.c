/* Topology: what the machine has. */
#include "topology.h"

#include <string.h>

#include "cpu_features.h"
#include "cpu_quota.h"
#include "gemm_blas.h"
#include "memory.h"

/* What strata_topology_load returns (`shown` comes first) with all that it points to; names are
 * borrowed from hwloc. */
struct topology {
    strata_topology shown;
    hwloc_topology_t hwloc;
    unsigned *allowed_pus;
    strata_core_info *core_kinds;
    strata_cache_info *caches;
    strata_numa_info *numa;
    struct strata__gpus gpus;
    const char *isa[STRATA_LEVEL_COUNT];
};

static unsigned count_objects(hwloc_topology_t hwloc, hwloc_obj_type_t type)
{
    int n = hwloc_get_nbobjs_by_type(hwloc, type);
    return n > 0 ? (unsigned)n : 0;
}

static unsigned count_units(hwloc_topology_t hwloc, hwloc_const_bitmap_t set)
{
    unsigned n = 0;
    hwloc_obj_t pu = NULL;
    while ((pu = hwloc_get_next_obj_by_type(hwloc, HWLOC_OBJ_PU, pu)))
        n += hwloc_bitmap_isset(set, pu->os_index) != 0;
    return n;
}

/* ---- Processors ---- */

static void count_processors(struct topology *t)
{
    strata_topology *shown = &t->shown;
    shown->packages = count_objects(t->hwloc, HWLOC_OBJ_PACKAGE);
    shown->cores = count_objects(t->hwloc, HWLOC_OBJ_CORE);
    shown->pus = count_objects(t->hwloc, HWLOC_OBJ_PU);
    unsigned units = 0;
    hwloc_obj_t pu = NULL, core = NULL;
    while ((pu = hwloc_get_next_obj_by_type(t->hwloc, HWLOC_OBJ_PU, pu))) {
        hwloc_obj_t parent = hwloc_get_ancestor_obj_by_type(t->hwloc, HWLOC_OBJ_CORE, pu);
        units = parent && parent == core ? units + 1 : 1;
        core = parent;
        if (parent && units > shown->threads_per_core)
            shown->threads_per_core = units;
    }
}

/* Another machine allows all that its description shows. */
static strata_status find_allowed(struct topology *t, const char *root)
{
    struct strata__affinity affinity;
    const unsigned all = t->shown.pus;
    STRATA_TRY(strata__calloc(&t->allowed_pus, all, sizeof *t->allowed_pus, "processing units"));
    hwloc_const_bitmap_t machine = hwloc_get_root_obj(t->hwloc)->cpuset;
    size_t n = strata__topology_units(t->hwloc, machine, t->allowed_pus);
    t->shown.allowed_pus = t->allowed_pus;
    t->shown.n_allowed_pus = n;
    if (!hwloc_topology_is_thissystem(t->hwloc))
        return STRATA_OK;
    STRATA_TRY(strata__affinity_get(&affinity));
    t->shown.n_allowed_pus = 0;
    for (size_t i = 0; i < n; i++)
        if (strata__affinity_has(&affinity, t->allowed_pus[i]))
            t->allowed_pus[t->shown.n_allowed_pus++] = t->allowed_pus[i];
    return strata__cpu_quota(root, &t->shown.cpu_quota);
}

static const char *find_info(const struct hwloc_info_s *infos, unsigned n, const char *name)
{
    for (unsigned i = 0; i < n; i++)
        if (!strcmp(infos[i].name, name))
            return infos[i].value;
    return NULL;
}

static strata_status find_core_kinds(struct topology *t)
{
    int n = hwloc_cpukinds_get_nr(t->hwloc, 0);
    if (n < 0)
        n = 0;
    STRATA_TRY(strata__calloc(&t->core_kinds, (size_t)n, sizeof *t->core_kinds, "kinds of cores"));
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    if (!set)
        return strata__fail(STRATA_E_NOMEM, "kinds of cores: out of memory");
    for (int i = 0; i < n; i++) {
        unsigned n_infos;
        struct hwloc_info_s *infos;
        strata_core_info *kind = &t->core_kinds[t->shown.n_core_kinds];
        if (hwloc_cpukinds_get_info(t->hwloc, (unsigned)i, set, &kind->efficiency, &n_infos, &infos,
                                    0) < 0)
            continue;
        kind->type = find_info(infos, n_infos, "CoreType");
        kind->pus = count_units(t->hwloc, set);
        hwloc_obj_t core = NULL;
        while ((core = hwloc_get_next_obj_by_type(t->hwloc, HWLOC_OBJ_CORE, core)))
            kind->cores += hwloc_bitmap_intersects(core->cpuset, set) != 0;
        t->shown.n_core_kinds++;
    }
    hwloc_bitmap_free(set);
    t->shown.core_kinds = t->core_kinds;
    return STRATA_OK;
}

/* ---- Caches ---- */

static strata_cache_kind kind_of(hwloc_obj_t cache)
{
    switch (cache->attr->cache.type) {
    case HWLOC_OBJ_CACHE_DATA:
        return STRATA_CACHE_DATA;
    case HWLOC_OBJ_CACHE_INSTRUCTION:
        return STRATA_CACHE_INSTRUCTION;
    default:
        return STRATA_CACHE_UNIFIED;
    }
}

static void add_cache(struct topology *t, hwloc_obj_t cache)
{
    strata_cache_info is = {.level = cache->attr->cache.depth,
                            .bytes = cache->attr->cache.size,
                            .kind = kind_of(cache)};
    size_t i = 0;
    while (i < t->shown.n_caches &&
           (t->caches[i].level != is.level || t->caches[i].bytes != is.bytes ||
            t->caches[i].kind != is.kind))
        i++;
    if (i == t->shown.n_caches)
        t->caches[t->shown.n_caches++] = is;
    t->caches[i].count++;
}

/* One entry for each level, kind and size, by level; instruction caches come after the others. */
static strata_status find_caches(struct topology *t)
{
    static const hwloc_obj_type_t types[] = {
        HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L1ICACHE, HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L2ICACHE,
        HWLOC_OBJ_L3CACHE, HWLOC_OBJ_L3ICACHE, HWLOC_OBJ_L4CACHE, HWLOC_OBJ_L5CACHE};
    const size_t n = sizeof types / sizeof *types;
    size_t all = 0;
    for (size_t i = 0; i < n; i++)
        all += count_objects(t->hwloc, types[i]);
    STRATA_TRY(strata__calloc(&t->caches, all, sizeof *t->caches, "caches"));
    for (size_t i = 0; i < n; i++) {
        hwloc_obj_t cache = NULL;
        while ((cache = hwloc_get_next_obj_by_type(t->hwloc, types[i], cache)))
            add_cache(t, cache);
    }
    t->shown.caches = t->caches;
    return STRATA_OK;
}

/* ---- Memory ---- */

/* The best value of the first of the attributes that is known for the node; 0: none is. */
static uint64_t best_value(hwloc_topology_t hwloc, hwloc_obj_t node,
                           const hwloc_memattr_id_t attributes[2])
{
    struct hwloc_location who;
    hwloc_uint64_t value;
    for (unsigned i = 0; i < 2; i++)
        if (hwloc_memattr_get_best_initiator(hwloc, attributes[i], node, 0, &who, &value) == 0)
            return value;
    return 0;
}

static strata_status find_numa(struct topology *t)
{
    static const hwloc_memattr_id_t bandwidth[] = {HWLOC_MEMATTR_ID_BANDWIDTH,
                                                   HWLOC_MEMATTR_ID_READ_BANDWIDTH},
                                    latency[] = {HWLOC_MEMATTR_ID_LATENCY,
                                                 HWLOC_MEMATTR_ID_READ_LATENCY};
    unsigned n = count_objects(t->hwloc, HWLOC_OBJ_NUMANODE);
    STRATA_TRY(strata__calloc(&t->numa, n, sizeof *t->numa, "NUMA nodes"));
    hwloc_obj_t node = NULL;
    while ((node = hwloc_get_next_obj_by_type(t->hwloc, HWLOC_OBJ_NUMANODE, node)))
        t->numa[t->shown.n_numa++] =
            (strata_numa_info){.os_index = node->os_index,
                               .memory_bytes = node->attr->numanode.local_memory,
                               .pus = count_units(t->hwloc, node->cpuset),
                               .kind = node->subtype,
                               .bandwidth_mib_per_s = best_value(t->hwloc, node, bandwidth),
                               .latency_ns = best_value(t->hwloc, node, latency)};
    t->shown.numa = t->numa;
    return STRATA_OK;
}

/* ---- The whole ---- */

static strata_status describe(struct topology *t, const char *root)
{
    strata_topology *shown = &t->shown;
    STRATA_TRY(strata__topology_open(&t->hwloc));
    count_processors(t);
    STRATA_TRY(find_allowed(t, root));
    STRATA_TRY(find_core_kinds(t));
    STRATA_TRY(find_caches(t));
    STRATA_TRY(find_numa(t));
    STRATA_TRY(strata__gpus_find(&t->gpus, t->hwloc));
    shown->gpus = t->gpus.gpus;
    shown->n_gpus = t->gpus.n_gpus;
    shown->accelerators = t->gpus.accelerators;
    shown->n_accelerators = t->gpus.n_accelerators;
    shown->cuda_plugin = t->gpus.cuda_plugin;
    shown->cuda_devices = t->gpus.cuda_devices;
    for (int level = 0; level <= (int)strata_cpu_level(); level++)
        t->isa[shown->n_isa++] = strata_level_name((enum strata_level)level);
    shown->isa = t->isa;
    shown->blas = strata_blas_open();
    return STRATA_OK;
}

strata_status strata__topology_load(const char *root, strata_topology **out)
{
    struct topology *t;
    *out = NULL;
    STRATA_TRY(strata__calloc(&t, 1, sizeof *t, "topology"));
    strata_topology *shown = &t->shown;
    strata_status status = describe(t, root);
    if (status != STRATA_OK)
        strata_topology_free(&shown);
    *out = shown;
    return status;
}

strata_status strata_topology_load(strata_topology **out)
{
    return strata__topology_load("", out);
}

void strata_topology_free(strata_topology **topology)
{
    if (!topology || !*topology)
        return;
    struct topology *t = (struct topology *)*topology;
    strata__gpus_free(&t->gpus);
    if (t->hwloc)
        hwloc_topology_destroy(t->hwloc);
    strata__free(t->allowed_pus);
    strata__free(t->core_kinds);
    strata__free(t->caches);
    strata__free(t->numa);
    strata__free(t);
    *topology = NULL;
}

/* Budgets of components while models are loaded and used: what leaves, what is refused, what comes
 * back, and what is reported. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "budgets.h"
#include "engine_fixture.h"
#include "gguf_fixture.h"
#include "governor.h"
#include "model_writer.h"
#include "residency_fixture.h"

enum { TOKENS = 12, CONTEXT = 4096, SMALL_CONTEXT = 64 };

static char path[4096];                 /* of the model */
static uint64_t all_bytes, least_bytes; /* of its weights: all on the host, all on disk */
static float *wanted;                   /* its logits after TOKENS tokens */
static size_t vocab;

/* ---- Opening ---- */

struct world {
    strata_runtime *runtime;
    strata_model *models[3];
};

static strata_config base_config(void)
{
    strata_config config;
    strata_config_default(&config);
    config.threads = 2;
    config.no_tuning = config.fixed_placement = true;
    config.move_interval_ms = 1;
    return config;
}

static struct world open_world(strata_config config)
{
    struct world world = {0};
    if (strata_runtime_open(&world.runtime, &config) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    return world;
}

static strata_status load(struct world *world, int index, const char *component, const char *name)
{
    strata_model_options options;
    strata_model_options_default(&options);
    options.component = component;
    options.name = name;
    return strata_model_load(world->runtime, path, &options, &world->models[index]);
}

static void must_load(struct world *world, int index, const char *component, const char *name)
{
    if (load(world, index, component, name) != STRATA_OK)
        fail_msg("%s", strata_last_error());
}

static void close_world(struct world *world)
{
    for (int i = 0; i < 3; i++)
        strata_model_unref(&world->models[i]);
    strata_runtime_close(&world->runtime);
}

static strata_status open_session(strata_model *model, unsigned context, strata_session **session)
{
    strata_session_options options;
    strata_session_options_default(&options);
    options.context = context;
    return strata_session_open(model, &options, session);
}

/* The logits after TOKENS tokens; the caller frees them. */
static float *run(strata_model *model)
{
    strata_session *session;
    int32_t *ids = engine_some_ids(TOKENS, vocab);
    float *logits = malloc(vocab * sizeof *logits);
    if (open_session(model, SMALL_CONTEXT, &session) != STRATA_OK ||
        strata_session_eval(session, ids, TOKENS, STRATA_LOGITS_LAST) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    memcpy(logits, strata_session_logits(session, 0), vocab * sizeof *logits);
    strata_session_close(&session);
    free(ids);
    return logits;
}

static void runs_as_wanted(strata_model *model)
{
    float *logits = run(model);
    assert_memory_equal(logits, wanted, vocab * sizeof *logits);
    free(logits);
}

static size_t on_disk(const strata_model *model)
{
    size_t n = 0;
    for (size_t i = 0; i < strata_model_layers(model); i++)
        n += strata_model_layer(model, i).residency == STRATA_ON_DISK;
    return n;
}

static uint64_t used(const struct world *world, const char *component)
{
    strata_memory *memory;
    uint64_t bytes = UINT64_MAX;
    assert_int_equal(strata_memory_read(world->runtime, &memory), STRATA_OK);
    for (size_t i = 0; i < memory->n_components; i++)
        if (strcmp(memory->components[i].name, component) == 0)
            bytes = memory->components[i].used_bytes;
    strata_memory_free(&memory);
    assert_int_not_equal(bytes, UINT64_MAX);
    return bytes;
}

/* Five layers in Q8_0, with a context whose keys and values are large enough to be charged. */
static void write_model(strata_runtime *runtime)
{
    const char *floats = model_write(&(struct model_spec){.layers = RIG_LAYERS, .context = CONTEXT},
                                     "memory-F32.gguf");
    strata_quantize_options options;
    strata_quantize_options_default(&options);
    options.type = "Q8_0";
    options.pure = true;
    snprintf(path, sizeof path, "%s", gguf_path("memory.gguf"));
    if (strata_quantize(runtime, floats, path, &options, NULL, NULL, NULL) != STRATA_OK)
        fail_msg("%s", strata_last_error());
}

static int setup(void **state)
{
    rig_setup(state);
    char home[4096];
    snprintf(home, sizeof home, "%s", gguf_path("home"));
    setenv("STRATA_HOME", home, 1);
    struct world world = open_world(base_config());
    write_model(world.runtime);
    must_load(&world, 0, NULL, NULL);
    vocab = strata_model_info_get(world.models[0]).vocab;
    wanted = run(world.models[0]);
    all_bytes = strata__charged_bytes(world.models[0]);
    least_bytes = strata__least_bytes(world.models[0]);
    assert_true(all_bytes > least_bytes);
    close_world(&world);
    return 0;
}

static int teardown(void **state)
{
    free(wanted);
    unsetenv("STRATA_HOME");
    return rig_teardown(state);
}

/* ---- Weights ---- */

/* As many layers are on the host as the budget has room for; below the least there is no model. */
static void weights_keep_their_budget(void **state)
{
    (void)state;
    size_t before = 0;
    for (uint64_t limit = all_bytes; limit >= least_bytes; limit -= (all_bytes - least_bytes) / 8) {
        strata_budget budget = {"mine/model_weights(rig)", limit, STRATA_NO_LIMIT, NULL};
        strata_config config = base_config();
        config.budgets = &budget;
        config.n_budgets = 1;
        struct world world = open_world(config);
        must_load(&world, 0, "mine", "rig");
        strata_model *model = world.models[0];
        size_t disk = on_disk(model), layers = strata_model_layers(model);
        assert_true(used(&world, "mine/model_weights(rig)") <= limit);
        assert_true(disk >= before);
        for (size_t i = layers - disk; i < layers; i++) /* the last ones */
            assert_int_equal(strata_model_layer(model, i).residency, STRATA_ON_DISK);
        runs_as_wanted(model);
        if (limit == all_bytes)
            assert_int_equal(disk, 0);
        if (disk == layers) /* the least: not even one more */
            assert_int_equal(strata_model_move(model, 0, STRATA_ON_HOST, NULL), STRATA_E_BUDGET);
        assert_true(used(&world, "mine/model_weights(rig)") <= limit);
        before = disk;
        close_world(&world);
    }
    assert_true(before > 2);
    strata_budget budget = {"mine", least_bytes - 1, STRATA_NO_LIMIT, NULL};
    strata_config config = base_config();
    config.budgets = &budget;
    config.n_budgets = 1;
    struct world world = open_world(config);
    assert_int_equal(load(&world, 0, "mine", "rig"), STRATA_E_BUDGET);
    assert_null(world.models[0]);
    uint64_t requested, available;
    strata_last_budget(&requested, &available);
    assert_int_equal(requested, least_bytes);
    assert_int_equal(available, least_bytes - 1);
    assert_int_equal(load(&world, 0, "mine/deeper", "rig"), STRATA_E_INVALID);
    assert_int_equal(load(&world, 0, "", "rig"), STRATA_E_INVALID);
    assert_int_equal(used(&world, "mine"), 0);
    close_world(&world);
}

/* Stand-ins of the real sizes' proportions: both models of tier 3 together are larger than its
 * share, and OpenELM takes what tier 2 leaves, whichever comes first; tier 2 gets it back. */
static void loading_orders(void **state)
{
    (void)state;
    uint64_t spare = all_bytes - least_bytes;
    strata_budget budgets[] = {
        {"tier2_expander", all_bytes, STRATA_NO_LIMIT, NULL},
        {"tier2_expander/model_weights(smollm-360m)", all_bytes, STRATA_NO_LIMIT, NULL},
        {"tier3_reasoner", all_bytes + least_bytes + spare / 4, STRATA_NO_LIMIT, NULL},
    };
    for (int order = 0; order < 2; order++) {
        strata_config config = base_config();
        config.fixed_placement = false;
        config.budgets = budgets;
        config.n_budgets = sizeof budgets / sizeof *budgets;
        struct world world = open_world(config);
        static const char *const names[] = {"smollm-1.7b", "openelm-1.1b"};
        must_load(&world, 0, "tier3_reasoner", names[order]);
        must_load(&world, 1, "tier3_reasoner", names[!order]);
        /* With tier 2's share there is room for both. */
        assert_int_equal(on_disk(world.models[0]), 0);
        assert_int_equal(on_disk(world.models[1]), 0);
        assert_int_equal(used(&world, "tier3_reasoner"), 2 * all_bytes);
        runs_as_wanted(world.models[0]);
        must_load(&world, 2, "tier2_expander", "smollm-360m");
        /* Now OpenELM has only what tier 3 has beside the other one. */
        assert_int_equal(on_disk(world.models[2]), 0);
        assert_int_equal(on_disk(world.models[order]), 0);
        assert_true(on_disk(world.models[!order]) > 0);
        assert_true(used(&world, "tier3_reasoner") <= budgets[2].host_bytes);
        for (int i = 0; i < 3; i++)
            runs_as_wanted(world.models[i]);
        close_world(&world);
    }
}

/* A device on which a component may have nothing. */
static void device_budgets(void **state)
{
    (void)state;
    strata_config config = base_config();
    struct world world = open_world(config);
    struct sim_device *sim = sim_open((struct sim_options){.memory_bytes = 1 << 30});
    const char *device = sim_device(sim)->name;
    must_load(&world, 0, "tier1_linker", "any");
    must_load(&world, 1, "tier2_expander", "any");
    assert_int_equal(strata__governor_add_device(world.runtime->governor, sim_device(sim)),
                     STRATA_OK);
    assert_int_equal(strata_model_move(world.models[0], 1, STRATA_ON_DEVICE, device),
                     STRATA_E_BUDGET);
    assert_non_null(strstr(strata_last_error(), "tier1_linker is 0.0 MB of devices"));
    assert_int_equal(strata_model_layer(world.models[0], 1).residency, STRATA_ON_HOST);
    assert_int_equal(strata_model_move(world.models[1], 1, STRATA_ON_DEVICE, device), STRATA_OK);
    strata_memory *memory;
    assert_int_equal(strata_memory_read(world.runtime, &memory), STRATA_OK);
    uint64_t bytes = strata_model_layer(world.models[1], 1).weight_bytes, seen = 0;
    for (size_t i = 0; i < memory->n_entries; i++)
        if (strcmp(memory->entries[i].device, device) == 0)
            seen += memory->entries[i].bytes;
    assert_int_equal(seen, bytes);
    assert_int_equal(memory->components[0].device_used_bytes, bytes);
    strata_memory_free(&memory);
    runs_as_wanted(world.models[0]);
    runs_as_wanted(world.models[1]);
    close_world(&world);
    sim_close(sim);
}

/* ---- Sessions ---- */

/* What a session with the large context is charged with. */
static uint64_t each_session(void)
{
    strata_session *session;
    struct world world = open_world(base_config());
    must_load(&world, 0, "mine", "rig");
    assert_int_equal(open_session(world.models[0], CONTEXT, &session), STRATA_OK);
    uint64_t bytes = used(&world, "mine/context");
    assert_true(bytes > 0);
    strata_session_close(&session);
    assert_int_equal(used(&world, "mine/context"), 0);
    close_world(&world);
    return bytes;
}

/* Sessions until their budget is full; the next one is refused, and fits when another is closed. */
static void sessions_keep_theirs(void **state)
{
    (void)state;
    strata_session *sessions[64] = {NULL}, *one_more;
    uint64_t each = each_session();
    strata_budget budget = {"mine/context", 5 * each / 2, STRATA_NO_LIMIT, NULL};
    strata_config config = base_config();
    config.budgets = &budget;
    config.n_budgets = 1;
    struct world world = open_world(config);
    must_load(&world, 0, "mine", "rig");
    size_t n = 0;
    while (n < 64 && open_session(world.models[0], CONTEXT, &sessions[n]) == STRATA_OK)
        n++;
    assert_int_equal(n, 2);
    assert_null(sessions[2]);
    uint64_t requested, available;
    strata_last_budget(&requested, &available);
    assert_true(requested > available);
    assert_non_null(strstr(strata_last_error(), "mine/context"));
    assert_int_equal(used(&world, "mine/context"), 2 * each);
    strata_session_close(&sessions[0]);
    assert_int_equal(open_session(world.models[0], CONTEXT, &one_more), STRATA_OK);
    strata_session_close(&one_more);
    strata_session_close(&sessions[1]);
    runs_as_wanted(world.models[0]);
    close_world(&world);
}

/* Where weights and sessions share a budget, layers leave for disk to make room for a session. */
static void layers_make_room_for_sessions(void **state)
{
    (void)state;
    strata_session *sessions[64] = {NULL};
    strata_budget budget = {"mine", all_bytes + each_session() + 1, STRATA_NO_LIMIT, NULL};
    strata_config config = base_config();
    config.fixed_placement = false;
    config.budgets = &budget;
    config.n_budgets = 1;
    struct world world = open_world(config);
    must_load(&world, 0, "mine", "rig");
    size_t n = 0, at_first = on_disk(world.models[0]);
    while (n < 64 && open_session(world.models[0], CONTEXT, &sessions[n]) == STRATA_OK)
        n++;
    assert_int_equal(at_first, 0);
    assert_true(n > 0);
    assert_true(on_disk(world.models[0]) > 2);
    assert_true(used(&world, "mine") <= budget.host_bytes);
    strata_event events[64];
    size_t count = strata_events_read(world.runtime, 0, events, 64), collected = 0, over = 0;
    for (size_t i = 0; i < count; i++) {
        collected += events[i].kind == STRATA_EVENT_COLLECTED;
        over += events[i].kind == STRATA_EVENT_OVER_BUDGET;
    }
    assert_true(collected > 0 && over > 0);
    for (size_t i = 0; i < n; i++)
        strata_session_close(&sessions[i]);
    runs_as_wanted(world.models[0]);
    close_world(&world);
}

/* ---- Idle models ---- */

static void sleep_ms(long ms)
{
    struct timespec rest = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&rest, NULL);
}

/* A model that nobody used makes room for another one, and comes back with its next use, when there
 * is room again. */
static void idle_models_make_room(void **state)
{
    (void)state;
    strata_budget budget = {"mine", all_bytes + least_bytes, STRATA_NO_LIMIT, NULL};
    strata_config config = base_config();
    config.budgets = &budget;
    config.n_budgets = 1;
    config.idle_ms = 20;
    config.fixed_placement = false;
    struct world world = open_world(config);
    must_load(&world, 0, "mine", "first");
    sleep_ms(50);
    must_load(&world, 1, "mine", "second");
    assert_true(on_disk(world.models[0]) > 0);
    assert_int_equal(on_disk(world.models[1]), 0);
    sleep_ms(600); /* some ticks: it is not wanted, so it stays there */
    assert_true(on_disk(world.models[0]) > 0);
    runs_as_wanted(world.models[0]);
    strata_model_unref(&world.models[1]);
    runs_as_wanted(world.models[0]);
    for (int i = 0; i < 100 && on_disk(world.models[0]) > 0; i++)
        sleep_ms(50);
    assert_int_equal(on_disk(world.models[0]), 0);
    close_world(&world);
}

/* Beyond the aim the governor's thread gives back what is idle, by itself. */
static void the_aim_is_kept(void **state)
{
    (void)state;
    strata_config config = base_config();
    config.memory_aim = 1;
    config.idle_ms = 20;
    config.fixed_placement = false;
    struct world world = open_world(config);
    must_load(&world, 0, NULL, NULL);
    size_t layers = strata_model_layers(world.models[0]);
    for (int i = 0; i < 200 && on_disk(world.models[0]) < layers; i++)
        sleep_ms(50);
    assert_int_equal(on_disk(world.models[0]), layers);
    runs_as_wanted(world.models[0]);
    close_world(&world);
}

/* ---- Holders ---- */

struct cache {
    strata_holder *holder;
    uint64_t hits, shrunk;
    bool refuses;
};

static uint64_t shrink(void *user, uint64_t bytes)
{
    struct cache *cache = user;
    if (cache->refuses)
        return 0;
    cache->shrunk += bytes;
    assert_int_equal(strata_holder_set(cache->holder, strata_holder_bytes(cache->holder) - bytes),
                     STRATA_OK);
    return bytes;
}

static uint64_t hits(void *user)
{
    return ((struct cache *)user)->hits;
}

static void open_cache(struct world *world, struct cache *cache, const char *component,
                       const char *purpose)
{
    strata_holder_options options = {.size = sizeof options,
                                     .component = component,
                                     .purpose = purpose,
                                     .shrink = shrink,
                                     .hits = hits,
                                     .user = cache};
    assert_int_equal(strata_holder_open(world->runtime, &options, &cache->holder), STRATA_OK);
}

/* Caches give way to one another within their component: those of less use for their size first. */
static void caches_shrink(void **state)
{
    (void)state;
    struct world world = open_world(base_config());
    struct cache a = {.hits = 100}, b = {.hits = 1}, other = {0};
    open_cache(&world, &a, "tier2_expander/result_cache(semantic)", "a");
    open_cache(&world, &b, "tier2_expander/result_cache(semantic)", "b");
    open_cache(&world, &other, "tier1_linker/result_cache(entities)", "other");
    assert_int_equal(strata_holder_set(other.holder, 20000000), STRATA_OK);
    assert_int_equal(strata_holder_set(other.holder, 20000001), STRATA_E_BUDGET);
    assert_int_equal(other.shrunk, 0); /* its own matter */
    assert_int_equal(strata_holder_set(b.holder, 100000000), STRATA_OK);
    assert_int_equal(strata_holder_set(a.holder, 150000000), STRATA_OK);
    assert_int_equal(b.shrunk, 50000000);
    assert_int_equal(a.shrunk, 0);
    assert_int_equal(used(&world, "tier2_expander"), 200000000);
    a.refuses = b.refuses = true;
    assert_int_equal(strata_holder_set(a.holder, 160000000), STRATA_E_BUDGET);
    assert_int_equal(strata_holder_bytes(a.holder), 150000000);
    assert_int_equal(used(&world, "tier1_linker"), 20000000);
    strata_holder_close(&b.holder);
    assert_int_equal(strata_holder_set(a.holder, 160000000), STRATA_OK);
    strata_holder_options bad = {.size = sizeof bad, .component = "a/b/c", .purpose = "x"};
    strata_holder *none;
    assert_int_equal(strata_holder_open(world.runtime, &bad, &none), STRATA_E_INVALID);
    bad.size--;
    assert_int_equal(strata_holder_open(world.runtime, &bad, &none), STRATA_E_INVALID);
    strata_holder_close(&a.holder);
    strata_holder_close(&other.holder);
    assert_int_equal(used(&world, "total"), used(&world, "core"));
    close_world(&world);
}

/* ---- Optimising ---- */

static const strata_memory_action *find_action(const strata_memory_optimised *optimised,
                                               const char *what)
{
    for (size_t i = 0; i < optimised->n_actions; i++)
        if (strstr(optimised->actions[i].what, what))
            return &optimised->actions[i];
    return NULL;
}

static void optimising(void **state)
{
    (void)state;
    strata_config config = base_config();
    config.fixed_placement = false;
    struct world world = open_world(config);
    struct cache useful = {0}, useless = {0};
    strata_session *session;
    strata_memory_optimised *optimised;
    must_load(&world, 0, NULL, "rig");
    open_cache(&world, &useful, "core", "useful");
    open_cache(&world, &useless, "core", "useless");
    assert_int_equal(strata_holder_set(useful.holder, 1000000), STRATA_OK);
    assert_int_equal(strata_holder_set(useless.holder, 1000000), STRATA_OK);
    useful.hits = useless.hits = 5;
    assert_int_equal(open_session(world.models[0], CONTEXT, &session), STRATA_OK);
    assert_int_equal(strata_memory_optimise(world.runtime, NULL, &optimised), STRATA_OK);
    assert_null(find_action(optimised, "cache")); /* both were of use since they were made */
    const strata_memory_action *unload = find_action(optimised, "unload");
    assert_non_null(unload);
    assert_string_equal(unload->about, "rig");
    assert_int_equal(unload->predicted_bytes, all_bytes - least_bytes);
    assert_int_equal(unload->freed_bytes, unload->predicted_bytes);
    assert_int_equal(on_disk(world.models[0]), strata_model_layers(world.models[0]));
    assert_true(optimised->freed_bytes >= unload->freed_bytes);
    strata_memory_optimised_free(&optimised);
    useful.hits++;
    assert_int_equal(strata_memory_optimise(world.runtime, NULL, &optimised), STRATA_OK);
    assert_null(find_action(optimised, "unload"));
    const strata_memory_action *cache = find_action(optimised, "cache");
    assert_non_null(cache);
    assert_string_equal(cache->about, "useless");
    assert_int_equal(cache->predicted_bytes, 500000);
    assert_int_equal(cache->freed_bytes, 500000);
    assert_int_equal(strata_holder_bytes(useful.holder), 1000000);
    strata_memory_optimised_free(&optimised);
    strata_memory_optimise_options options;
    strata_memory_optimise_options_default(&options);
    options.size++;
    assert_int_equal(strata_memory_optimise(world.runtime, &options, &optimised), STRATA_E_INVALID);
    strata_session_close(&session);
    strata_holder_close(&useful.holder);
    strata_holder_close(&useless.holder);
    runs_as_wanted(world.models[0]);
    close_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_keep_their_budget),
        cmocka_unit_test(loading_orders),
        cmocka_unit_test(device_budgets),
        cmocka_unit_test(sessions_keep_theirs),
        cmocka_unit_test(layers_make_room_for_sessions),
        cmocka_unit_test(idle_models_make_room),
        cmocka_unit_test(the_aim_is_kept),
        cmocka_unit_test(caches_shrink),
        cmocka_unit_test(optimising),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

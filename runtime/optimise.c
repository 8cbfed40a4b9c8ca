/* Giving back what is not needed now (strata_memory.h). */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collect.h"
#include "governor.h"
#include "memory.h"
#include "model.h"
#include "residency.h"

#define NAME_CAP 64

/* What strata_memory_optimise returns: `shown` comes first, with all that it points to. */
struct result {
    strata_memory_optimised shown;
    struct step {
        strata_memory_action action;
        char about[NAME_CAP];
    } * steps;
    strata_memory_action *actions;
    size_t count, capacity;
    strata_status status; /* of making room for steps */
};

struct work {
    strata_runtime *runtime;
    struct result *result;
    unsigned idle_ms;
    /* Of the action that is under way. */
    uint64_t before;
    double began;
};

void strata_memory_optimise_options_default(strata_memory_optimise_options *options)
{
    *options = (strata_memory_optimise_options){.size = sizeof *options};
}

/* process_bytes of strata_memory; 0 when nothing says. */
static uint64_t process_bytes(const strata_runtime *runtime)
{
    struct strata__entry *entries;
    size_t n;
    uint64_t bytes = strata__private_bytes();
    if (bytes == 0 || strata__entries_list(runtime->ledger, &entries, &n) != STRATA_OK)
        return 0;
    for (size_t i = 0; i < n; i++)
        bytes += entries[i].extents ? entries[i].resident : 0;
    free(entries);
    return bytes;
}

static void begin(struct work *work)
{
    work->before = process_bytes(work->runtime);
    work->began = strata__clock_ms();
}

/* Adds what was done since `begin`, unless it was nothing. */
static void add(struct work *work, const char *what, const char *about, uint64_t predicted,
                uint64_t freed)
{
    struct result *result = work->result;
    double ms = strata__clock_ms() - work->began;
    if (freed == 0 && predicted == 0)
        return;
    if (result->count == result->capacity) {
        size_t capacity = result->capacity ? 2 * result->capacity : 16;
        result->status = strata__resize(&result->steps, capacity, sizeof *result->steps, "actions");
        if (result->status != STRATA_OK)
            return;
        result->capacity = capacity;
    }
    struct step *step = &result->steps[result->count++];
    step->action = (strata_memory_action){
        .what = what,
        .predicted_bytes = predicted,
        .freed_bytes = freed,
        .measured_bytes = (int64_t)work->before - (int64_t)process_bytes(work->runtime),
        .ms = ms,
    };
    snprintf(step->about, sizeof step->about, "%s", about);
    result->shown.freed_bytes += freed;
}

/* ---- The actions ---- */

static void shrunk(void *user, const char *purpose, uint64_t predicted, uint64_t freed)
{
    struct work *work = user;
    add(work, "shrink a cache that was of no use", purpose, predicted, freed);
    begin(work);
}

static void give_back(void *user, struct strata_model *model)
{
    struct work *work = user;
    if (strata__placed_layers(model) == 0)
        return;
    begin(work);
    uint64_t predicted = strata__residency_spare(model, false);
    uint64_t freed = predicted ? strata__residency_spare(model, true) : 0;
    add(work, "give back keys and values that are not in use", model->name, predicted, freed);
}

static void unload_idle(struct work *work)
{
    static const char reason[] = "nobody used its model, and memory is to be given back";
    for (;;) {
        struct strata__unloaded unloaded;
        begin(work);
        if (!strata__governor_unload(work->runtime->governor,
                                     strata__ledger_total(work->runtime->ledger), work->idle_ms,
                                     reason, &unloaded))
            return;
        add(work, "unload an idle model", unloaded.model, unloaded.predicted, unloaded.freed);
    }
}

/* Free parts of the heap go back to the system. */
static void trim_heap(struct work *work)
{
    struct mallinfo2 info = mallinfo2();
    begin(work);
    int did = malloc_trim(0);
    int64_t measured = (int64_t)work->before - (int64_t)process_bytes(work->runtime);
    add(work, "return free heap to the system", "", info.fordblks,
        did && measured > 0 ? (uint64_t)measured : 0);
}

/* ---- All ---- */

static strata_status optimise(struct work *work)
{
    struct result *result = work->result;
    result->shown.before_bytes = process_bytes(work->runtime);
    begin(work);
    strata__holders_resize(work->runtime->collector, shrunk, work);
    unload_idle(work);
    strata__governor_each(work->runtime->governor, give_back, work);
    trim_heap(work);
    result->shown.after_bytes = process_bytes(work->runtime);
    STRATA_TRY(result->status);
    STRATA_TRY(strata__calloc(&result->actions, result->count, sizeof *result->actions, "actions"));
    for (size_t i = 0; i < result->count; i++) {
        result->actions[i] = result->steps[i].action;
        result->actions[i].about = result->steps[i].about;
    }
    result->shown.actions = result->actions;
    result->shown.n_actions = result->count;
    return STRATA_OK;
}

strata_status strata_memory_optimise(strata_runtime *runtime,
                                     const strata_memory_optimise_options *options,
                                     strata_memory_optimised **out)
{
    struct result *result;
    *out = NULL;
    if (options && options->size != sizeof *options)
        return strata__fail(STRATA_E_INVALID,
                            "strata_memory_optimise_options: size is %zu, expected %zu",
                            options->size, sizeof *options);
    STRATA_TRY(strata__calloc(&result, 1, sizeof *result, "memory"));
    struct work work = {
        .runtime = runtime, .result = result, .idle_ms = options ? options->idle_ms : 0};
    strata_memory_optimised *shown = &result->shown;
    strata_status status = optimise(&work);
    if (status != STRATA_OK)
        strata_memory_optimised_free(&shown);
    *out = shown;
    return status;
}

void strata_memory_optimised_free(strata_memory_optimised **handle)
{
    struct result *result = handle ? (struct result *)*handle : NULL;
    if (!result)
        return;
    strata__free(result->steps);
    strata__free(result->actions);
    strata__free(result);
    *handle = NULL;
}

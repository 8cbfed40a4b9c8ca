/* What the ledger has of a model's mapped weights, and which of it is not needed just now. */
#include <time.h>

#include "file_map.h"
#include "memory.h"
#include "packed_cache.h"
#include "residency_state.h"

/* What layers in these places need, or all of them on disk. */
static uint64_t needed(const struct strata_model *model, bool all_on_disk)
{
    struct strata__residency *r = model->residency;
    uint64_t held = 0, first = 0, second = 0;
    pthread_mutex_lock(&r->looking);
    for (size_t i = 0; i < r->n_layers; i++) {
        struct strata__place place = r->layers[i].place;
        uint64_t bytes = r->layers[i].bytes;
        if (!strata__can_be_on_disk(model, i))
            continue;
        if (!place.device && !place.on_disk && !all_on_disk)
            held += bytes;
        if ((!place.on_disk && !all_on_disk) || bytes <= second)
            continue;
        second = bytes > first ? first : bytes;
        first = bytes > first ? bytes : first;
    }
    pthread_mutex_unlock(&r->looking);
    return held + first + second;
}

uint64_t strata__held_bytes(const struct strata_model *model)
{
    return needed(model, false);
}

uint64_t strata__least_bytes(const struct strata_model *model)
{
    return needed(model, true) + model->residency->tables;
}

uint64_t strata__charged_bytes(const struct strata_model *model)
{
    return atomic_load(&model->residency->charged);
}

strata_status strata__residency_charge(const struct strata_model *model, enum strata__collect how,
                                       bool forced)
{
    struct strata__residency *r = model->residency;
    uint64_t bytes = strata__held_bytes(model) + r->tables;
    pthread_mutex_lock(&r->charging);
    strata_status status = strata__entry_set(r->held, bytes, how, forced);
    atomic_store(&r->charged, r->held->bytes);
    pthread_mutex_unlock(&r->charging);
    return status;
}

static bool is_product(const struct strata_model *model, const struct strata__tensor *tensor)
{
    for (size_t i = 0; i < model->n_steps; i++)
        for (unsigned p = 0; p < model->steps[i].products; p++)
            if (model->steps[i].product[p].weight == tensor && !model->steps[i].product[p].panels)
                return true;
    return false;
}

/* Where the pages are that `held` is about: the packed weights, and of the model's file what is
 * used as it is. */
static strata_status find_extents(struct strata_model *model)
{
    struct strata__residency *r = model->residency;
    unsigned shards = strata_file_info_get(model->file).shards;
    const struct strata__tensor *tables[] = {model->embedding, model->position_embedding};
    bool rows = false;
    size_t n = 0;
    STRATA_TRY(strata__calloc(&r->extents, shards + 3, sizeof *r->extents, "places of weights"));
    for (size_t i = 0; i < model->n_steps; i++)
        for (unsigned p = 0; p < model->steps[i].products; p++)
            rows |= !model->steps[i].product[p].panels;
    if (model->packed.file)
        r->extents[n++] =
            (struct strata__extent){model->packed.file->map, model->packed.file->bytes};
    for (unsigned i = 0; i < shards && rows; i++) {
        const struct strata__file_map *map = strata__file_shard(model->file, i);
        r->extents[n++] = (struct strata__extent){map->data, map->size};
    }
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        uint64_t bytes = tables[i] ? tables[i]->rows * tables[i]->row_bytes : 0;
        if (bytes && !rows)
            r->extents[n++] = (struct strata__extent){tables[i]->data, bytes};
        if (bytes && !is_product(model, tables[i]))
            r->tables += bytes;
    }
    r->held->extents = r->extents;
    r->held->n_extents = n;
    return STRATA_OK;
}

strata_status strata__residency_hold(struct strata_model *model)
{
    struct strata__residency *r = model->residency;
    struct strata__scope before = strata__scope_set(model->for_weights);
    strata_status status =
        strata__entry_open(&r->held, 0, STRATA__COLLECT_NOTHING, "weights in files", NULL);
    strata__scope_set(before);
    STRATA_TRY(status);
    STRATA_TRY(find_extents(model));
    strata__entry_add(r->held, r);
    status = strata__residency_charge(model, STRATA__COLLECT_IDLE, false);
    for (size_t i = r->n_layers; i-- > 0 && status == STRATA_E_BUDGET;)
        if (strata__can_be_on_disk(model, i)) {
            r->layers[i].place.on_disk = true;
            status = strata__residency_charge(model, STRATA__COLLECT_NOTHING, false);
        }
    STRATA_TRY(status);
    size_t on_disk = 0;
    for (size_t i = 0; i < r->n_layers; i++)
        on_disk += r->layers[i].place.on_disk;
    if (on_disk == 0)
        return STRATA_OK;
    strata__log(model->runtime->log, model->runtime->log_user, STRATA_LOG_WARN,
                "%s: %zu of %zu layers have no room in their budget and are read from disk as they "
                "run, which is slow; raise the memory limit (--memory-limit)",
                strata__file_path(model->file), on_disk, r->n_layers);
    return strata__stream_open(model, &r->stream);
}

void strata__residency_let_go(struct strata_model *model)
{
    struct strata__residency *r = model->residency;
    struct strata__entry *entry = strata__entry_remove(r);
    strata__entry_close(entry ? &entry : &r->held);
    r->held = NULL;
    strata__free(r->extents);
}

/* ---- Use ---- */

double strata__clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

void strata__residency_used(const struct strata_model *model, size_t tokens, bool decoded,
                            double began_ms)
{
    double now = strata__clock_ms();
    atomic_store(&model->residency->used_ms, (int64_t)now);
    strata__activity_add(&model->residency->activity, tokens, decoded, now - began_ms);
}

void strata__residency_activity(const struct strata_model *model, strata_activity *out)
{
    struct strata__residency *r = model->residency;
    strata__activity_read(&r->activity, out);
    out->sessions = atomic_load(&r->n_sessions);
    out->running = strata__residency_busy(model);
    double idle = strata__clock_ms() - (double)atomic_load(&r->used_ms);
    out->idle_ms = idle > 0 ? idle : 0;
}

bool strata__residency_busy(const struct strata_model *model)
{
    struct turns *turns = &model->residency->turns;
    pthread_mutex_lock(&turns->mutex);
    bool busy = turns->served != turns->drawn;
    pthread_mutex_unlock(&turns->mutex);
    return busy;
}

int64_t strata__residency_last_used(const struct strata_model *model)
{
    return atomic_load(&model->residency->used_ms);
}

uint64_t strata__residency_spare(const struct strata_model *model, bool give_back)
{
    uint64_t bytes = 0;
    strata__residency_enter(model);
    for (strata_session *s = model->residency->sessions; s; s = s->next_of_model)
        bytes += strata__kv_spare(&s->kv, give_back);
    strata__residency_leave(model);
    return bytes;
}

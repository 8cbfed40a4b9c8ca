/* Places of layers, and moves between them. */
#include "residency_state.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "events.h"
#include "memory.h"

/* ---- Turns ---- */

void strata__residency_enter(const struct strata_model *model)
{
    struct turns *turns = &model->residency->turns;
    pthread_mutex_lock(&turns->mutex);
    unsigned long mine = turns->drawn++;
    while (turns->served != mine)
        pthread_cond_wait(&turns->next, &turns->mutex);
    pthread_mutex_unlock(&turns->mutex);
}

void strata__residency_leave(const struct strata_model *model)
{
    struct turns *turns = &model->residency->turns;
    pthread_mutex_lock(&turns->mutex);
    bool waiting = ++turns->served != turns->drawn;
    pthread_mutex_unlock(&turns->mutex);
    if (waiting)
        pthread_cond_broadcast(&turns->next);
}

/* ---- Opening ---- */

static void list_layers(const struct strata_model *model, struct strata__residency *r)
{
    for (size_t i = 0; i < model->n_steps; i++) {
        if (i == 0 || model->steps[i].layer != model->steps[i - 1].layer)
            r->layers[r->n_layers++].first = i;
        r->layers[r->n_layers - 1].count++;
    }
    for (size_t i = 0; i < r->n_layers; i++)
        r->layers[i].bytes =
            strata__steps_bytes(model, model->steps + r->layers[i].first, r->layers[i].count);
}

/* Returns how many of the five could be made. */
static int open_locks(struct strata__residency *r)
{
    pthread_mutex_t *const mutexes[] = {&r->moving, &r->looking, &r->charging, &r->turns.mutex};
    for (int i = 0; i < 4; i++)
        if (pthread_mutex_init(mutexes[i], NULL) != 0)
            return i;
    return pthread_cond_init(&r->turns.next, NULL) != 0 ? 4 : 5;
}

static void close_locks(struct strata__residency *r, int n)
{
    pthread_mutex_t *const mutexes[] = {&r->moving, &r->looking, &r->charging, &r->turns.mutex};
    if (n > 4)
        pthread_cond_destroy(&r->turns.next);
    for (int i = 0; i < n && i < 4; i++)
        pthread_mutex_destroy(mutexes[i]);
}

strata_status strata__residency_open(struct strata_model *model)
{
    struct strata__residency *r;
    STRATA_TRY(strata__calloc(&r, 1, sizeof *r, "places of layers"));
    int locks = open_locks(r);
    if (locks != 5) {
        close_locks(r, locks);
        strata__free(r);
        return strata__fail(STRATA_E_NOMEM, "a lock for the layers cannot be made");
    }
    model->residency = r;
    STRATA_TRY(strata__calloc(&r->home, model->n_steps, sizeof *r->home, "places of layers"));
    STRATA_TRY(strata__calloc(&r->layers, model->n_steps, sizeof *r->layers, "places of layers"));
    memcpy(r->home, model->steps, model->n_steps * sizeof *r->home);
    list_layers(model, r);
    atomic_store(&r->used_ms, (int64_t)strata__clock_ms());
    return strata__residency_hold(model);
}

void strata__residency_close(struct strata_model *model)
{
    struct strata__residency *r = model->residency;
    if (!r)
        return;
    strata__stream_close(&r->stream);
    for (size_t i = 0; i < r->n_layers; i++) {
        struct strata__place *place = &r->layers[i].place;
        if (place->device)
            strata__device_free(place->device, place->weights);
    }
    strata__residency_let_go(model);
    close_locks(r, 5);
    strata__free(r->layers);
    strata__free(r->home);
    strata__free(r);
    model->residency = NULL;
}

/* ---- Looking ---- */

size_t strata__placed_layers(const struct strata_model *model)
{
    return model->residency->n_layers;
}

struct strata__place strata__place_now(const struct strata_model *model, size_t layer)
{
    struct strata__residency *r = model->residency;
    pthread_mutex_lock(&r->looking);
    struct strata__place place = r->layers[layer].place;
    pthread_mutex_unlock(&r->looking);
    return place;
}

uint64_t strata__layer_bytes(const struct strata_model *model, size_t layer)
{
    return model->residency->layers[layer].bytes;
}

uint64_t strata__layer_kv_bytes(const struct strata_model *model, size_t layer)
{
    return atomic_load(&model->residency->layers[layer].kv_bytes);
}

bool strata__can_be_on_disk(const struct strata_model *model, size_t index)
{
    const struct layer *layer = &model->residency->layers[index];
    const struct strata__step *steps = model->residency->home + layer->first;
    bool packed = false;
    for (size_t i = 0; i < layer->count; i++)
        for (unsigned p = 0; p < steps[i].products; p++)
            packed |= steps[i].product[p].panels != NULL;
    return !packed || model->packed.file;
}

struct strata__stream *strata__stream_of(const struct strata_model *model)
{
    return model->residency->stream;
}

const struct strata__step *strata__home_steps(const struct strata_model *model, size_t layer,
                                              size_t *count)
{
    const struct layer *at = &model->residency->layers[layer];
    *count = at->count;
    return model->residency->home + at->first;
}

struct strata__stretch strata__stretch_at(const struct strata_model *model, size_t step)
{
    struct strata__residency *r = model->residency;
    size_t i = model->steps[step].layer;
    pthread_mutex_lock(&r->looking);
    struct strata__stretch stretch = {r->layers[i].place.device, r->layers[i].place.on_disk,
                                      r->layers[i].count};
    for (i++; i < r->n_layers && !stretch.on_disk; i++) {
        const struct strata__place *place = &r->layers[i].place;
        if (place->device != stretch.device || place->on_disk)
            break;
        stretch.steps += r->layers[i].count;
    }
    pthread_mutex_unlock(&r->looking);
    return stretch;
}

bool strata__takes_long_chunks(const struct strata_model *model)
{
    struct strata__residency *r = model->residency;
    size_t count = model->hp.encoder ? r->n_layers : model->hp.layers;
    bool all = true;
    pthread_mutex_lock(&r->looking);
    for (size_t i = 0; i < count; i++) {
        const struct strata__device *device = r->layers[i].place.device;
        all &= device && device->takes_long_chunks;
    }
    pthread_mutex_unlock(&r->looking);
    return all;
}

/* ---- Events ---- */

static const char *place_name(struct strata__place place)
{
    return place.device ? place.device->name : place.on_disk ? "disk" : "host";
}

static void say_moved(const struct strata_model *model, size_t layer, struct strata__place before,
                      struct strata__place after, const struct strata__moved *moved,
                      const char *reason, strata_event_kind kind)
{
    strata_event event = {.kind = kind,
                          .layer = (unsigned)layer,
                          .bytes = moved->bytes,
                          .stage_ms = moved->stage_ms,
                          .pause_ms = moved->pause_ms};
    snprintf(event.model, sizeof event.model, "%s",
             strata__event_model(strata__file_path(model->file)));
    snprintf(event.from, sizeof event.from, "%s", place_name(before));
    snprintf(event.to, sizeof event.to, "%s", place_name(after));
    snprintf(event.reason, sizeof event.reason, "%s", reason);
    strata__event_add(model->runtime, &event);
}

/* ---- Moving ---- */

/* The layer's weights in memory of the device, and its steps as they find them there. */
static strata_status upload(const struct strata_model *model, const struct layer *layer,
                            struct strata__device *device, struct strata__step *steps, void **out)
{
    struct strata__scope before = strata__scope_set(model->for_weights);
    strata_status allocated = strata__device_alloc(device, layer->bytes, "weights", out);
    strata__scope_set(before);
    STRATA_TRY(allocated);
    unsigned char *at = *out;
    memcpy(steps, model->residency->home + layer->first, layer->count * sizeof *steps);
    for (size_t i = 0; i < layer->count; i++) {
        struct strata__weight_part parts[STRATA__STEP_PARTS];
        size_t n = strata__step_parts(model, &steps[i], parts);
        for (size_t p = 0; p < n; p++) {
            strata_status status =
                device->ops->upload(device, at, *parts[p].address, parts[p].bytes);
            if (status != STRATA_OK) {
                strata__device_free(device, *out);
                return status;
            }
            *parts[p].address = at;
            at += (parts[p].bytes + 63) / 64 * 64;
        }
    }
    return STRATA_OK;
}

/* Moves what the sessions have of a layer; after an error all is where it was, but for caches whose
 * way back fails as well: those are to be evaluated again. */
static strata_status move_caches(const struct strata_model *model, size_t layer,
                                 struct strata__device *device, uint64_t *bytes)
{
    struct strata__residency *r = model->residency;
    if (layer >= model->hp.layers)
        return STRATA_OK;
    for (strata_session *s = r->sessions; s; s = s->next_of_model) {
        uint64_t moved;
        strata_status status = strata__kv_move(&s->kv, layer, device, s->kv.used, &moved);
        if (status == STRATA_OK) {
            *bytes += moved;
            continue;
        }
        struct strata__device *before = r->layers[layer].place.device;
        for (strata_session *t = r->sessions; t != s; t = t->next_of_model)
            if (strata__kv_move(&t->kv, layer, before, t->kv.used, &moved) != STRATA_OK)
                t->kv.lost = true;
        return status;
    }
    return STRATA_OK;
}

static void set_place(const struct strata_model *model, size_t index, struct strata__place place,
                      const struct strata__step *steps)
{
    struct strata__residency *r = model->residency;
    struct layer *layer = &r->layers[index];
    struct strata__place before = layer->place;
    memcpy(model->steps + layer->first, steps, layer->count * sizeof *steps);
    pthread_mutex_lock(&r->looking);
    layer->place = place;
    pthread_mutex_unlock(&r->looking);
    strata__residency_charge(model, STRATA__COLLECT_NOTHING,
                             true); /* what is too much, the governor takes away */
    if (before.device)
        strata__device_free(before.device, before.weights);
}

/* Brings home what was on those of two devices (or NULL) that are lost. */
static void lose_lost(const struct strata_model *model, struct strata__device *a,
                      struct strata__device *b)
{
    if (a && atomic_load(&a->lost))
        strata__residency_lose(model, a);
    if (b && atomic_load(&b->lost))
        strata__residency_lose(model, b);
}

/* The part of a move that requests wait for. */
static strata_status commit(const struct strata_model *model, size_t index,
                            struct strata__place place, const struct strata__step *steps,
                            struct strata__moved *moved)
{
    strata_status status = STRATA_OK;
    strata__residency_enter(model);
    double began = strata__clock_ms();
    struct strata__device *before = model->residency->layers[index].place.device;
    if (place.device != before)
        status = move_caches(model, index, place.device, &moved->bytes);
    if (status == STRATA_OK)
        set_place(model, index, place, steps);
    else if (status == STRATA_E_DEVICE)
        lose_lost(model, before, place.device);
    moved->pause_ms = strata__clock_ms() - began;
    strata__residency_leave(model);
    return status;
}

static strata_status to_device(struct strata_model *model, size_t index,
                               struct strata__device *device, struct strata__moved *moved)
{
    const struct layer *layer = &model->residency->layers[index];
    struct strata__place place = {.device = device};
    struct strata__step *steps;
    STRATA_TRY(strata__calloc(&steps, layer->count, sizeof *steps, "steps of a layer"));
    double began = strata__clock_ms();
    strata_status status = upload(model, layer, device, steps, &place.weights);
    if (status == STRATA_OK) {
        moved->stage_ms = strata__clock_ms() - began;
        moved->bytes = layer->bytes;
        status = commit(model, index, place, steps, moved);
        if (status != STRATA_OK)
            strata__device_free(device, place.weights);
    } else if (status == STRATA_E_DEVICE) {
        strata__residency_enter(model);
        lose_lost(model, device, NULL);
        strata__residency_leave(model);
    }
    strata__free(steps);
    return status;
}

/* Between host and disk nothing is copied, and a run that meets the change only reads pages once
 * more: nobody waits. */
static strata_status set_on_disk(const struct strata_model *model, size_t index, bool on_disk)
{
    struct strata__residency *r = model->residency;
    pthread_mutex_lock(&r->looking);
    bool home = !r->layers[index].place.device; /* it may have come from a lost one: to the host */
    if (home)
        r->layers[index].place.on_disk = on_disk;
    pthread_mutex_unlock(&r->looking);
    strata_status status = strata__residency_charge(model, STRATA__COLLECT_IDLE, on_disk);
    if (status != STRATA_OK) {
        pthread_mutex_lock(&r->looking);
        r->layers[index].place.on_disk = !on_disk;
        pthread_mutex_unlock(&r->looking);
    }
    return status;
}

static strata_status to_host(struct strata_model *model, size_t index, bool from_device,
                             bool on_disk, struct strata__moved *moved)
{
    struct strata__residency *r = model->residency;
    const struct layer *layer = &r->layers[index];
    struct strata__place place = {.on_disk = on_disk};
    double began = strata__clock_ms();
    if (from_device)
        STRATA_TRY(commit(model, index, place, r->home + layer->first, moved));
    else
        STRATA_TRY(set_on_disk(model, index, on_disk));
    if (on_disk)
        strata__stream_out(model, index);
    else if (r->stream) /* after it is known to be the host's: nobody drops it now */
        strata__stream_in(model, index);
    moved->stage_ms = strata__clock_ms() - began - moved->pause_ms;
    if (moved->bytes == 0) /* dropped, or read */
        moved->bytes = layer->bytes;
    return STRATA_OK;
}

/* By the thread that holds `moving`. */
static strata_status move_layer(struct strata_model *model, size_t layer,
                                struct strata__device *device, bool on_disk, const char *reason,
                                struct strata__moved *moved)
{
    struct strata__residency *r = model->residency;
    struct strata__place before = strata__place_now(model, layer);
    struct strata__place after = {.device = device, .on_disk = on_disk};
    strata_status status = STRATA_OK;
    if (on_disk && !strata__can_be_on_disk(model, layer))
        status = strata__fail(STRATA_E_UNSUPPORTED,
                              "%s: its packed weights are in memory only, so no layer of it can "
                              "be kept on disk; load it with a folder for packed weights",
                              strata__file_path(model->file));
    if (status == STRATA_OK && on_disk && !r->stream)
        status = strata__stream_open(model, &r->stream);
    if (before.device == device && before.on_disk == on_disk)
        return status;
    if (status == STRATA_OK)
        status = device ? to_device(model, layer, device, moved)
                        : to_host(model, layer, before.device != NULL, on_disk, moved);
    say_moved(model, layer, before, after, moved,
              status == STRATA_OK ? reason : strata_last_error(),
              status == STRATA_OK ? STRATA_EVENT_MOVED : STRATA_EVENT_REFUSED);
    return status;
}

strata_status strata__layer_move(struct strata_model *model, size_t layer,
                                 struct strata__device *device, bool on_disk, const char *reason,
                                 struct strata__moved *moved)
{
    *moved = (struct strata__moved){0};
    pthread_mutex_lock(&model->residency->moving);
    strata_status status = move_layer(model, layer, device, on_disk, reason, moved);
    pthread_mutex_unlock(&model->residency->moving);
    return status;
}

strata_status strata__layer_to_disk(struct strata_model *model, size_t layer, const char *reason)
{
    struct strata__moved moved = {0};
    if (pthread_mutex_trylock(&model->residency->moving) != 0)
        return strata__fail(STRATA_E_BUSY, "%s: another layer is being moved",
                            strata__file_path(model->file));
    strata_status status = strata__place_now(model, layer).device
                               ? strata__fail(STRATA_E_BUSY, "the layer is on a device")
                               : move_layer(model, layer, NULL, true, reason, &moved);
    pthread_mutex_unlock(&model->residency->moving);
    return status;
}

/* ---- When a device has no room, or is lost ---- */

bool strata__residency_lower(const struct strata_model *model, struct strata__device *device)
{
    struct strata__residency *r = model->residency;
    for (size_t i = r->n_layers; i-- > 0;) {
        struct strata__place before = r->layers[i].place, host = {0};
        struct strata__moved moved = {0};
        double began = strata__clock_ms();
        if (before.device != device)
            continue;
        if (move_caches(model, i, NULL, &moved.bytes) != STRATA_OK)
            return false;
        set_place(model, i, host, r->home + r->layers[i].first);
        moved.pause_ms = strata__clock_ms() - began;
        say_moved(model, i, before, host, &moved, "the device has no room for what runs on it",
                  STRATA_EVENT_MOVED);
        return true;
    }
    return false;
}

void strata__residency_lose(const struct strata_model *model, struct strata__device *device)
{
    struct strata__residency *r = model->residency;
    struct strata__moved moved = {0};
    size_t first = r->n_layers;
    for (size_t i = r->n_layers; i-- > 0;)
        if (r->layers[i].place.device == device) {
            first = i;
            moved.bytes += r->layers[i].bytes;
            set_place(model, i, (struct strata__place){0}, r->home + r->layers[i].first);
        }
    for (strata_session *s = r->sessions; s; s = s->next_of_model)
        for (size_t i = 0; i < s->kv.layers; i++)
            if (s->kv.layer[i].device == device)
                s->kv.lost = true;
    struct strata__place before = {.device = device}, host = {0};
    if (first < r->n_layers)
        say_moved(model, first, before, host, &moved,
                  "the device is lost; what it held is computed again", STRATA_EVENT_LOST);
}

/* ---- Sessions ---- */

strata_status strata__residency_settle(const struct strata_model *model,
                                       struct strata__kv_cache *kv)
{
    for (size_t i = 0; i < kv->layers; i++) {
        struct strata__device *device = model->residency->layers[i].place.device;
        uint64_t bytes;
        if (kv->layer[i].device && kv->lost)
            STRATA_TRY(strata__kv_give_up(kv, i));
        while (kv->layer[i].device != device) {
            strata_status status = strata__kv_move(kv, i, device, kv->used, &bytes);
            if (strata__is_full(status) && device && strata__residency_lower(model, device)) {
                device = model->residency->layers[i].place.device;
                continue;
            }
            if (status == STRATA_E_DEVICE && device) {
                strata__residency_lose(model, device);
                device = NULL;
                continue;
            }
            STRATA_TRY(status);
        }
    }
    return STRATA_OK;
}

static uint64_t kv_bytes(const struct strata__kv_cache *kv, size_t layer)
{
    return strata__kv_layer_bytes(kv, &kv->layer[layer]);
}

strata_status strata__residency_join(strata_session *session)
{
    struct strata__residency *r = session->model->residency;
    strata__residency_enter(session->model);
    session->next_of_model = r->sessions;
    r->sessions = session;
    atomic_fetch_add(&r->n_sessions, 1);
    for (size_t i = 0; i < session->kv.layers; i++)
        atomic_fetch_add(&r->layers[i].kv_bytes, kv_bytes(&session->kv, i));
    strata_status status = strata__residency_settle(session->model, &session->kv);
    strata__residency_leave(session->model);
    return status;
}

void strata__residency_part(strata_session *session)
{
    struct strata__residency *r = session->model->residency;
    strata__residency_enter(session->model);
    for (strata_session **at = &r->sessions; *at; at = &(*at)->next_of_model)
        if (*at == session) {
            *at = session->next_of_model;
            atomic_fetch_sub(&r->n_sessions, 1);
            for (size_t i = 0; i < session->kv.layers; i++)
                atomic_fetch_sub(&r->layers[i].kv_bytes, kv_bytes(&session->kv, i));
            break;
        }
    strata__residency_leave(session->model);
}

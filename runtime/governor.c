/* Watching memory, and moving layers as it asks for.
 *
 * Each tick reads the pressure of the host and of every device.  Where it is tight, as many layers
 * leave as bytes are missing to 1.5 times the threshold, the last ones first: from a device to the
 * host, from the host to disk.  Layers that are not where they are wanted come back, the first ones
 * first, to places that are calm, as long as twice the threshold stays free there.  Between two
 * moves of a layer the same way some time must pass, so that flapping pressure does not wear out
 * requests. */
#include "governor.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "collect.h"
#include "events.h"
#include "memory.h"

#define TICK_MS 250
#define SAME_WAY_MS 30000

/* A model that takes part. */
struct governed {
    struct strata_model *model;
    struct governed *next;
    bool unloaded;     /* it was idle and left for disk; nobody used it since: */
    int64_t last_used; /* when it left */
    struct layer_state {
        struct strata__device *device; /* where it is wanted */
        bool on_disk;
        int64_t left_ms, returned_ms; /* when it last moved away, and back; long ago: never */
    } layers[];
};

struct strata__governor {
    strata_runtime *runtime;
    struct strata__governor_options options;
    struct strata__pressure *pressure;
    pthread_mutex_t mutex; /* of models and devices; held while layers move */
    struct governed *models;
    struct strata__device **devices;
    size_t n_devices;
    pthread_t thread;
    bool started;
    _Atomic bool closing;
    _Atomic int level;
    _Atomic int64_t headroom;
    _Atomic uint64_t limit;
};

static int64_t now_ms(const struct strata__governor *g)
{
    if (g->options.pressure.now_ms)
        return g->options.pressure.now_ms(g->options.pressure.user);
    return (int64_t)strata__clock_ms();
}

/* ---- One move ---- */

/* `away`: from where it is wanted.  A refused one is not tried again at once either. */
static bool move(struct strata__governor *g, struct governed *m, size_t layer,
                 struct strata__device *device, bool on_disk, bool away, const char *reason)
{
    struct strata__moved moved;
    strata_status status = strata__layer_move(m->model, layer, device, on_disk, reason, &moved);
    *(away ? &m->layers[layer].left_ms : &m->layers[layer].returned_ms) = now_ms(g);
    return status == STRATA_OK;
}

static bool may(const struct strata__governor *g, int64_t last_ms)
{
    return now_ms(g) - last_ms >= g->options.same_way_ms;
}

/* ---- Away ---- */

/* Bytes of a layer's weights and of what sessions keep of it. */
static uint64_t bytes_of(const struct governed *m, size_t layer)
{
    return strata__layer_bytes(m->model, layer) + strata__layer_kv_bytes(m->model, layer);
}

static void leave_device(struct strata__governor *g, struct strata__device *device, int64_t missing,
                         const char *reason)
{
    for (struct governed *m = g->models; m; m = m->next)
        for (size_t i = strata__placed_layers(m->model); i-- > 0 && missing > 0;) {
            uint64_t bytes = bytes_of(m, i);
            if (strata__place_now(m->model, i).device == device && may(g, m->layers[i].left_ms) &&
                (move(g, m, i, NULL, false, true, reason) ||
                 move(g, m, i, NULL, true, true, reason))) /* the host has no room for it */
                missing -= (int64_t)bytes;
        }
}

/* Layers that cannot be read from a file again stay. */
static void leave_host(struct strata__governor *g, int64_t missing, const char *reason)
{
    for (struct governed *m = g->models; m; m = m->next)
        for (size_t i = strata__placed_layers(m->model); i-- > 0 && missing > 0;) {
            struct strata__place place = strata__place_now(m->model, i);
            if (!place.device && !place.on_disk && strata__can_be_on_disk(m->model, i) &&
                may(g, m->layers[i].left_ms) && move(g, m, i, NULL, true, true, reason))
                missing -= (int64_t)strata__layer_bytes(m->model, i);
        }
}

/* Of a model that is over its budget: what came home from a device, or what was lent and is wanted
 * back. */
static void keep_budget(struct strata__governor *g, struct governed *m)
{
    struct strata__account *account = m->model->for_weights.account;
    for (size_t i = strata__placed_layers(m->model); i-- > 0;) {
        struct strata__place place = strata__place_now(m->model, i);
        if (strata__account_excess(account, STRATA__HOST_MEMORY) == 0)
            return;
        if (!place.device && !place.on_disk && strata__can_be_on_disk(m->model, i))
            move(g, m, i, NULL, true, true, "its component is over its budget");
    }
}

/* Host layers of a model, the last ones first, until `bytes` are no longer charged; returns how
 * many are not. */
static uint64_t release_layers(struct governed *m, uint64_t bytes, const char *reason)
{
    uint64_t before = strata__charged_bytes(m->model), freed = 0;
    for (size_t i = strata__placed_layers(m->model); i-- > 0 && freed < bytes;) {
        struct strata__place place = strata__place_now(m->model, i);
        if (place.device || place.on_disk || !strata__can_be_on_disk(m->model, i))
            continue;
        if (strata__layer_to_disk(m->model, i, reason) != STRATA_OK)
            break;
        uint64_t now = strata__charged_bytes(m->model);
        freed = before > now ? before - now : 0;
    }
    return freed;
}

/* Waits for the lock no longer than it is good for: its holder may wait for this thread. */
static bool lock_briefly(struct strata__governor *g)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_mutex_timedlock(&g->mutex, &until) == 0;
}

/* Milliseconds since the model was used; 0 while it is. */
static int64_t idle_for(const struct governed *m)
{
    int64_t idle = (int64_t)strata__clock_ms() - strata__residency_last_used(m->model);
    return strata__residency_busy(m->model) || idle < 0 ? 0 : idle;
}

static struct governed *find_idle(const struct strata__governor *g,
                                  const struct strata__account *top, int64_t idle_ms)
{
    struct governed *found = NULL;
    int64_t longest = idle_ms - 1;
    for (struct governed *m = g->models; m; m = m->next) {
        bool can = !m->unloaded && !strata__residency_busy(m->model) &&
                   strata__account_counts(m->model->for_weights.account, top) &&
                   strata__charged_bytes(m->model) > strata__least_bytes(m->model);
        if (!can || idle_for(m) <= longest)
            continue;
        longest = idle_for(m);
        found = m;
    }
    return found;
}

bool strata__governor_unload(struct strata__governor *g, const struct strata__account *top,
                             int64_t idle_ms, const char *reason, struct strata__unloaded *out)
{
    if (g->options.fixed || !lock_briefly(g))
        return false;
    struct governed *m = find_idle(g, top, idle_ms);
    if (m) {
        snprintf(out->model, sizeof out->model, "%s", m->model->name);
        out->predicted = strata__charged_bytes(m->model) - strata__least_bytes(m->model);
        out->freed = release_layers(m, UINT64_MAX, reason);
        m->unloaded = true;
        m->last_used = strata__residency_last_used(m->model);
    }
    pthread_mutex_unlock(&g->mutex);
    return m != NULL;
}

uint64_t strata__governor_release(struct strata__governor *g, const struct strata__account *top,
                                  uint64_t bytes, const char *reason)
{
    uint64_t freed = 0;
    if (g->options.fixed || !lock_briefly(g))
        return 0;
    for (struct governed *m = g->models; m && freed < bytes; m = m->next)
        if (strata__account_counts(m->model->for_weights.account, top))
            freed += release_layers(m, bytes - freed, reason);
    pthread_mutex_unlock(&g->mutex);
    return freed;
}

void strata__governor_each(struct strata__governor *g,
                           void (*each)(void *user, struct strata_model *model), void *user)
{
    pthread_mutex_lock(&g->mutex);
    for (struct governed *m = g->models; m; m = m->next)
        each(user, m->model);
    pthread_mutex_unlock(&g->mutex);
}

/* ---- Back ---- */

static bool is_home(const struct governed *m, size_t layer)
{
    struct strata__place place = strata__place_now(m->model, layer);
    const struct layer_state *state = &m->layers[layer];
    return place.device == state->device && place.on_disk == state->on_disk;
}

/* Room on the device for so many bytes, and twice the threshold beside them. */
static bool has_room(struct strata__device *device, uint64_t bytes)
{
    uint64_t free, total;
    if (atomic_load(&device->lost) || device->ops->memory(device, &free, &total) != STRATA_OK)
        return false;
    return free > bytes && free - bytes > 2 * strata__pressure_tight_below(total);
}

static bool fits(const struct strata__pressure_sample *sample, uint64_t bytes)
{
    uint64_t spare = 2 * strata__pressure_tight_below(sample->limit);
    return sample->headroom > (int64_t)bytes && (uint64_t)sample->headroom - bytes > spare;
}

static void return_layer(struct strata__governor *g, struct governed *m, size_t layer,
                         struct strata__pressure_sample *sample)
{
    static const char reason[] = "memory is calm again";
    const struct layer_state *state = &m->layers[layer];
    uint64_t bytes = strata__layer_bytes(m->model, layer);
    struct strata__place place = strata__place_now(m->model, layer);
    bool to_host =
        place.on_disk && !state->on_disk && sample && fits(sample, bytes) &&
        strata__account_available(m->model->for_weights.account, STRATA__HOST_MEMORY) >= bytes;
    if (state->device && has_room(state->device, bytes_of(m, layer)))
        move(g, m, layer, state->device, false, false, reason);
    else if (to_host && move(g, m, layer, NULL, false, false, reason))
        sample->headroom -= (int64_t)bytes;
    else if (state->on_disk && !place.on_disk)
        move(g, m, layer, NULL, true, false, reason);
}

/* `sample`: NULL when the host is not calm. */
static void return_layers(struct strata__governor *g, struct strata__pressure_sample *sample)
{
    for (struct governed *m = g->models; m; m = m->next)
        for (size_t i = 0; i < strata__placed_layers(m->model) && !m->unloaded; i++)
            if (!atomic_load(&g->closing) && !is_home(m, i) && may(g, m->layers[i].returned_ms))
                return_layer(g, m, i, sample);
}

/* A model that left for disk came to use again. */
static bool used_again(const struct governed *m)
{
    return strata__residency_last_used(m->model) != m->last_used ||
           strata__residency_busy(m->model);
}

/* ---- A tick ---- */

static uint64_t held_bytes(const struct strata__governor *g)
{
    uint64_t held = 0;
    for (const struct governed *m = g->models; m; m = m->next)
        held += strata__held_bytes(m->model);
    return held;
}

static void say_level(struct strata__governor *g, strata_pressure level, const char *reason)
{
    strata_pressure before = (strata_pressure)atomic_exchange(&g->level, (int)level);
    if (before == level)
        return;
    strata_event event = {.kind = STRATA_EVENT_PRESSURE};
    snprintf(event.from, sizeof event.from, "%s", strata_pressure_name(before));
    snprintf(event.to, sizeof event.to, "%s", strata_pressure_name(level));
    snprintf(event.reason, sizeof event.reason, "%s", reason);
    strata__event_add(g->runtime, &event);
}

static strata_pressure look_at_host(struct strata__governor *g,
                                    struct strata__pressure_sample *sample)
{
    char reason[160];
    strata__pressure_read(g->pressure, held_bytes(g), sample);
    strata_pressure level = strata__pressure_update(g->pressure, sample);
    atomic_store(&g->headroom, sample->headroom);
    atomic_store(&g->limit, sample->limit);
    snprintf(
        reason, sizeof reason, "host: %.0f MB left of %.0f, stalls: some %.1f %%, full %.1f %%%s%s",
        (double)sample->headroom / 1e6, (double)sample->limit / 1e6, sample->some, sample->full,
        sample->stalled ? ", a trigger" : "", sample->killed ? ", a process was killed" : "");
    say_level(g, level, reason);
    if (strata__pressure_of(sample) != STRATA_PRESSURE_CALM) { /* now, not only still */
        int64_t wanted = (int64_t)(strata__pressure_tight_below(sample->limit) / 2 * 3);
        /* Stalls alone do not say how much is missing: a layer a tick. */
        leave_host(g, sample->headroom < wanted ? wanted - sample->headroom : 1, reason);
    }
    return level;
}

static void look_at_device(struct strata__governor *g, struct strata__device *device)
{
    char reason[160];
    uint64_t free, total, tight;
    if (atomic_load(&device->lost) || device->ops->memory(device, &free, &total) != STRATA_OK)
        return;
    strata_pressure level = strata__pressure_of_device(free, total, &tight);
    snprintf(reason, sizeof reason, "%s: %.0f MB left of %.0f", device->name, (double)free / 1e6,
             (double)total / 1e6);
    if (level != STRATA_PRESSURE_CALM)
        leave_device(g, device, (int64_t)(tight / 2 * 3) - (int64_t)free, reason);
}

void strata__governor_tick(struct strata__governor *g)
{
    struct strata__pressure_sample sample;
    pthread_mutex_lock(&g->mutex);
    for (size_t i = 0; i < g->n_devices; i++)
        look_at_device(g, g->devices[i]);
    bool calm = look_at_host(g, &sample) == STRATA_PRESSURE_CALM;
    for (struct governed *m = g->models; m; m = m->next) {
        keep_budget(g, m);
        m->unloaded = m->unloaded && !used_again(m);
    }
    return_layers(g, calm ? &sample : NULL);
    pthread_mutex_unlock(&g->mutex);
    strata__collect_scheduled(g->runtime);
}

static void *watch(void *context)
{
    struct strata__governor *g = context;
    while (!atomic_load(&g->closing)) {
        strata__governor_tick(g);
        strata__pressure_wait(g->pressure, g->options.tick_ms);
    }
    return NULL;
}

/* ---- Opening, joining ---- */

strata_status strata__governor_open(struct strata__governor **out, strata_runtime *runtime,
                                    const struct strata__governor_options *options)
{
    *out = NULL;
    struct strata__governor *g;
    STRATA_TRY(strata__calloc(&g, 1, sizeof *g, "governor"));
    g->runtime = runtime;
    g->options = *options;
    if (!g->options.tick_ms)
        g->options.tick_ms = TICK_MS;
    if (!g->options.same_way_ms)
        g->options.same_way_ms = SAME_WAY_MS;
    atomic_init(&g->headroom, INT64_MAX);
    atomic_init(&g->limit, UINT64_MAX);
    strata_status status = strata__pressure_open(&g->pressure, &options->pressure);
    if (status == STRATA_OK && pthread_mutex_init(&g->mutex, NULL) != 0)
        status = strata__fail(STRATA_E_NOMEM, "a lock for the governor cannot be made");
    if (status != STRATA_OK) {
        strata__pressure_close(&g->pressure);
        strata__free(g);
        return status;
    }
    *out = g;
    return STRATA_OK;
}

void strata__governor_close(struct strata__governor **handle)
{
    struct strata__governor *g = *handle;
    if (!g)
        return;
    atomic_store(&g->closing, true);
    strata__pressure_wake(g->pressure);
    if (g->started)
        pthread_join(g->thread, NULL);
    strata__pressure_close(&g->pressure);
    pthread_mutex_destroy(&g->mutex);
    strata__free(g->devices);
    strata__free(g);
    *handle = NULL;
}

strata_status strata__governor_add_device(struct strata__governor *g, struct strata__device *device)
{
    pthread_mutex_lock(&g->mutex);
    strata_status status =
        strata__resize(&g->devices, g->n_devices + 1, sizeof *g->devices, "devices");
    if (status == STRATA_OK)
        g->devices[g->n_devices++] = device;
    pthread_mutex_unlock(&g->mutex);
    return status;
}

struct strata__device *strata__governor_device(const struct strata__governor *g, const char *name)
{
    for (size_t i = 0; i < g->n_devices; i++)
        if (strcmp(g->devices[i]->name, name) == 0)
            return g->devices[i];
    return NULL;
}

size_t strata__governor_devices(struct strata__governor *g, struct strata__device **out,
                                size_t capacity)
{
    size_t n = 0;
    pthread_mutex_lock(&g->mutex);
    for (size_t i = 0; i < g->n_devices && n < capacity; i++)
        if (!atomic_load(&g->devices[i]->lost))
            out[n++] = g->devices[i];
    pthread_mutex_unlock(&g->mutex);
    return n;
}

static strata_status start(struct strata__governor *g)
{
    if (g->started)
        return STRATA_OK;
    int error = pthread_create(&g->thread, NULL, watch, g);
    if (error != 0)
        return strata__fail_errno(STRATA_E_IO, error,
                                  "the thread that watches memory cannot be started");
    g->started = true;
    return STRATA_OK;
}

bool strata__governor_fits(struct strata__governor *g, uint64_t bytes)
{
    struct strata__pressure_sample sample;
    if (g->options.fixed || bytes > INT64_MAX / 2)
        return g->options.fixed;
    pthread_mutex_lock(&g->mutex);
    strata__pressure_read(g->pressure, held_bytes(g) + bytes, &sample);
    pthread_mutex_unlock(&g->mutex);
    return sample.headroom > 0;
}

strata_status strata__governor_join(struct strata__governor *g, struct strata_model *model)
{
    struct governed *m;
    size_t n = strata__placed_layers(model);
    STRATA_TRY(strata__calloc(&m, 1, sizeof *m + n * sizeof *m->layers, "governed layers"));
    m->model = model;
    for (size_t i = 0; i < n; i++)
        m->layers[i].left_ms = m->layers[i].returned_ms = INT64_MIN / 2;
    pthread_mutex_lock(&g->mutex);
    m->next = g->models;
    g->models = m;
    pthread_mutex_unlock(&g->mutex);
    if (g->options.fixed)
        return STRATA_OK;
    strata__governor_tick(g);
    pthread_mutex_lock(&g->mutex);
    strata_status status = start(g);
    pthread_mutex_unlock(&g->mutex);
    return status;
}

static struct governed **find(struct strata__governor *g, const struct strata_model *model)
{
    struct governed **at = &g->models;
    while (*at && (*at)->model != model)
        at = &(*at)->next;
    return at;
}

void strata__governor_part(struct strata__governor *g, struct strata_model *model)
{
    pthread_mutex_lock(&g->mutex);
    struct governed **at = find(g, model), *m = *at;
    if (m)
        *at = m->next;
    pthread_mutex_unlock(&g->mutex);
    strata__free(m);
}

struct strata__place strata__governor_wish(struct strata__governor *g,
                                           const struct strata_model *model, size_t layer,
                                           struct strata__device *device, bool on_disk)
{
    struct strata__place before = {0};
    pthread_mutex_lock(&g->mutex);
    struct governed *m = *find(g, model);
    if (m) {
        struct layer_state *wanted = &m->layers[layer];
        before.device = wanted->device;
        before.on_disk = wanted->on_disk;
        wanted->device = device;
        wanted->on_disk = on_disk;
    }
    pthread_mutex_unlock(&g->mutex);
    return before;
}

strata_pressure strata__governor_level(const struct strata__governor *g, int64_t *headroom,
                                       uint64_t *limit)
{
    *headroom = atomic_load(&g->headroom);
    *limit = atomic_load(&g->limit);
    return (strata_pressure)atomic_load(&g->level);
}

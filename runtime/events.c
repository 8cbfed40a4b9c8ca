/* The latest events in a ring, and the callback. */
#include "events.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "memory.h"
#include "runtime.h"

#define KEPT 512

struct strata__events {
    pthread_mutex_t mutex;
    strata_event_fn *on_event;
    void *user;
    uint64_t count; /* ever added; number n is in kept[(n - 1) % KEPT] */
    strata_event kept[KEPT];
};

const char *strata_event_kind_name(strata_event_kind kind)
{
    static const char *const names[] = {"moved",    "refused",   "lost",
                                        "pressure", "collected", "over-budget"};
    return (unsigned)kind < sizeof names / sizeof *names ? names[kind] : "unknown";
}

strata_status strata__events_open(struct strata__events **out, strata_event_fn *on_event,
                                  void *user)
{
    *out = NULL;
    struct strata__events *events;
    STRATA_TRY(strata__calloc(&events, 1, sizeof *events, "events"));
    if (pthread_mutex_init(&events->mutex, NULL) != 0) {
        strata__free(events);
        return strata__fail(STRATA_E_NOMEM, "a lock for events cannot be made");
    }
    events->on_event = on_event;
    events->user = user;
    *out = events;
    return STRATA_OK;
}

void strata__events_close(struct strata__events **handle)
{
    if (!*handle)
        return;
    pthread_mutex_destroy(&(*handle)->mutex);
    strata__free(*handle);
    *handle = NULL;
}

const char *strata__event_model(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void log_event(const strata_runtime *runtime, const strata_event *event)
{
    char line[512];
    if (event->kind == STRATA_EVENT_PRESSURE)
        snprintf(line, sizeof line, "memory pressure: %s after %s: %s", event->to, event->from,
                 event->reason);
    else if (event->kind >= STRATA_EVENT_COLLECTED)
        snprintf(line, sizeof line, "memory %s: %s (%.1f ms)", strata_event_kind_name(event->kind),
                 event->reason, event->stage_ms);
    else
        snprintf(line, sizeof line,
                 "%s: layer %u %s, %s to %s: %s (%.1f MB, %.1f ms, pause %.1f ms)", event->model,
                 event->layer, strata_event_kind_name(event->kind), event->from, event->to,
                 event->reason, (double)event->bytes / 1e6, event->stage_ms, event->pause_ms);
    strata__log(runtime->log, runtime->log_user,
                event->kind == STRATA_EVENT_LOST ? STRATA_LOG_WARN : STRATA_LOG_INFO, "%s", line);
}

void strata__event_add(const strata_runtime *runtime, strata_event *event)
{
    struct strata__events *events = runtime->events;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    event->time_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    pthread_mutex_lock(&events->mutex);
    event->number = ++events->count;
    events->kept[(event->number - 1) % KEPT] = *event;
    pthread_mutex_unlock(&events->mutex);
    log_event(runtime, event);
    if (events->on_event)
        events->on_event(events->user, event);
}

size_t strata_events_read(const strata_runtime *runtime, uint64_t after, strata_event *out,
                          size_t capacity)
{
    struct strata__events *events = runtime->events;
    size_t n = 0;
    pthread_mutex_lock(&events->mutex);
    uint64_t oldest = events->count > KEPT ? events->count - KEPT : 0;
    for (uint64_t i = after > oldest ? after : oldest; i < events->count && n < capacity; i++)
        out[n++] = events->kept[i % KEPT];
    pthread_mutex_unlock(&events->mutex);
    return n;
}

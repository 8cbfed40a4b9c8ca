/* Holders of memory, and collecting from them and from models (collect.h).
 *
 * Room is made in this order: holders (caches) give bytes back, those first that were of least use
 * for their size; then models that are idle leave for disk; then, where the request asks for it,
 * layers of the others. */
#include "collect.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "budgets.h"
#include "events.h"
#include "governor.h"
#include "memory.h"
#include "residency.h"

#define IDLE_MS 300000
#define SCHEDULE_MS 5000
#define HEAP_SPARE ((size_t)16 << 20)

struct strata_holder {
    struct strata__collector *collector;
    strata_holder_options options;
    struct strata__entry *entry;
    pthread_mutex_t setting; /* of the entry's bytes */
    uint64_t hits;           /* when holders were last resized */
    strata_holder *next;
};

struct strata__collector {
    pthread_mutex_t mutex; /* of the list; held while holders shrink */
    strata_holder *holders;
    uint64_t aim;
    int64_t idle_ms;
    _Atomic int64_t next_look_ms;
};

/* A thread that makes room may not ask for more of it. */
static _Thread_local bool collecting;

/* The holder that a thread asks for more for: others are to shrink. */
static _Thread_local const strata_holder *growing;

strata_status strata__collector_open(struct strata__collector **out, uint64_t aim, unsigned idle_ms)
{
    struct strata__collector *collector;
    *out = NULL;
    STRATA_TRY(strata__calloc(&collector, 1, sizeof *collector, "collector"));
    if (pthread_mutex_init(&collector->mutex, NULL) != 0) {
        strata__free(collector);
        return strata__fail(STRATA_E_NOMEM, "a lock for the collector cannot be made");
    }
    collector->aim = aim;
    collector->idle_ms = idle_ms ? (int64_t)idle_ms : IDLE_MS;
    *out = collector;
    return STRATA_OK;
}

void strata__collector_close(struct strata__collector **handle)
{
    if (!*handle)
        return;
    pthread_mutex_destroy(&(*handle)->mutex);
    strata__free(*handle);
    *handle = NULL;
}

uint64_t strata__collector_aim(const struct strata__collector *collector)
{
    return collector->aim;
}

/* ---- Holders ---- */

static strata_status open_holder(strata_runtime *runtime, const strata_holder_options *options,
                                 strata_holder *holder)
{
    struct strata__scope scope = {0};
    STRATA_TRY(strata__budget_account(runtime->ledger, options->component, &scope.account));
    if (pthread_mutex_init(&holder->setting, NULL) != 0)
        return strata__fail(STRATA_E_NOMEM, "a lock for a holder cannot be made");
    struct strata__scope before = strata__scope_set(scope);
    strata_status status =
        strata__entry_open(&holder->entry, 0, STRATA__COLLECT_NOTHING, options->purpose, NULL);
    strata__scope_set(before);
    if (status == STRATA_OK)
        strata__entry_add(holder->entry, holder);
    else
        pthread_mutex_destroy(&holder->setting);
    return status;
}

strata_status strata_holder_open(strata_runtime *runtime, const strata_holder_options *options,
                                 strata_holder **out)
{
    strata_holder *holder;
    struct strata__collector *collector = runtime->collector;
    *out = NULL;
    if (options->size != sizeof *options || !options->component || !options->purpose)
        return strata__fail(STRATA_E_INVALID,
                            "strata_holder_options: size is %zu, expected %zu, with a component "
                            "and a purpose",
                            options->size, sizeof *options);
    STRATA_TRY(strata__calloc(&holder, 1, sizeof *holder, "holder"));
    holder->collector = collector;
    holder->options = *options;
    strata_status status = open_holder(runtime, options, holder);
    if (status != STRATA_OK) {
        strata__free(holder);
        return status;
    }
    pthread_mutex_lock(&collector->mutex);
    holder->next = collector->holders;
    collector->holders = holder;
    pthread_mutex_unlock(&collector->mutex);
    *out = holder;
    return STRATA_OK;
}

strata_status strata_holder_set(strata_holder *holder, uint64_t bytes)
{
    /* Room is made before the lock is taken: other threads may be waiting for it in `shrink`. */
    uint64_t now = strata_holder_bytes(holder);
    if (bytes > now) {
        struct strata__account *account = holder->entry->account;
        growing = holder;
        strata_status status = strata__charge(account, STRATA__HOST_MEMORY, bytes - now,
                                              STRATA__COLLECT_ALL, holder->entry->purpose);
        growing = NULL;
        STRATA_TRY(status);
        strata__release(account, STRATA__HOST_MEMORY, bytes - now);
    }
    pthread_mutex_lock(&holder->setting);
    strata_status status = strata__entry_set(holder->entry, bytes, STRATA__COLLECT_NOTHING, false);
    pthread_mutex_unlock(&holder->setting);
    return status;
}

uint64_t strata_holder_bytes(const strata_holder *holder)
{
    pthread_mutex_t *setting = (pthread_mutex_t *)&holder->setting;
    pthread_mutex_lock(setting);
    uint64_t bytes = holder->entry->bytes;
    pthread_mutex_unlock(setting);
    return bytes;
}

void strata_holder_close(strata_holder **handle)
{
    strata_holder *holder = handle ? *handle : NULL;
    if (!holder)
        return;
    pthread_mutex_lock(&holder->collector->mutex);
    strata_holder **at = &holder->collector->holders;
    while (*at != holder)
        at = &(*at)->next;
    *at = holder->next;
    pthread_mutex_unlock(&holder->collector->mutex);
    strata__entry_remove(holder);
    strata__entry_close(&holder->entry);
    pthread_mutex_destroy(&holder->setting);
    strata__free(holder);
    *handle = NULL;
}

static uint64_t hits_of(const strata_holder *holder)
{
    return holder->options.hits ? holder->options.hits(holder->options.user) : UINT64_MAX;
}

/* Bytes that are no longer charged, after asking the holder for some of them. */
static uint64_t shrink(strata_holder *holder, uint64_t bytes)
{
    uint64_t before = strata_holder_bytes(holder);
    if (before == 0 || !holder->options.shrink)
        return 0;
    holder->options.shrink(holder->options.user, bytes < before ? bytes : before);
    uint64_t now = strata_holder_bytes(holder);
    return before > now ? before - now : 0;
}

/* Of two holders, the one that was of less use for its size. */
static bool less_useful(const strata_holder *a, const strata_holder *b)
{
    double of_a = (double)hits_of(a) / (double)(strata_holder_bytes(a) + 1);
    double of_b = (double)hits_of(b) / (double)(strata_holder_bytes(b) + 1);
    return of_a < of_b;
}

static uint64_t shrink_holders(struct strata__collector *collector,
                               const struct strata__account *top, uint64_t bytes)
{
    uint64_t freed = 0;
    const strata_holder *asked[64];
    size_t n = 0;
    pthread_mutex_lock(&collector->mutex);
    while (freed < bytes && n < sizeof asked / sizeof *asked) {
        strata_holder *least = NULL;
        for (strata_holder *h = collector->holders; h; h = h->next) {
            bool again = h == growing;
            for (size_t i = 0; i < n; i++)
                again |= asked[i] == h;
            if (!again && h->options.shrink && strata__account_counts(h->entry->account, top) &&
                (!least || less_useful(h, least)))
                least = h;
        }
        if (!least)
            break;
        asked[n++] = least;
        freed += shrink(least, bytes - freed);
    }
    pthread_mutex_unlock(&collector->mutex);
    return freed;
}

void strata__holders_resize(struct strata__collector *collector, strata__shrunk_fn *each,
                            void *user)
{
    pthread_mutex_lock(&collector->mutex);
    for (strata_holder *h = collector->holders; h; h = h->next) {
        uint64_t hits = hits_of(h), bytes = strata_holder_bytes(h);
        if (h->options.hits && h->options.shrink && hits == h->hits && bytes > 0)
            each(user, h->entry->purpose, bytes - bytes / 2, shrink(h, bytes - bytes / 2));
        h->hits = hits;
    }
    pthread_mutex_unlock(&collector->mutex);
}

/* ---- Collecting ---- */

static void say_collected(strata_runtime *runtime, const struct strata__account *top,
                          uint64_t wanted, uint64_t freed, double ms)
{
    char path[160];
    strata_event event = {.kind = freed ? STRATA_EVENT_COLLECTED : STRATA_EVENT_OVER_BUDGET,
                          .bytes = freed,
                          .stage_ms = ms};
    snprintf(event.from, sizeof event.from, "%.23s", top->name);
    snprintf(event.reason, sizeof event.reason, "%s lacked %.1f MB, %.1f MB were given back",
             strata__account_path(top, path, sizeof path), (double)wanted / 1e6,
             (double)freed / 1e6);
    strata__event_add(runtime, &event);
}

static uint64_t collect(strata_runtime *runtime, const struct strata__account *top, uint64_t bytes,
                        enum strata__collect how)
{
    struct strata__collector *collector = runtime->collector;
    static const char idle[] = "nobody used its model, and others need the memory";
    static const char all[] = "others need the memory more";
    uint64_t freed = shrink_holders(collector, top, bytes);
    struct strata__unloaded unloaded;
    while (freed < bytes &&
           strata__governor_unload(runtime->governor, top, collector->idle_ms, idle, &unloaded))
        freed += unloaded.freed;
    if (freed < bytes && how == STRATA__COLLECT_ALL)
        freed += strata__governor_release(runtime->governor, top, bytes - freed, all);
    return freed;
}

uint64_t strata__collect(void *user, const struct strata__account *top, uint64_t bytes,
                         enum strata__collect how)
{
    strata_runtime *runtime = user;
    if (collecting || !runtime->collector || !runtime->governor)
        return 0;
    collecting = true;
    double began = strata__clock_ms();
    uint64_t freed = collect(runtime, top, bytes, how);
    collecting = false;
    say_collected(runtime, top, bytes, freed, strata__clock_ms() - began);
    return freed;
}

/* What was freed and the heap keeps, beyond what it is good for, goes back to the system. */
static void trim_heap(void)
{
    if (mallinfo2().fordblks > HEAP_SPARE)
        malloc_trim(0);
}

void strata__collect_scheduled(strata_runtime *runtime)
{
    struct strata__collector *collector = runtime->collector;
    struct strata__account *total = strata__ledger_total(runtime->ledger);
    int64_t now = (int64_t)strata__clock_ms();
    if (now < atomic_load(&collector->next_look_ms))
        return;
    atomic_store(&collector->next_look_ms, now + SCHEDULE_MS);
    trim_heap();
    uint64_t used = strata__account_used(total, STRATA__HOST_MEMORY);
    if (used <= collector->aim)
        return;
    double began = strata__clock_ms();
    collecting = true;
    uint64_t freed = collect(runtime, total, used - collector->aim, STRATA__COLLECT_IDLE);
    collecting = false;
    if (freed > 0) /* else there is nothing to say, again and again */
        say_collected(runtime, total, used - collector->aim, freed, strata__clock_ms() - began);
}

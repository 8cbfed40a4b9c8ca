/* Records by their hash, in chains, and in the order in which they were used (cache_memory.h). */
#include "cache_memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "budgets.h"
#include "memory.h"
#include "runtime.h"

#define CHAINS 8192
#define DISPLACED_MOST 64 /* records that leave for one, before it is given up */

struct node {
    struct node *chain, *newer, *older;
    uint64_t hash;
    size_t bytes;
    struct strata__record record;
};

struct strata__cache_memory {
    pthread_mutex_t lock; /* of all but hits */
    struct node *chains[CHAINS];
    struct node *newest, *oldest;
    const struct strata__uses *uses; /* or NULL */
    strata_holder *holder;           /* or NULL */
    size_t limit, bytes, count, more;
    uint64_t misses;
    atomic_uint_least64_t hits;
};

/* ---- Chains and order ---- */

static struct node *find(const struct strata__cache_memory *memory, uint64_t hash,
                         const struct strata__cache_key *key)
{
    struct node *node = memory->chains[hash % CHAINS];
    while (node && (node->hash != hash || !strata__record_is(&node->record, key)))
        node = node->chain;
    return node;
}

static void unlink_order(struct strata__cache_memory *memory, struct node *node)
{
    *(node->newer ? &node->newer->older : &memory->newest) = node->older;
    *(node->older ? &node->older->newer : &memory->oldest) = node->newer;
}

static void link_newest(struct strata__cache_memory *memory, struct node *node)
{
    node->newer = NULL;
    node->older = memory->newest;
    *(memory->newest ? &memory->newest->newer : &memory->oldest) = node;
    memory->newest = node;
}

static void drop(struct strata__cache_memory *memory, struct node *node)
{
    struct node **at = &memory->chains[node->hash % CHAINS];
    while (*at != node)
        at = &(*at)->chain;
    *at = node->chain;
    unlink_order(memory, node);
    memory->bytes -= node->bytes;
    memory->count--;
    strata__free(node);
}

/* Drops the oldest until at most `bytes` are left. */
static void drop_to(struct strata__cache_memory *memory, size_t bytes)
{
    while (memory->bytes > bytes)
        drop(memory, memory->oldest);
}

/* ---- The ledger ---- */

/* Charges what there is, less the oldest for which there is no room. */
static void charge(struct strata__cache_memory *memory)
{
    if (!memory->holder ||
        strata_holder_set(memory->holder, memory->bytes + memory->more) == STRATA_OK)
        return;
    const uint64_t charged = strata_holder_bytes(memory->holder);
    drop_to(memory, charged > memory->more ? (size_t)(charged - memory->more) : 0);
    strata_holder_set(memory->holder, memory->bytes + memory->more);
}

/* The ledger's: who holds the lock may be waiting for this thread. */
static uint64_t shrink(void *user, uint64_t bytes)
{
    struct strata__cache_memory *memory = user;
    if (pthread_mutex_trylock(&memory->lock) != 0)
        return 0;
    const size_t before = memory->bytes;
    drop_to(memory, bytes < before ? before - (size_t)bytes : 0);
    charge(memory);
    const uint64_t freed = before - memory->bytes;
    pthread_mutex_unlock(&memory->lock);
    return freed;
}

static uint64_t hits(void *user)
{
    struct strata__cache_memory *memory = user;
    return atomic_load(&memory->hits);
}

strata_status strata__cache_memory_charge(struct strata__cache_memory *memory,
                                          strata_runtime *runtime, const char *component,
                                          const char *purpose, size_t more)
{
    const strata_holder_options options = {.size = sizeof options,
                                           .component = component,
                                           .purpose = purpose,
                                           .shrink = shrink,
                                           .hits = hits,
                                           .user = memory};
    struct strata__account *account;
    if (memory->holder)
        return STRATA_OK;
    STRATA_TRY(strata__budget_account(runtime->ledger, component, &account));
    STRATA_TRY(strata_holder_open(runtime, &options, &memory->holder));
    const uint64_t limit = account->limit[STRATA__HOST_MEMORY];
    pthread_mutex_lock(&memory->lock);
    memory->more = more < limit ? more : (size_t)limit;
    if (memory->limit > limit - memory->more)
        memory->limit = (size_t)limit - memory->more;
    drop_to(memory, memory->limit);
    charge(memory);
    pthread_mutex_unlock(&memory->lock);
    return STRATA_OK;
}

/* ---- The whole ---- */

strata_status strata__cache_memory_open(size_t limit, const struct strata__uses *uses,
                                        struct strata__cache_memory **out)
{
    STRATA_TRY(strata__calloc(out, 1, sizeof **out, "a cache"));
    if (pthread_mutex_init(&(*out)->lock, NULL) != 0) {
        strata__free(*out);
        *out = NULL;
        return strata__fail(STRATA_E_NOMEM, "no memory for a lock");
    }
    (*out)->limit = limit;
    (*out)->uses = uses;
    return STRATA_OK;
}

void strata__cache_memory_close(struct strata__cache_memory **handle)
{
    struct strata__cache_memory *memory = *handle;
    if (!memory)
        return;
    strata_holder_close(&memory->holder); /* nobody asks it to shrink any more */
    drop_to(memory, 0);
    pthread_mutex_destroy(&memory->lock);
    strata__free(memory);
    *handle = NULL;
}

bool strata__cache_memory_get(struct strata__cache_memory *memory,
                              const struct strata__cache_key *key, bool count,
                              strata__value_fn *read, void *user)
{
    const uint64_t hash = strata__cache_id_of(key).low;
    pthread_mutex_lock(&memory->lock);
    struct node *node = find(memory, hash, key);
    const bool known =
        node && read(user, node->record.bytes + node->record.key_size, node->record.value_size);
    if (known) {
        unlink_order(memory, node);
        link_newest(memory, node);
    }
    if (count && known)
        atomic_fetch_add(&memory->hits, 1);
    else if (count)
        memory->misses++;
    pthread_mutex_unlock(&memory->lock);
    return known;
}

/* Uses of what has to leave for `bytes` more. */
static unsigned displaced(const struct strata__cache_memory *memory, size_t bytes, bool *fits)
{
    unsigned uses = 0, n = 0;
    *fits = bytes <= memory->limit;
    if (!*fits || !memory->uses || memory->bytes + bytes <= memory->limit)
        return 0;
    size_t more = memory->bytes + bytes - memory->limit;
    for (const struct node *node = memory->oldest; node && more; node = node->newer) {
        uses += strata__uses_of(memory->uses, node->record.use);
        more -= node->bytes < more ? node->bytes : more;
        if (++n == DISPLACED_MOST)
            *fits = more == 0;
        if (!*fits)
            break;
    }
    return uses;
}

unsigned strata__cache_memory_displaced(struct strata__cache_memory *memory, size_t size,
                                        bool *fits)
{
    pthread_mutex_lock(&memory->lock);
    const unsigned uses = displaced(memory, offsetof(struct node, record) + size, fits);
    pthread_mutex_unlock(&memory->lock);
    return uses;
}

static void link_node(struct strata__cache_memory *memory, struct node *node)
{
    node->chain = memory->chains[node->hash % CHAINS];
    memory->chains[node->hash % CHAINS] = node;
    link_newest(memory, node);
    memory->bytes += node->bytes;
    memory->count++;
}

bool strata__cache_memory_put(struct strata__cache_memory *memory,
                              const struct strata__record *record)
{
    struct node *node;
    bool fits;
    const size_t size = strata__record_size(record), bytes = offsetof(struct node, record) + size;
    const struct strata__cache_key key = strata__record_key(record);
    if (memory->limit == 0 || strata__calloc(&node, 1, bytes, "a cached value") != STRATA_OK)
        return false;
    node->hash = strata__cache_id_of(&key).low;
    node->bytes = bytes;
    memcpy(&node->record, record, size);
    pthread_mutex_lock(&memory->lock);
    struct node *before = find(memory, node->hash, &key);
    if (before)
        drop(memory, before);
    const unsigned leave = displaced(memory, bytes, &fits);
    if (leave && fits)
        fits = strata__uses_of(memory->uses, record->use) > leave;
    if (fits) {
        drop_to(memory, memory->limit - bytes);
        link_node(memory, node);
        node = NULL;
    }
    charge(memory);
    pthread_mutex_unlock(&memory->lock);
    strata__free(node);
    return fits;
}

size_t strata__cache_memory_stale(struct strata__cache_memory *memory,
                                  const struct strata__cache_versions *versions, bool only_count)
{
    size_t bytes = 0;
    pthread_mutex_lock(&memory->lock);
    for (struct node *node = memory->oldest, *next; node; node = next) {
        next = node->newer;
        if (!strata__record_is_stale(&node->record, versions))
            continue;
        bytes += node->bytes;
        if (!only_count)
            drop(memory, node);
    }
    charge(memory);
    pthread_mutex_unlock(&memory->lock);
    return bytes;
}

struct strata__cache_memory_info strata__cache_memory_info_get(struct strata__cache_memory *memory)
{
    pthread_mutex_lock(&memory->lock);
    const struct strata__cache_memory_info info = {.bytes = memory->bytes,
                                                   .limit = memory->limit,
                                                   .count = memory->count,
                                                   .hits = atomic_load(&memory->hits),
                                                   .misses = memory->misses};
    pthread_mutex_unlock(&memory->lock);
    return info;
}

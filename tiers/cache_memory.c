/* Records by their hash, in chains, and in queues (cache_memory.h). */
#include "cache_memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "budgets.h"
#include "memory.h"
#include "runtime.h"

#define CHAINS 8192
#define GHOSTS 16384   /* that are remembered, at most */
#define SMALL_SHARE 10 /* of the bytes are for what is new: one of so many */
#define USES_MOST 3    /* that are counted of a record */

enum { SMALL, MAIN, QUEUES };

struct node {
    struct node *chain, *newer, *older;
    uint64_t hash;
    size_t bytes;
    uint8_t uses, queue;
    struct strata__record record;
};

struct queue {
    struct node *oldest, *newest;
    size_t bytes, count;
};

/* What left the small queue: part of its hash, and when, counted by those that left. */
struct ghost {
    uint32_t hash, when;
};

struct strata__cache_memory {
    pthread_mutex_t lock; /* of all but hits */
    struct node *chains[CHAINS];
    struct queue queues[QUEUES];
    struct ghost ghosts[GHOSTS];
    uint32_t left;         /* the small queue so far */
    strata_holder *holder; /* or NULL */
    size_t limit, bytes, more;
    uint64_t misses;
    atomic_uint_least64_t hits;
};

/* ---- Chains and queues ---- */

static struct node *find(const struct strata__cache_memory *memory, uint64_t hash,
                         const struct strata__cache_key *key)
{
    struct node *node = memory->chains[hash % CHAINS];
    while (node && (node->hash != hash || !strata__record_is(&node->record, key)))
        node = node->chain;
    return node;
}

static void append(struct strata__cache_memory *memory, struct node *node, unsigned number)
{
    struct queue *queue = &memory->queues[number];
    node->newer = NULL;
    node->older = queue->newest;
    node->queue = (uint8_t)number;
    *(queue->newest ? &queue->newest->newer : &queue->oldest) = node;
    queue->newest = node;
    queue->bytes += node->bytes;
    queue->count++;
}

/* Takes a record from its queue, and gives it. */
static struct node *take(struct strata__cache_memory *memory, struct node *node)
{
    struct queue *queue = &memory->queues[node->queue];
    *(node->newer ? &node->newer->older : &queue->newest) = node->older;
    *(node->older ? &node->older->newer : &queue->oldest) = node->newer;
    queue->bytes -= node->bytes;
    queue->count--;
    return node;
}

/* Frees what is in no queue any more. */
static void drop(struct strata__cache_memory *memory, struct node *node)
{
    struct node **at = &memory->chains[node->hash % CHAINS];
    while (*at != node)
        at = &(*at)->chain;
    *at = node->chain;
    memory->bytes -= node->bytes;
    strata__free(node);
}

static void remember(struct strata__cache_memory *memory, const struct node *node)
{
    memory->ghosts[node->hash % GHOSTS] =
        (struct ghost){(uint32_t)(node->hash >> 32), ++memory->left};
}

/* Whether it left the small queue lately: after that, fewer left than there are records. */
static bool is_ghost(const struct strata__cache_memory *memory, uint64_t hash)
{
    const struct ghost *ghost = &memory->ghosts[hash % GHOSTS];
    return ghost->when && ghost->hash == (uint32_t)(hash >> 32) &&
           memory->left - ghost->when <= memory->queues[SMALL].count + memory->queues[MAIN].count;
}

/* The record whose turn it is leaves; those that were used go around before. */
static void drop_one(struct strata__cache_memory *memory)
{
    const struct queue *small = &memory->queues[SMALL], *main = &memory->queues[MAIN];
    while (small->count && (small->bytes > memory->limit / SMALL_SHARE || !main->count)) {
        struct node *node = take(memory, small->oldest);
        if (node->uses < 2) {
            remember(memory, node);
            drop(memory, node);
            return;
        }
        node->uses = 0;
        append(memory, node, MAIN);
    }
    struct node *node = take(memory, main->oldest);
    while (node->uses) {
        node->uses--;
        append(memory, node, MAIN);
        node = take(memory, main->oldest);
    }
    drop(memory, node);
}

static void drop_to(struct strata__cache_memory *memory, size_t bytes)
{
    while (memory->bytes > bytes)
        drop_one(memory);
}

/* ---- The ledger ---- */

/* Charges what there is, less that for which there is no room. */
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

strata_status strata__cache_memory_open(size_t limit, struct strata__cache_memory **out)
{
    STRATA_TRY(strata__calloc(out, 1, sizeof **out, "a cache"));
    if (pthread_mutex_init(&(*out)->lock, NULL) != 0) {
        strata__free(*out);
        *out = NULL;
        return strata__fail(STRATA_E_NOMEM, "no memory for a lock");
    }
    (*out)->limit = limit;
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
    if (known && count && node->uses < USES_MOST)
        node->uses++;
    if (count && known)
        atomic_fetch_add(&memory->hits, 1);
    else if (count)
        memory->misses++;
    pthread_mutex_unlock(&memory->lock);
    return known;
}

bool strata__cache_memory_fits(struct strata__cache_memory *memory, size_t size, bool *room)
{
    const size_t bytes = offsetof(struct node, record) + size;
    pthread_mutex_lock(&memory->lock);
    const bool fits = bytes <= memory->limit / SMALL_SHARE;
    *room = fits && memory->bytes + bytes <= memory->limit;
    pthread_mutex_unlock(&memory->lock);
    return fits;
}

/* Takes the place of what has the key, in the same queue; what comes back soon goes to the main
 * queue. */
static void put_node(struct strata__cache_memory *memory, struct node *node,
                     const struct strata__cache_key *key)
{
    struct node *before = find(memory, node->hash, key);
    unsigned queue = is_ghost(memory, node->hash) ? MAIN : SMALL;
    if (before) {
        queue = before->queue;
        node->uses = before->uses;
        drop(memory, take(memory, before));
    }
    drop_to(memory, memory->limit - node->bytes);
    node->chain = memory->chains[node->hash % CHAINS];
    memory->chains[node->hash % CHAINS] = node;
    memory->bytes += node->bytes;
    append(memory, node, queue);
}

bool strata__cache_memory_put(struct strata__cache_memory *memory,
                              const struct strata__record *record)
{
    struct node *node;
    const size_t size = strata__record_size(record), bytes = offsetof(struct node, record) + size;
    const struct strata__cache_key key = strata__record_key(record);
    if (memory->limit == 0 || strata__calloc(&node, 1, bytes, "a cached value") != STRATA_OK)
        return false;
    node->hash = strata__cache_id_of(&key).low;
    node->bytes = bytes;
    memcpy(&node->record, record, size);
    pthread_mutex_lock(&memory->lock);
    const bool fits = bytes <= memory->limit;
    if (fits) {
        put_node(memory, node, &key);
        charge(memory);
    }
    pthread_mutex_unlock(&memory->lock);
    if (!fits)
        strata__free(node);
    return fits;
}

size_t strata__cache_memory_stale(struct strata__cache_memory *memory,
                                  const struct strata__cache_versions *versions, bool only_count)
{
    size_t bytes = 0;
    pthread_mutex_lock(&memory->lock);
    for (unsigned q = 0; q < QUEUES; q++) {
        for (struct node *node = memory->queues[q].oldest, *next; node; node = next) {
            next = node->newer;
            if (!strata__record_is_stale(&node->record, versions))
                continue;
            bytes += node->bytes;
            if (!only_count)
                drop(memory, take(memory, node));
        }
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
                                                   .count = memory->queues[SMALL].count +
                                                            memory->queues[MAIN].count,
                                                   .hits = atomic_load(&memory->hits),
                                                   .misses = memory->misses};
    pthread_mutex_unlock(&memory->lock);
    return info;
}

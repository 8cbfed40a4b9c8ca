/* Mentions by their hash, in chains, and in the order in which they were used (mention_cache.h). */
#include "mention_cache.h"

#include "budgets.h"
#include "hash.h"
#include "memory.h"
#include "runtime.h"

#define CHAINS 4096
#define COMPONENT "tier1_linker/result_cache(entities)"

struct node {
    struct node *chain, *newer, *older;
    uint64_t hash, version;
    size_t size, bytes; /* of the text, of all */
    bool embedded, described, spelled;
    size_t width, n_described, n_spelled;
    uint64_t data[]; /* ids of descriptions, vector, scores, labels, text */
};

struct strata__mention_cache {
    pthread_mutex_t lock; /* of all but hits */
    struct node *chains[CHAINS];
    struct node *newest, *oldest;
    strata_holder *holder; /* or NULL */
    uint64_t seed;
    size_t limit, bytes, count;
    uint64_t misses;
    atomic_uint_least64_t hits;
};

/* ---- Nodes ---- */

/* Where the parts of a node lie. */
struct parts {
    uint64_t *ids;
    float *vector, *scores;
    strata__id *labels;
    char *text;
};

static struct parts parts_of(struct node *node)
{
    struct parts p = {.ids = node->data};
    p.vector = (float *)(p.ids + node->n_described);
    p.scores = p.vector + node->width;
    p.labels = (strata__id *)(p.scores + node->n_described);
    p.text = (char *)(p.labels + node->n_spelled);
    return p;
}

static void copy(void *to, const void *from, size_t bytes)
{
    if (bytes)
        memcpy(to, from, bytes);
}

static struct node *make_node(const char *text, size_t size, const struct strata__mention *m)
{
    struct node *node;
    const size_t width = m->embedded ? m->width : 0, n = m->described ? m->n_described : 0,
                 labels = m->spelled ? m->n_spelled : 0;
    const size_t bytes = sizeof *node + n * (sizeof *node->data + sizeof(float)) +
                         width * sizeof(float) + labels * sizeof(strata__id) + size;
    if (strata__calloc(&node, 1, bytes, "a mention") != STRATA_OK)
        return NULL;
    node->size = size;
    node->bytes = bytes;
    node->embedded = m->embedded;
    node->described = m->described;
    node->spelled = m->spelled;
    node->width = width;
    node->n_described = n;
    node->n_spelled = labels;
    const struct parts p = parts_of(node);
    copy(p.ids, m->described_ids, n * sizeof *p.ids);
    copy(p.vector, m->vector, width * sizeof *p.vector);
    copy(p.scores, m->described_scores, n * sizeof *p.scores);
    copy(p.labels, m->spelled_labels, labels * sizeof *p.labels);
    copy(p.text, text, size);
    return node;
}

static void read_node(struct node *node, struct strata__mention *m)
{
    const struct parts p = parts_of(node);
    m->embedded = node->embedded && node->width == m->width;
    m->described = node->described;
    m->spelled = node->spelled;
    m->n_described = node->n_described;
    m->n_spelled = node->n_spelled;
    copy(m->described_ids, p.ids, node->n_described * sizeof *p.ids);
    copy(m->vector, p.vector, m->embedded ? node->width * sizeof *p.vector : 0);
    copy(m->described_scores, p.scores, node->n_described * sizeof *p.scores);
    copy(m->spelled_labels, p.labels, node->n_spelled * sizeof *p.labels);
}

/* ---- Chains and order ---- */

static struct node *find(const struct strata__mention_cache *cache, uint64_t hash, const char *text,
                         size_t size)
{
    struct node *node = cache->chains[hash % CHAINS];
    while (node && (node->hash != hash || node->size != size ||
                    (size && memcmp(parts_of(node).text, text, size) != 0)))
        node = node->chain;
    return node;
}

static void unlink_order(struct strata__mention_cache *cache, struct node *node)
{
    *(node->newer ? &node->newer->older : &cache->newest) = node->older;
    *(node->older ? &node->older->newer : &cache->oldest) = node->newer;
}

static void link_newest(struct strata__mention_cache *cache, struct node *node)
{
    node->newer = NULL;
    node->older = cache->newest;
    *(cache->newest ? &cache->newest->newer : &cache->oldest) = node;
    cache->newest = node;
}

static void drop(struct strata__mention_cache *cache, struct node *node)
{
    struct node **at = &cache->chains[node->hash % CHAINS];
    while (*at != node)
        at = &(*at)->chain;
    *at = node->chain;
    unlink_order(cache, node);
    cache->bytes -= node->bytes;
    cache->count--;
    strata__free(node);
}

/* Drops the oldest until at most `bytes` are left. */
static void drop_to(struct strata__mention_cache *cache, size_t bytes)
{
    while (cache->bytes > bytes)
        drop(cache, cache->oldest);
}

/* ---- The ledger ---- */

/* Charges what there is, less the oldest for which there is no room. */
static void charge(struct strata__mention_cache *cache)
{
    if (!cache->holder || strata_holder_set(cache->holder, cache->bytes) == STRATA_OK)
        return;
    drop_to(cache, (size_t)strata_holder_bytes(cache->holder));
    strata_holder_set(cache->holder, cache->bytes); /* less than before: it is not refused */
}

/* The ledger's: who holds the lock may be waiting for this thread. */
static uint64_t shrink(void *user, uint64_t bytes)
{
    struct strata__mention_cache *cache = user;
    if (pthread_mutex_trylock(&cache->lock) != 0)
        return 0;
    const size_t before = cache->bytes;
    drop_to(cache, bytes < before ? before - (size_t)bytes : 0);
    charge(cache);
    const uint64_t freed = before - cache->bytes;
    pthread_mutex_unlock(&cache->lock);
    return freed;
}

static uint64_t hits(void *user)
{
    struct strata__mention_cache *cache = user;
    return atomic_load(&cache->hits);
}

strata_status strata__mention_cache_charge(struct strata__mention_cache *cache,
                                           strata_runtime *runtime)
{
    const strata_holder_options options = {.size = sizeof options,
                                           .component = COMPONENT,
                                           .purpose = "mentions",
                                           .shrink = shrink,
                                           .hits = hits,
                                           .user = cache};
    struct strata__account *account;
    if (cache->holder)
        return STRATA_OK;
    STRATA_TRY(strata__budget_account(runtime->ledger, COMPONENT, &account));
    STRATA_TRY(strata_holder_open(runtime, &options, &cache->holder));
    const uint64_t limit = account->limit[STRATA__HOST_MEMORY];
    pthread_mutex_lock(&cache->lock);
    cache->limit = cache->limit < limit ? cache->limit : (size_t)limit;
    drop_to(cache, cache->limit);
    charge(cache);
    pthread_mutex_unlock(&cache->lock);
    return STRATA_OK;
}

/* ---- The whole ---- */

strata_status strata__mention_cache_open(size_t limit, struct strata__mention_cache **out)
{
    STRATA_TRY(strata__calloc(out, 1, sizeof **out, "mentions"));
    if (pthread_mutex_init(&(*out)->lock, NULL) != 0) {
        strata__free(*out);
        *out = NULL;
        return strata__fail(STRATA_E_NOMEM, "no memory for a lock");
    }
    (*out)->limit = limit;
    (*out)->seed = strata__hash_seed();
    return STRATA_OK;
}

void strata__mention_cache_close(struct strata__mention_cache **handle)
{
    struct strata__mention_cache *cache = *handle;
    if (!cache)
        return;
    strata_holder_close(&cache->holder); /* nobody asks it to shrink any more */
    drop_to(cache, 0);
    pthread_mutex_destroy(&cache->lock);
    strata__free(cache);
    *handle = NULL;
}

bool strata__mention_cache_get(struct strata__mention_cache *cache, const char *text, size_t size,
                               uint64_t version, bool count, struct strata__mention *mention)
{
    mention->embedded = mention->described = mention->spelled = false;
    pthread_mutex_lock(&cache->lock);
    struct node *node = find(cache, strata__hash_bytes(text, size, cache->seed), text, size);
    const bool known = node && node->version == version;
    if (known) {
        unlink_order(cache, node);
        link_newest(cache, node);
        read_node(node, mention);
    }
    if (count && known)
        atomic_fetch_add(&cache->hits, 1);
    else if (count)
        cache->misses++;
    pthread_mutex_unlock(&cache->lock);
    return known;
}

void strata__mention_cache_put(struct strata__mention_cache *cache, const char *text, size_t size,
                               uint64_t version, const struct strata__mention *mention)
{
    struct node *node = cache->limit ? make_node(text, size, mention) : NULL;
    if (!node)
        return;
    if (node->bytes > cache->limit) {
        strata__free(node);
        return;
    }
    node->version = version;
    node->hash = strata__hash_bytes(text, size, cache->seed);
    pthread_mutex_lock(&cache->lock);
    struct node *before = find(cache, node->hash, text, size);
    if (before)
        drop(cache, before);
    drop_to(cache, cache->limit - node->bytes);
    node->chain = cache->chains[node->hash % CHAINS];
    cache->chains[node->hash % CHAINS] = node;
    link_newest(cache, node);
    cache->bytes += node->bytes;
    cache->count++;
    charge(cache);
    pthread_mutex_unlock(&cache->lock);
}

struct strata__mention_cache_info
strata__mention_cache_info_get(struct strata__mention_cache *cache)
{
    pthread_mutex_lock(&cache->lock);
    const struct strata__mention_cache_info info = {.bytes = cache->bytes,
                                                    .limit = cache->limit,
                                                    .mentions = cache->count,
                                                    .hits = atomic_load(&cache->hits),
                                                    .misses = cache->misses};
    pthread_mutex_unlock(&cache->lock);
    return info;
}

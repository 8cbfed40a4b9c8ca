/* Mentions as records in memory (mention_cache.h): their version is in the value, so that a text is
 * there once. */
#include "mention_cache.h"

#include "cache_memory.h"
#include "memory.h"

#define COMPONENT "tier1_linker/result_cache(entities)"

struct strata__mention_cache {
    struct strata__cache_memory *memory;
};

/* ---- Values ---- */

/* What a value begins with; behind it lie ids and scores of descriptions, the vector, labels. */
struct head {
    uint64_t version;
    bool embedded, described, spelled;
    uint32_t width, n_described, n_spelled;
};

static struct head head_of(const struct strata__mention *m, uint64_t version)
{
    return (struct head){.version = version,
                         .embedded = m->embedded,
                         .described = m->described,
                         .spelled = m->spelled,
                         .width = m->embedded ? (uint32_t)m->width : 0,
                         .n_described = m->described ? (uint32_t)m->n_described : 0,
                         .n_spelled = m->spelled ? (uint32_t)m->n_spelled : 0};
}

static size_t size_of(const struct head *head)
{
    return sizeof *head + head->n_described * (sizeof(uint64_t) + sizeof(float)) +
           head->width * sizeof(float) + head->n_spelled * sizeof(strata__id);
}

static void put_part(char **to, const void *from, size_t bytes)
{
    if (bytes)
        memcpy(*to, from, bytes);
    *to += bytes;
}

static void write_value(char *to, const struct head *head, const struct strata__mention *m)
{
    put_part(&to, head, sizeof *head);
    put_part(&to, m->described_ids, head->n_described * sizeof *m->described_ids);
    put_part(&to, m->described_scores, head->n_described * sizeof *m->described_scores);
    put_part(&to, m->vector, head->width * sizeof *m->vector);
    put_part(&to, m->spelled_labels, head->n_spelled * sizeof *m->spelled_labels);
}

static void take_part(void *to, const char **from, size_t bytes)
{
    if (bytes)
        memcpy(to, *from, bytes);
    *from += bytes;
}

/* What is wanted, and where it goes. */
struct wanted {
    uint64_t version;
    struct strata__mention *mention;
};

static bool read_value(void *user, const char *value, size_t size)
{
    const struct wanted *wanted = user;
    struct strata__mention *m = wanted->mention;
    struct head head;
    (void)size; /* it was written here */
    take_part(&head, &value, sizeof head);
    if (head.version != wanted->version)
        return false;
    m->embedded = head.embedded && head.width == m->width;
    m->described = head.described;
    m->spelled = head.spelled;
    m->n_described = head.n_described;
    m->n_spelled = head.n_spelled;
    take_part(m->described_ids, &value, head.n_described * sizeof *m->described_ids);
    take_part(m->described_scores, &value, head.n_described * sizeof *m->described_scores);
    if (m->embedded)
        memcpy(m->vector, value, head.width * sizeof *m->vector);
    value += head.width * sizeof *m->vector;
    take_part(m->spelled_labels, &value, head.n_spelled * sizeof *m->spelled_labels);
    return true;
}

/* ---- The whole ---- */

strata_status strata__mention_cache_open(size_t limit, struct strata__mention_cache **out)
{
    STRATA_TRY(strata__calloc(out, 1, sizeof **out, "mentions"));
    strata_status status = strata__cache_memory_open(limit, &(*out)->memory);
    if (status != STRATA_OK)
        strata__mention_cache_close(out);
    return status;
}

void strata__mention_cache_close(struct strata__mention_cache **handle)
{
    struct strata__mention_cache *cache = *handle;
    if (!cache)
        return;
    strata__cache_memory_close(&cache->memory);
    strata__free(cache);
    *handle = NULL;
}

strata_status strata__mention_cache_charge(struct strata__mention_cache *cache,
                                           strata_runtime *runtime)
{
    return strata__cache_memory_charge(cache->memory, runtime, COMPONENT, "mentions", 0);
}

bool strata__mention_cache_get(struct strata__mention_cache *cache, const char *text, size_t size,
                               uint64_t version, bool count, struct strata__mention *mention)
{
    const struct strata__cache_key key = {
        .kind = STRATA__CACHE_MENTION, .text = text, .size = size};
    struct wanted wanted = {version, mention};
    mention->embedded = mention->described = mention->spelled = false;
    return strata__cache_memory_get(cache->memory, &key, count, read_value, &wanted);
}

void strata__mention_cache_put(struct strata__mention_cache *cache, const char *text, size_t size,
                               uint64_t version, const struct strata__mention *mention)
{
    const struct strata__cache_key key = {
        .kind = STRATA__CACHE_MENTION, .text = text, .size = size};
    const struct head head = head_of(mention, version);
    const size_t value_size = size_of(&head), room = strata__record_room(&key, value_size);
    struct strata__record *record = NULL;
    char *value = NULL;
    if (room && strata__calloc(&value, 1, value_size, "a mention") == STRATA_OK &&
        strata__calloc(&record, 1, room, "a mention") == STRATA_OK) {
        write_value(value, &head, mention);
        strata__record_make(record, &key, value, value_size, 0);
        strata__cache_memory_put(cache->memory, record);
    }
    strata__free(value);
    strata__free(record);
}

struct strata__mention_cache_info
strata__mention_cache_info_get(struct strata__mention_cache *cache)
{
    const struct strata__cache_memory_info info = strata__cache_memory_info_get(cache->memory);
    return (struct strata__mention_cache_info){.bytes = info.bytes,
                                               .limit = info.limit,
                                               .mentions = info.count,
                                               .hits = info.hits,
                                               .misses = info.misses};
}

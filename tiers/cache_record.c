/* Records of caches (cache_record.h). */
#include "cache_record.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

struct strata__cache_id strata__cache_id_of(const struct strata__cache_key *key)
{
    const uint64_t versions[] = {(uint64_t)key->kind, key->graph, key->model};
    const uint64_t seed = XXH3_64bits(versions, sizeof versions);
    const XXH128_hash_t hash = XXH3_128bits_withSeed(key->text, key->size, seed);
    return (struct strata__cache_id){hash.low64, hash.high64};
}

uint64_t strata__cache_use_of(const struct strata__cache_key *key)
{
    return XXH3_64bits_withSeed(key->text, key->size, (uint64_t)key->kind);
}

struct strata__cache_key strata__record_key(const struct strata__record *record)
{
    return (struct strata__cache_key){(enum strata__cache_kind)record->kind, record->graph,
                                      record->model, record->bytes, record->key_size};
}

size_t strata__record_room(const struct strata__cache_key *key, size_t value_size)
{
    const size_t head = sizeof(struct strata__record);
    if (key->size > STRATA__RECORD_MOST || value_size > STRATA__RECORD_MOST ||
        head + key->size + value_size > STRATA__RECORD_MOST)
        return 0;
    return head + key->size + value_size;
}

static uint64_t checksum_of(const struct strata__record *record)
{
    const size_t skipped = sizeof record->checksum;
    return XXH3_64bits((const char *)record + skipped, strata__record_size(record) - skipped);
}

void strata__record_make(struct strata__record *out, const struct strata__cache_key *key,
                         const void *value, size_t value_size, double cost_ms)
{
    out->use = strata__cache_use_of(key);
    out->graph = key->graph;
    out->model = key->model;
    out->key_size = (uint32_t)key->size;
    out->value_size = (uint32_t)value_size;
    out->cost_ms = (float)cost_ms;
    out->kind = (uint32_t)key->kind;
    if (key->size)
        memcpy(out->bytes, key->text, key->size);
    if (value_size)
        memcpy(out->bytes + key->size, value, value_size);
    out->checksum = checksum_of(out);
}

const struct strata__record *strata__record_read(const void *bytes, size_t size)
{
    const struct strata__record *record = bytes;
    if (size < sizeof *record || size > STRATA__RECORD_MOST)
        return NULL;
    const uint64_t rest = size - sizeof *record;
    if ((uint64_t)record->key_size + record->value_size != rest)
        return NULL;
    return record->checksum == checksum_of(record) ? record : NULL;
}

bool strata__record_is(const struct strata__record *record, const struct strata__cache_key *key)
{
    return record->kind == (uint32_t)key->kind && record->graph == key->graph &&
           record->model == key->model && record->key_size == key->size &&
           (key->size == 0 || memcmp(record->bytes, key->text, key->size) == 0);
}

bool strata__record_is_stale(const struct strata__record *record,
                             const struct strata__cache_versions *versions)
{
    return (record->graph && record->graph != versions->graph) ||
           (record->model && record->model != versions->models[0] &&
            record->model != versions->models[1]);
}

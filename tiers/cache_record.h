/* What caches keep: a value under its key, as one block of bytes that is the same on each level.
 *
 * A key is a kind, the versions of the graph and of the models that the value follows from, and a
 * text.  Records are found by a hash of all of it, and hold all of it: another key with the same
 * hash, or another version, is never taken for it. */
#ifndef STRATA_CACHE_RECORD_H
#define STRATA_CACHE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "text.h"

enum strata__cache_kind {
    STRATA__CACHE_ANSWER = 1, /* of a query, whole */
    STRATA__CACHE_EXPANSION,  /* predicates of a phrase */
    STRATA__CACHE_VECTOR,     /* of a text, 8 bits an element */
    STRATA__CACHE_SCORE,      /* what a language model said */
    STRATA__CACHE_CHAIN,      /* chains of triples for a question */
    STRATA__CACHE_MENTION,    /* mention_cache.h */
    STRATA__CACHE_KINDS
};

struct strata__cache_key {
    enum strata__cache_kind kind;
    uint64_t graph; /* the state of the store that the value is of; 0: of any */
    uint64_t model; /* likewise of models */
    const void *text;
    size_t size;
};

struct strata__cache_id {
    uint64_t low, high;
};

/* The versions that are in use; values of others are stale. */
struct strata__cache_versions {
    uint64_t graph;
    uint64_t models[2]; /* of vectors, of answers */
};

struct strata__record {
    uint64_t checksum; /* of all that follows */
    uint64_t use;      /* by which uses are counted: a hash of kind and text, of any version */
    uint64_t graph, model;
    uint32_t key_size, value_size;
    float cost_ms; /* to make the value */
    uint32_t kind;
    char bytes[]; /* the key's text, the value */
};

#define STRATA__RECORD_MOST ((size_t)1 << 20) /* bytes; what is larger is not kept */

struct strata__cache_id strata__cache_id_of(const struct strata__cache_key *key);
uint64_t strata__cache_use_of(const struct strata__cache_key *key);

/* The record's key, which borrows its text. */
struct strata__cache_key strata__record_key(const struct strata__record *record);

static inline size_t strata__record_size(const struct strata__record *record)
{
    return sizeof *record + record->key_size + record->value_size;
}

/* The size of a record of such parts; 0: it is not kept. */
size_t strata__record_room(const struct strata__cache_key *key, size_t value_size);

/* Makes a record in `out`, which has that room. */
void strata__record_make(struct strata__record *out, const struct strata__cache_key *key,
                         const void *value, size_t value_size, double cost_ms);

/* The record that bytes[0..size), aligned to 8, are, or NULL: they are damaged. */
const struct strata__record *strata__record_read(const void *bytes, size_t size);

bool strata__record_is_stale(const struct strata__record *record,
                             const struct strata__cache_versions *versions);

bool strata__record_is(const struct strata__record *record, const struct strata__cache_key *key);

#endif

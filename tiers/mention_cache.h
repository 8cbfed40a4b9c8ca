/* What tier 1 found out about mentions, whatever their predicates: the latest of them are kept.
 *
 * A mention is known by its bytes and by the version of the store (the id of its latest
 * transaction) that it was looked up in: of another version it is not known.  Nothing is lent: both
 * ways are copies.  Any thread may call. */
#ifndef STRATA_MENTION_CACHE_H
#define STRATA_MENTION_CACHE_H

#include <string.h>

#include "embed_queue.h"
#include "store.h"

#define STRATA__SPELLINGS_MOST 600 /* labels that are spelled alike */

struct strata__mention {
    bool embedded, described, spelled; /* which of the following are there */
    size_t width;
    float *vector; /* [width], room of the caller's */
    size_t n_described, n_spelled;
    uint64_t described_ids[STRATA__DESCRIPTIONS_MOST]; /* of vectors of descriptions */
    float described_scores[STRATA__DESCRIPTIONS_MOST];
    strata__id spelled_labels[STRATA__SPELLINGS_MOST];
};

#define STRATA__MENTION_BYTES 4096 /* that are read of a mention: more than names have */

/* A mention without spaces at its ends, or its beginning: what is kept, and embedded. */
static inline strata_text strata__mention_text(const char *mention)
{
    size_t size = strlen(mention);
    while (size && *mention == ' ') {
        mention++;
        size--;
    }
    while (size && mention[size - 1] == ' ')
        size--;
    return (strata_text){mention, size < STRATA__MENTION_BYTES ? size : STRATA__MENTION_BYTES};
}

struct strata__mention_cache;

/* A cache of at most `limit` bytes.  E_NOMEM. */
strata_status strata__mention_cache_open(size_t limit, struct strata__mention_cache **out);
void strata__mention_cache_close(struct strata__mention_cache **cache);

/* From now on its bytes are charged to tier1_linker/result_cache(entities), whose limit is its own
 * too, and given back when others need them; a second call does nothing.  Before any use by several
 * threads.  E_NOMEM. */
strata_status strata__mention_cache_charge(struct strata__mention_cache *cache,
                                           strata_runtime *runtime);

/* What is known of text[0..size) into *mention, whose width and vector are set; with `count`, it
 * counts as a hit or a miss.  False: nothing is, and *mention is empty. */
bool strata__mention_cache_get(struct strata__mention_cache *cache, const char *text, size_t size,
                               uint64_t version, bool count, struct strata__mention *mention);

/* Keeps what *mention has in place of what was known; others go for it as cache_memory.h says.
 * Where memory is short, nothing is kept. */
void strata__mention_cache_put(struct strata__mention_cache *cache, const char *text, size_t size,
                               uint64_t version, const struct strata__mention *mention);

struct strata__mention_cache_info {
    uint64_t bytes, limit, mentions, hits, misses;
};
struct strata__mention_cache_info
strata__mention_cache_info_get(struct strata__mention_cache *cache);

#endif

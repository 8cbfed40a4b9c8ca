/* What the tests of caches share: a folder, records, damage. */
#ifndef CACHE_FIXTURE_H
#define CACHE_FIXTURE_H

#include "facts_cache.h"

/* The test's folder, empty when a test begins. */
extern char cache_folder[64];
int cache_set_up(void **state);
int cache_tear_down(void **state);

/* Key and value number `i` of versions `graph` and `model`; valid until the 8th call after. */
struct strata__cache_key cache_key(unsigned i, uint64_t graph, uint64_t model);
const char *cache_value(unsigned i, size_t *size);
/* The record of both; the caller frees (strata__free). */
struct strata__record *cache_record(unsigned i, uint64_t graph, uint64_t model);

/* *bytes are record `i`, or its value. */
bool cache_is_record(const struct strata__bytes *bytes, unsigned i);
bool cache_is_value(const struct strata__bytes *bytes, unsigned i);

/* A file of the folder: path, bytes, one byte changed, its end cut off, copied. */
const char *cache_file(const char *name);
long cache_file_size(const char *name);
void cache_flip(const char *name, long offset);
void cache_cut(const char *name, long size);
void cache_copy(const char *from, const char *to);

/* ---- Whole caches ---- */

/* A cache in the folder, whose files are open. */
struct strata__facts_cache *cache_open(size_t memory, uint64_t lmdb, uint64_t disk);

/* Puts value `i`, that took so long to make; gets it, which is it then; counts those below n that
 * are there. */
void cache_put(struct strata__facts_cache *cache, unsigned i, double cost_ms);
bool cache_get(struct strata__facts_cache *cache, unsigned i);
unsigned cache_count(struct strata__facts_cache *cache, unsigned n);

/* Gets it, and puts it where it is not there, as queries do. */
void cache_ask(struct strata__facts_cache *cache, unsigned i);

/* When all is written. */
strata_facts_cache_info cache_info(struct strata__facts_cache *cache);

#endif

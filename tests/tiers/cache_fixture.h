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

/* A file of the folder: path, bytes, one byte changed, its end cut off. */
const char *cache_file(const char *name);
long cache_file_size(const char *name);
void cache_flip(const char *name, long offset);
void cache_cut(const char *name, long size);

#endif

#include "cache_fixture.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "memory.h"

char cache_folder[64];

int cache_set_up(void **state)
{
    (void)state;
    snprintf(cache_folder, sizeof cache_folder, "/tmp/strata-cache-XXXXXX");
    return mkdtemp(cache_folder) ? 0 : -1;
}

int cache_tear_down(void **state)
{
    (void)state;
    chmod(cache_folder, 0700);
    DIR *folder = opendir(cache_folder);
    for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;)
        unlink(cache_file(entry->d_name));
    if (folder)
        closedir(folder);
    return rmdir(cache_folder);
}

struct strata__cache_key cache_key(unsigned i, uint64_t graph, uint64_t model)
{
    static _Thread_local char texts[8][64];
    static _Thread_local unsigned at;
    char *text = texts[at++ % 8];
    const int n = snprintf(text, sizeof texts[0], "key %u", i);
    return (struct strata__cache_key){.kind = STRATA__CACHE_ANSWER,
                                      .graph = graph,
                                      .model = model,
                                      .text = text,
                                      .size = (size_t)n};
}

/* Some words and numbers, 100 to 700 bytes. */
const char *cache_value(unsigned i, size_t *size)
{
    static _Thread_local char values[8][800];
    static _Thread_local unsigned at;
    char *value = values[at++ % 8];
    *size = 100 + i * 7919u % 600;
    for (size_t n = 0; n < *size;)
        n += (size_t)snprintf(value + n, 800 - n, "entity %u has the label \"%x\"; ", i,
                              (unsigned)(n + i) * 2654435761u);
    return value;
}

struct strata__record *cache_record(unsigned i, uint64_t graph, uint64_t model)
{
    struct strata__record *record;
    size_t size;
    const struct strata__cache_key key = cache_key(i, graph, model);
    const char *value = cache_value(i, &size);
    assert_int_equal(strata__calloc(&record, 1, strata__record_room(&key, size), "a record"),
                     STRATA_OK);
    strata__record_make(record, &key, value, size, 5);
    return record;
}

bool cache_is_record(const struct strata__bytes *bytes, unsigned i)
{
    size_t size;
    const char *value = cache_value(i, &size);
    const struct strata__record *record = strata__record_read(bytes->data, bytes->size);
    return record && record->value_size == size &&
           memcmp(record->bytes + record->key_size, value, size) == 0;
}

bool cache_is_value(const struct strata__bytes *bytes, unsigned i)
{
    size_t size;
    const char *value = cache_value(i, &size);
    return bytes->size == size && memcmp(bytes->data, value, size) == 0;
}

/* ---- Files ---- */

const char *cache_file(const char *name)
{
    static char paths[4][400];
    static unsigned at;
    char *path = paths[at++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", cache_folder, name);
    return path;
}

long cache_file_size(const char *name)
{
    struct stat file;
    return stat(cache_file(name), &file) == 0 ? (long)file.st_size : -1;
}

void cache_flip(const char *name, long offset)
{
    FILE *file = fopen(cache_file(name), "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, offset, SEEK_SET), 0);
    const int byte = getc(file);
    assert_int_equal(fseek(file, offset, SEEK_SET), 0);
    assert_true(putc(byte ^ 0x55, file) != EOF);
    assert_int_equal(fclose(file), 0);
}

void cache_cut(const char *name, long size)
{
    assert_int_equal(truncate(cache_file(name), size), 0);
}

void cache_copy(const char *from, const char *to)
{
    static char bytes[1 << 22];
    FILE *in = fopen(cache_file(from), "rb"), *out = fopen(cache_file(to), "wb");
    assert_true(in && out);
    const size_t n = fread(bytes, 1, sizeof bytes, in);
    assert_int_equal(fwrite(bytes, 1, n, out), n);
    assert_int_equal(fclose(in), 0);
    assert_int_equal(fclose(out), 0);
}

/* ---- Whole caches ---- */

struct strata__facts_cache *cache_open(size_t memory, uint64_t lmdb, uint64_t disk)
{
    struct strata__facts_cache *cache;
    const struct strata__facts_cache_options options = {.folder = cache_folder,
                                                        .memory_bytes = memory,
                                                        .lmdb_bytes = lmdb,
                                                        .disk_bytes = disk,
                                                        .origin = 5};
    if (strata__facts_cache_open(&options, &cache) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    strata__facts_cache_flush(cache);
    return cache;
}

void cache_put(struct strata__facts_cache *cache, unsigned i, double cost_ms)
{
    size_t size;
    const struct strata__cache_key key = cache_key(i, 1, 1);
    const char *value = cache_value(i, &size);
    strata__facts_cache_put(cache, &key, value, size, cost_ms);
}

bool cache_get(struct strata__facts_cache *cache, unsigned i)
{
    struct strata__bytes value = {0};
    const struct strata__cache_key key = cache_key(i, 1, 1);
    const bool found = strata__facts_cache_get(cache, &key, &value);
    if (found && !cache_is_value(&value, i))
        fail_msg("key %u: another value", i);
    strata__bytes_free(&value);
    return found;
}

unsigned cache_count(struct strata__facts_cache *cache, unsigned n)
{
    unsigned found = 0;
    for (unsigned i = 0; i < n; i++)
        found += cache_get(cache, i);
    return found;
}

strata_facts_cache_info cache_info(struct strata__facts_cache *cache)
{
    strata_facts_cache_info info;
    strata__facts_cache_flush(cache);
    strata__facts_cache_info_get(cache, &info);
    return info;
}

/* Asks, and puts what is not there, as queries do. */
void cache_ask(struct strata__facts_cache *cache, unsigned i)
{
    if (!cache_get(cache, i))
        cache_put(cache, i, 5);
}

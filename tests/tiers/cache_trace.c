/* cache_trace FOLDER QUERIES DISTINCT [DRIFT [SEED]]: replays a trace of queries on a cache of
 * three levels in the folder, and prints what each level was good for.
 *
 * Popularity is that of Zipf's law with exponent 1.  It drifts: after every 500 queries, DRIFT
 * times (default 10) one that is popular, as likely as it is asked for, and any other one change
 * places.  The cache is closed and opened again three times.  Memory has room for 5 % of the
 * distinct queries, LMDB for 20 %, disk for all.  What is not there is said to have taken 5 ms, and
 * values are checked.
 *
 * Exit status 1: after half of the trace, the levels together have less than 0.99 of the hits that
 * there could be, or memory, or memory and LMDB, have fewer than LRU of that room. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache_policies.h"
#include "deadline.h"
#include "facts_cache.h"

#define RESTARTS 3
#define TOGETHER 500       /* queries between changes of what is popular */
#define COST_MS 5.0        /* that a query is said to take */
#define MISSES_TOGETHER 50 /* about so many are written together: what is missing takes time */

struct trace {
    size_t n, n_items, drift;
    uint32_t *items, *ranks;
    double *sums;
    uint64_t random;
};

static uint64_t next_random(struct trace *t)
{
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return t->random;
}

static double next_share(struct trace *t)
{
    return (double)(next_random(t) >> 11) * 0x1p-53;
}

/* The rank that a share of all requests falls to. */
static size_t rank_of(const struct trace *t, double share)
{
    size_t low = 0, high = t->n_items - 1;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (t->sums[middle] < share * t->sums[t->n_items - 1])
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void make_trace(struct trace *t)
{
    t->items = calloc(t->n, sizeof *t->items);
    t->ranks = calloc(t->n_items, sizeof *t->ranks);
    t->sums = calloc(t->n_items, sizeof *t->sums);
    if (!t->items || !t->ranks || !t->sums)
        abort();
    for (size_t i = 0; i < t->n_items; i++) {
        t->ranks[i] = (uint32_t)i;
        t->sums[i] = (i ? t->sums[i - 1] : 0) + 1 / (double)(i + 1);
    }
    for (size_t i = 0; i < t->n; i++) {
        if (i % TOGETHER == TOGETHER - 1)
            for (size_t k = 0; k < t->drift; k++) {
                const size_t a = rank_of(t, next_share(t)), b = next_random(t) % t->n_items;
                const uint32_t item = t->ranks[a];
                t->ranks[a] = t->ranks[b];
                t->ranks[b] = item;
            }
        t->items[i] = t->ranks[rank_of(t, next_share(t))];
    }
}

/* ---- The cache ---- */

/* A key, and what its value is: text as answers have it, of 300 to 900 bytes. */
static size_t key_of(uint32_t item, char text[64])
{
    return (size_t)snprintf(text, 64, "entity %u\n%u", item * 2654435761u, item % 97);
}

static size_t value_of(uint32_t item, char value[1024])
{
    size_t size = 0;
    const size_t most = 300 + item * 7919u % 600;
    for (unsigned i = 0; size < most; i++)
        size += (size_t)snprintf(value + size, 1024 - size,
                                 "http://example.org/entity/%u label \"Entity of kind %u\" ",
                                 (item + i) * 2654435761u % 1000000u, (item ^ i) % 313);
    return most;
}

static struct strata__facts_cache *open_cache(const char *folder, const struct trace *t)
{
    struct strata__facts_cache *cache;
    const size_t each = 300 + 300 + 48 + 16 + 48; /* value, record, key, node */
    const struct strata__facts_cache_options options = {
        .folder = folder,
        .memory_bytes = t->n_items / 20 * each,
        .lmdb_bytes = t->n_items / 5 * (each - 48) * 5 / 2, /* of pages, half full */
        .disk_bytes = 1 << 30,
        .origin = 7};
    if (strata__facts_cache_open(&options, &cache) != STRATA_OK)
        abort();
    strata__facts_cache_flush(cache); /* files are open: requests begin */
    return cache;
}

struct level {
    size_t hits, late_hits; /* late: in the second half */
    double *ms;
};

static int by_time(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Asks for an item, and puts it where it is not there; the level that had it, or 3. */
static int ask(struct strata__facts_cache *cache, uint32_t item, double *ms)
{
    char text[64], wanted[1024];
    struct strata__bytes value = {0};
    strata_facts_cache_info before, after;
    const struct strata__cache_key key = {.kind = STRATA__CACHE_ANSWER,
                                          .graph = 1,
                                          .model = 2,
                                          .text = text,
                                          .size = key_of(item, text)};
    const size_t size = value_of(item, wanted);
    strata__facts_cache_info_get(cache, &before);
    const double start = strata__now_ms();
    const bool found = strata__facts_cache_get(cache, &key, &value);
    *ms = strata__now_ms() - start;
    strata__facts_cache_info_get(cache, &after);
    int level = 3;
    for (int i = 0; i < 3; i++)
        level = after.levels[i].hits > before.levels[i].hits ? i : level;
    if (found && (value.size != size || memcmp(value.data, wanted, size) != 0)) {
        fprintf(stderr, "item %u: another value\n", item);
        exit(1);
    }
    if (!found) {
        strata__facts_cache_put(cache, &key, wanted, size, COST_MS);
        if (item % MISSES_TOGETHER == 0)
            strata__facts_cache_flush(cache);
    }
    strata__bytes_free(&value);
    return level;
}

static void replay(const char *folder, const struct trace *t, struct level levels[4],
                   strata_facts_cache_info *info)
{
    struct strata__facts_cache *cache = open_cache(folder, t);
    for (size_t i = 0; i < t->n; i++) {
        double ms;
        if (i && i % (t->n / (RESTARTS + 1)) == 0) {
            strata__facts_cache_close(&cache);
            cache = open_cache(folder, t);
            const struct strata__cache_versions versions = {1, {2, 2}};
            strata__facts_cache_warm(cache, &versions, NULL, NULL);
        }
        struct level *level = &levels[ask(cache, t->items[i], &ms)];
        level->ms[level->hits++] = ms;
        level->late_hits += i >= t->n / 2;
    }
    strata__facts_cache_flush(cache);
    strata__facts_cache_info_get(cache, info);
    strata__facts_cache_close(&cache);
}

/* ---- The whole ---- */

/* Requests of [from, n) that were made before. */
static size_t repeats(const struct trace *t, size_t from)
{
    uint8_t *seen = calloc(t->n_items, 1);
    size_t n = 0;
    if (!seen)
        abort();
    for (size_t i = 0; i < t->n; i++) {
        n += seen[t->items[i]] && i >= from;
        seen[t->items[i]] = 1;
    }
    free(seen);
    return n;
}

static int report(const struct trace *t, struct level levels[4],
                  const strata_facts_cache_info *info)
{
    static const char *const names[] = {"memory", "lmdb", "disk", "missing"};
    const size_t half = t->n / 2, room = t->n_items / 20;
    const double late = (double)(t->n - half);
    double policies[POLICIES];
    printf("{\"queries\": %zu, \"distinct\": %zu, \"drift\": %zu, \"levels\": [", t->n, t->n_items,
           t->drift);
    for (int i = 0; i < 4; i++) {
        const struct level *level = &levels[i];
        qsort(level->ms, level->hits, sizeof *level->ms, by_time);
        printf("%s\n  {\"name\": \"%s\", \"hits\": %zu, \"rate\": %.4f, \"late_rate\": %.4f, "
               "\"p50_us\": %.1f, \"p95_us\": %.1f}",
               i ? "," : "", names[i], level->hits, (double)level->hits / (double)t->n,
               (double)level->late_hits / late, level->hits ? level->ms[level->hits / 2] * 1e3 : 0,
               level->hits ? level->ms[level->hits * 95 / 100] * 1e3 : 0);
    }
    const double all = 1 - (double)levels[3].late_hits / late,
                 oracle = (double)repeats(t, half) / late,
                 memory = (double)levels[0].late_hits / late;
    printf("],\n \"values\": [%lu, %lu, %lu], \"late_hit_rate\": %.4f, \"late_oracle\": %.4f, "
           "\"oracle\": %.4f,\n \"memory_alone\": {",
           info->levels[0].values, info->levels[1].values, info->levels[2].values, all, oracle,
           (double)repeats(t, 0) / (double)t->n);
    for (int i = 0; i < POLICIES; i++) {
        policies[i] =
            (double)policy_hits((enum policy)i, t->items, t->n, half, t->n_items, room) / late;
        printf("%s\"%s\": %.4f", i ? ", " : "", policy_names[i], policies[i]);
    }
    const double fast = memory + (double)levels[1].late_hits / late,
                 fast_lru = (double)policy_hits(POLICY_LRU, t->items, t->n, half, t->n_items,
                                                info->levels[1].values) /
                            late;
    printf("}, \"memory_and_lmdb\": %.4f, \"lru_of_that_room\": %.4f,\n \"kept\": [%lu, %lu, %lu, "
           "%lu, %lu]",
           fast, fast_lru, info->kept[0], info->kept[1], info->kept[2], info->kept[3],
           info->kept[4]);
    printf(", \"memory\": %.4f, \"compressed\": %.3f, \"not_written\": %lu, \"discarded\": %lu}\n",
           memory, (double)info->compressed_bytes / (double)(info->raw_bytes + 1),
           info->not_written, info->discarded);
    return all < 0.99 * oracle || memory < policies[POLICY_LRU] || fast < fast_lru;
}

int main(int argc, char **argv)
{
    struct trace t = {.drift = argc > 4 ? strtoull(argv[4], NULL, 10) : 10,
                      .random = argc > 5 ? strtoull(argv[5], NULL, 10) | 1 : 88172645463325252};
    struct level levels[4] = {0};
    strata_facts_cache_info info;
    if (argc < 4 || (t.n = strtoull(argv[2], NULL, 10)) < 100 ||
        (t.n_items = strtoull(argv[3], NULL, 10)) < 100) {
        fprintf(stderr, "usage: cache_trace FOLDER QUERIES DISTINCT [DRIFT [SEED]]\n");
        return 2;
    }
    make_trace(&t);
    for (int i = 0; i < 4; i++) {
        levels[i].ms = calloc(t.n, sizeof *levels[i].ms);
        if (!levels[i].ms)
            abort();
    }
    replay(argv[1], &t, levels, &info);
    const int status = report(&t, levels, &info);
    for (int i = 0; i < 4; i++)
        free(levels[i].ms);
    free(t.items);
    free(t.ranks);
    free(t.sums);
    return status;
}

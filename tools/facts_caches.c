/* strata facts: the caches of a store. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "facts_job.h"
#include "json_lines.h"

#define MEMORY_BYTES ((uint64_t)16 << 20)
#define LMDB_BYTES ((uint64_t)64 << 20)
#define DISK_BYTES ((uint64_t)256 << 20)

static const char *const level_names[STRATA_FACTS_CACHE_LEVELS] = {"memory", "lmdb", "disk"};

strata_status facts_open(struct facts_job *job, bool makes, bool caches)
{
    strata_facts_options how;
    strata_facts_options_default(&how);
    how.must_exist = !makes;
    if (caches) {
        how.cache_memory_bytes = MEMORY_BYTES;
        how.cache_lmdb_bytes = LMDB_BYTES;
        how.cache_disk_bytes = DISK_BYTES;
    }
    return strata_facts_open(NULL, job->options->common.arguments[1], &how, &job->facts);
}

bool facts_has_caches(const struct facts_options *options)
{
    char path[4200];
    const int n = snprintf(path, sizeof path, "%s/cache", options->common.arguments[1]);
    return n > 0 && (size_t)n < sizeof path && access(path, F_OK) == 0;
}

/* {levels: [{name, used, hits, values, bytes, limit_bytes, read_ms}], misses, hit_rate, discarded,
 * raw_bytes, compressed_bytes, dictionary}; hits of all times. */
json_t *facts_caches_json(struct facts_job *job)
{
    strata_facts_cache_info info;
    uint64_t hits = 0;
    json_t *levels = json_array();
    strata_facts_cache_info_get(job->facts, &info);
    for (int i = 0; i < STRATA_FACTS_CACHE_LEVELS; i++) {
        const strata_facts_cache_level *level = &info.levels[i];
        hits += level->all_hits;
        levels = json_push(levels,
                           json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:f}", "name", level_names[i],
                                     "used", level->used, "hits", (json_int_t)level->all_hits,
                                     "values", (json_int_t)level->values, "bytes",
                                     (json_int_t)level->bytes, "limit_bytes",
                                     (json_int_t)level->limit_bytes, "read_ms", level->read_ms));
    }
    const uint64_t asked = hits + info.all_misses;
    return levels ? json_pack("{s:o, s:I, s:f, s:I, s:I, s:I, s:b}", "levels", levels, "misses",
                              (json_int_t)info.all_misses, "hit_rate",
                              asked ? (double)hits / (double)asked : 0.0, "discarded",
                              (json_int_t)info.discarded, "raw_bytes", (json_int_t)info.raw_bytes,
                              "compressed_bytes", (json_int_t)info.compressed_bytes, "dictionary",
                              info.has_dictionary)
                  : NULL;
}

static uint64_t number(const json_t *object, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(object, name));
}

void facts_print_caches(const json_t *caches)
{
    char bytes[32], limit[32];
    size_t i;
    json_t *level;
    printf("\n%-12s %12s %10s %10s %10s\n", "CACHES", "HITS", "VALUES", "USED", "LIMIT");
    json_array_foreach(json_object_get(caches, "levels"), i, level)
    {
        printf("%-12s %12" PRIu64 " %10" PRIu64 " %10s %10s%s\n",
               json_string_value(json_object_get(level, "name")), number(level, "hits"),
               number(level, "values"), cli_bytes_text(bytes, number(level, "bytes")),
               cli_bytes_text(limit, number(level, "limit_bytes")),
               json_is_true(json_object_get(level, "used")) ? "" : "  not in use");
    }
    printf("%-12s %12" PRIu64 " (%.1f %% of what was asked for was there)\n", "misses",
           number(caches, "misses"), 100 * json_real_value(json_object_get(caches, "hit_rate")));
    if (number(caches, "raw_bytes"))
        printf("%s on disk are %s compressed%s\n",
               cli_bytes_text(bytes, number(caches, "raw_bytes")),
               cli_bytes_text(limit, number(caches, "compressed_bytes")),
               json_is_true(json_object_get(caches, "dictionary")) ? ", with a dictionary" : "");
}

int facts_optimise(struct facts_job *job)
{
    char predicted[32], freed[32];
    strata_facts_optimised done;
    int status = strata_facts_has_vectors(job->facts) ? facts_use_vectors(job) : CLI_DONE;
    if (status != CLI_DONE)
        return status;
    strata_status result = strata_facts_optimise(job->facts, &done);
    if (result != STRATA_OK)
        return cli_fail(result);
    if (job->options->common.json)
        return json_print(json_pack(
            "{s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f}", "stale", (json_int_t)done.stale, "promoted",
            (json_int_t)done.promoted, "demoted", (json_int_t)done.demoted, "predicted_bytes",
            (json_int_t)done.predicted_bytes, "freed_bytes", (json_int_t)done.freed_bytes,
            "predicted_ms", done.predicted_ms, "measured_ms", done.measured_ms, "ms", done.ms));
    printf("%" PRIu64 " stale values dropped, %" PRIu64 " promoted, %" PRIu64 " demoted\n"
           "%s freed (%s expected)\n"
           "promoted values take %.3f ms less to read (%.3f ms expected), if they are asked for as "
           "often as lately\n",
           done.stale, done.promoted, done.demoted, cli_bytes_text(freed, done.freed_bytes),
           cli_bytes_text(predicted, done.predicted_bytes), done.measured_ms, done.predicted_ms);
    return CLI_DONE;
}

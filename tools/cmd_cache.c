/* strata cache: the weights that loading models keeps on disk. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "json_lines.h"

/* A size, or "none". */
static bool parse_size(const char *text, uint64_t *out)
{
    *out = STRATA_PACK_CACHE_UNLIMITED;
    return !strcmp(text, "none") || cli_parse_bytes(text, out);
}

/* "2026-11-24T13:05:00Z" */
static const char *time_text(char out[32], int64_t ns)
{
    time_t seconds = (time_t)(ns / 1000000000);
    struct tm utc;
    if (!gmtime_r(&seconds, &utc) || !strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &utc))
        snprintf(out, 32, "unknown");
    return out;
}

/* ---- JSON ---- */

static json_t *files_json(const strata_pack_cache *cache, bool removed)
{
    json_t *array = json_array();
    char used[32];
    for (size_t i = 0; i < cache->n_entries; i++) {
        const strata_pack_cache_entry *file = &cache->entries[i];
        if (file->removed != removed)
            continue;
        json_t *model = file->model ? json_text(file->model, strlen(file->model)) : json_null();
        array = json_push(array, json_pack("{s:o, s:o, s:I, s:s, s:s}", "path",
                                           json_text(file->path, strlen(file->path)), "model",
                                           model, "bytes", (json_int_t)file->bytes, "used",
                                           time_text(used, file->used_ns), "state",
                                           strata_pack_cache_state_name(file->state)));
    }
    return array;
}

static int print_json(const strata_pack_cache *cache, bool removing)
{
    bool limited = cache->limit_bytes != STRATA_PACK_CACHE_UNLIMITED;
    json_t *object =
        json_pack("{s:o, s:I, s:o}", "folder", json_text(cache->folder, strlen(cache->folder)),
                  "bytes", (json_int_t)cache->bytes, "limit_bytes",
                  limited ? json_integer((json_int_t)cache->limit_bytes) : json_null());
    if (!object ||
        (removing && json_object_set_new(object, "removed_bytes",
                                         json_integer((json_int_t)cache->removed_bytes))) ||
        json_object_set_new(object, removing ? "removed" : "files", files_json(cache, removing))) {
        json_decref(object);
        object = NULL;
    }
    return json_print(object);
}

/* ---- Text ---- */

static void print_files(const strata_pack_cache *cache, bool removed)
{
    char bytes[32], used[32];
    if (removed ? cache->n_removed : cache->n_entries)
        printf("%-10s %-21s %-14s %s\n", "SIZE", "LAST USED", "STATE", "MODEL");
    for (size_t i = 0; i < cache->n_entries; i++) {
        const strata_pack_cache_entry *file = &cache->entries[i];
        if (file->removed != removed)
            continue;
        printf("%-10s %-21s %-14s ", cli_bytes_text(bytes, file->bytes),
               time_text(used, file->used_ns), strata_pack_cache_state_name(file->state));
        cli_print_text(file->model ? file->model : "unknown: ");
        if (!file->model)
            cli_print_text(file->path);
        putchar('\n');
    }
}

static void print_text(const strata_pack_cache *cache, bool removing)
{
    char bytes[32];
    size_t left = cache->n_entries - cache->n_removed;
    print_files(cache, removing);
    if (removing)
        printf("%zu file%s removed, %s freed; ", cache->n_removed, cache->n_removed == 1 ? "" : "s",
               cli_bytes_text(bytes, cache->removed_bytes));
    printf("%zu file%s, %s in ", left, left == 1 ? "" : "s", cli_bytes_text(bytes, cache->bytes));
    cli_print_text(cache->folder);
    if (cache->limit_bytes == STRATA_PACK_CACHE_UNLIMITED)
        printf(", no limit\n");
    else
        printf(", limit %s\n", cli_bytes_text(bytes, cache->limit_bytes));
}

/* ---- The command ---- */

/* What the words ask for, done; CLI_DONE, or the exit status after a message. */
static int act(const struct cli_command *command, const struct cli_common *options,
               const char *action, strata_pack_cache **cache)
{
    bool cap = !strcmp(action, "cap");
    uint64_t limit = 0;
    strata_status status;
    if (!cap && options->n_arguments > 1)
        return cli_usage(command, "unexpected argument '%s'", options->arguments[1]);
    if (cap && options->n_arguments < 2)
        return cli_usage(command, "cap: SIZE is missing: " CLI_SIZES ", or none");
    if (cap && !parse_size(options->arguments[1], &limit))
        return cli_usage(command, "'%s' is no size: " CLI_SIZES ", or none", options->arguments[1]);
    if (cap)
        status = strata_pack_cache_cap(limit, cache);
    else if (!strcmp(action, "list"))
        status = strata_pack_cache_list(cache);
    else if (!strcmp(action, "prune"))
        status = strata_pack_cache_prune(cache);
    else if (!strcmp(action, "clear"))
        status = strata_pack_cache_clear(cache);
    else
        return cli_usage(command, "'%s' is none of list, prune, cap, clear", action);
    return status == STRATA_OK ? CLI_DONE : cli_fail(status);
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct cli_common options = {0};
    int status = cli_parse(command, argc, argv, &options);
    if (status != CLI_GO_ON)
        return status;
    const char *action = options.n_arguments ? options.arguments[0] : "list";
    strata_pack_cache *cache = NULL;
    status = act(command, &options, action, &cache);
    if (status != CLI_DONE)
        return status;
    bool removing = strcmp(action, "list") != 0;
    if (options.json)
        status = print_json(cache, removing);
    else
        print_text(cache, removing);
    strata_pack_cache_free(&cache);
    return status;
}

const struct cli_command cmd_cache = {
    .name = "cache",
    .arguments = "[list | prune | cap SIZE | clear]",
    .summary = "List, prune and limit the weights that are kept on disk",
    .details =
        "list    show the files, which models they were made of, and their states (default)\n"
        "prune   remove those of no use: leftover, model-gone, other-version, damaged\n"
        "cap     remove the least recently used until the rest fits SIZE, now and whenever\n"
        "        one is made; SIZE is 500MB, 1.5GiB or bytes, and none for no limit\n"
        "clear   remove all\n"
        "Files in use are never removed; what is removed is made again when it is needed.",
    .groups = CLI_JSON,
    .max_arguments = 2,
    .run = run,
};

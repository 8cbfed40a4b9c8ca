/* Importing a file: batches of its statements, each with a note of how far it got. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "rdf_read.h"
#include "store_batch.h"

#define UNITS_A_REPORT 4096

struct import {
    strata_facts *facts;
    const strata_facts_import_options *options;
    strata_facts_import_info info;
    struct strata__batch *batch;
    char shown[512];
    uint64_t path_hash; /* of the full path: blank nodes of the file are known by it */
    char units_key[32], file_key[32]; /* the note: pieces that are done, and of which file */
    uint64_t file_hash, file_bytes;
    uint64_t units, bytes; /* done */
    bool whole;            /* all was read: the note goes */
    uint64_t changed;      /* by the batch */
};

void strata_facts_import_options_default(strata_facts_import_options *options)
{
    *options = (strata_facts_import_options){.size = sizeof *options};
}

/* ---- Batches ---- */

static strata_status write_batch(struct strata__txn *txn, void *user, int *error)
{
    struct import *import = user;
    const bool remove = import->options->remove;
    STRATA_TRY((remove ? strata__batch_remove : strata__batch_write)(import->batch, txn,
                                                                     &import->changed, error));
    /* What is removed has to be read from the start when it is imported again. */
    const bool note = !import->whole && !remove;
    if (*error == 0)
        *error = strata__meta_put(txn, import->units_key, note ? import->units : 0);
    if (*error == 0)
        *error = strata__meta_put(txn, import->file_key, note ? import->file_hash : 0);
    return STRATA_OK;
}

static strata_status flush(struct import *import)
{
    STRATA_TRY(strata__store_change(import->facts, write_batch, import));
    import->info.changed += import->changed;
    strata__batch_clear(import->batch);
    return STRATA_OK;
}

static strata_status report(const struct import *import)
{
    const strata_facts_import_options *options = import->options;
    if (options->on_progress &&
        !options->on_progress(options->user, import->shown, import->bytes, import->file_bytes))
        return strata__fail(STRATA_E_CANCELLED,
                            "%s: interrupted; the next import goes on with what is left",
                            import->shown);
    return STRATA_OK;
}

/* ---- Statements ---- */

/* A blank node of a file, named so that it is none of another file. */
static void rename_blank(const struct import *import, struct strata__term *term, char name[40])
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(term->text, term->size, import->path_hash);
    term->size = (size_t)snprintf(name, 40, "b%016llx%016llx", (unsigned long long)hash.high64,
                                  (unsigned long long)hash.low64);
    term->text = name;
}

static strata_status on_statement(void *user, const struct strata__term terms[3])
{
    struct import *import = user;
    struct strata__term named[3] = {terms[0], terms[1], terms[2]};
    char names[3][40];
    for (int i = 0; i < 3; i++)
        if (terms[i].kind == 'B' && !import->options->remove)
            rename_blank(import, &named[i], names[i]);
    import->info.statements++;
    return strata__batch_add(import->batch, named);
}

static strata_status on_refused(void *user, uint64_t line, uint64_t column, const char *reason)
{
    struct import *import = user;
    const strata_facts_import_options *options = import->options;
    import->info.refused++;
    if (options->on_problem)
        options->on_problem(options->user, import->shown, line, column, reason);
    if (options->strict)
        return strata__fail(STRATA_E_FORMAT, "%s:%llu:%llu: %s", import->shown,
                            (unsigned long long)line, (unsigned long long)column, reason);
    return STRATA_OK;
}

static strata_status on_unit(void *user, uint64_t units, uint64_t bytes)
{
    struct import *import = user;
    import->units = units;
    import->bytes = bytes;
    if (strata__batch_full(import->batch)) {
        STRATA_TRY(flush(import));
        return report(import);
    }
    return units % UNITS_A_REPORT == 0 ? report(import) : STRATA_OK;
}

/* ---- The file ---- */

/* Which file it is, and how much of it is in the store. */
static strata_status look_at_file(struct import *import, const char *path, uint64_t *skip)
{
    struct stat about;
    struct strata__txn txn;
    uint64_t of_file;
    char *full = realpath(path, NULL);
    if (!full || stat(full, &about) != 0) {
        free(full);
        return strata__fail_errno(STRATA_E_IO, errno, "%s", import->shown);
    }
    import->path_hash = XXH3_64bits(full, strlen(full));
    free(full);
    const int64_t identity[] = {about.st_size, about.st_mtim.tv_sec, about.st_mtim.tv_nsec};
    import->file_hash = XXH3_64bits(identity, sizeof identity) | 1;
    import->file_bytes = (uint64_t)about.st_size;
    snprintf(import->units_key, sizeof import->units_key, "done %016llx",
             (unsigned long long)import->path_hash);
    snprintf(import->file_key, sizeof import->file_key, "file %016llx",
             (unsigned long long)import->path_hash);
    *skip = 0;
    if (import->options->remove || import->options->restart)
        return STRATA_OK;
    STRATA_TRY(strata__txn_begin(import->facts, false, &txn));
    strata_status status = strata__meta_get(&txn, import->units_key, skip);
    if (status == STRATA_OK)
        status = strata__meta_get(&txn, import->file_key, &of_file);
    strata__txn_abort(&txn);
    if (status == STRATA_OK && of_file != import->file_hash)
        *skip = 0; /* it has changed since */
    return status;
}

static strata_status import_file(struct import *import, const char *path)
{
    uint64_t skip = 0;
    const struct strata__rdf_sink sink = {on_statement, on_refused, on_unit, import};
    STRATA_TRY(look_at_file(import, path, &skip));
    STRATA_TRY(strata__batch_open(import->facts, &import->batch));
    import->info.resumed = skip;
    STRATA_TRY(strata__rdf_read(path, skip, &sink));
    import->whole = true;
    STRATA_TRY(flush(import));
    import->bytes = import->file_bytes;
    return report(import);
}

strata_status strata_facts_import(strata_facts *facts, const char *path,
                                  const strata_facts_import_options *options,
                                  strata_facts_import_info *info)
{
    strata_facts_import_options usual;
    strata_facts_import_options_default(&usual);
    struct import import = {.facts = facts, .options = options ? options : &usual};
    if (info)
        *info = import.info;
    if (import.options->size != sizeof usual)
        return strata__fail(STRATA_E_INVALID, "options->size: %zu, expected %zu",
                            import.options->size, sizeof usual);
    strata__escape(import.shown, sizeof import.shown, path, strlen(path));
    struct strata__scope before = strata__scope_set(facts->scope);
    strata_status status = import_file(&import, path);
    strata__batch_close(&import.batch);
    strata__scope_set(before);
    if (info)
        *info = import.info;
    return status;
}

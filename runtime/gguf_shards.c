/* Split GGUF files: PREFIX-00001-of-0000N.gguf, each with the keys split.no (from 0), split.count
 * and split.tensors.count.  The metadata of the model is in the first. */
#include "gguf_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"

#define SUFFIX_FORMAT "-%05" PRIu64 "-of-%05" PRIu64 ".gguf"
#define SUFFIX_CAPACITY 64

struct split {
    uint64_t no, count, tensors;
};

/* Reads the split keys of a shard: count 1 where there are none, or where it is 0, as tools that
 * join shards leave it. */
static strata_status read_split(const struct strata__shard *shard, struct split *split)
{
    *split = (struct split){.count = 1};
    bool found;
    STRATA_TRY(strata__shard_u64(shard, "split.count", &split->count, &found));
    if (split->count == 0)
        split->count = 1;
    if (split->count > STRATA__GGUF_SHARDS_MAX)
        return strata__gguf_bad(shard, strata__shard_key(shard, "split.count")->value,
                                "key \"split.count\": %" PRIu64 ", at most %u", split->count,
                                STRATA__GGUF_SHARDS_MAX);
    if (split->count == 1)
        return STRATA_OK;
    STRATA_TRY(strata__shard_u64(shard, "split.no", &split->no, NULL));
    if (split->no >= split->count)
        return strata__gguf_bad(shard, strata__shard_key(shard, "split.no")->value,
                                "key \"split.no\": %" PRIu64
                                ", expected below split.count, %" PRIu64,
                                split->no, split->count);
    return strata__shard_u64(shard, "split.tensors.count", &split->tensors, NULL);
}

/* The suffix that the name of this shard must have. */
static size_t suffix(char *out, uint64_t no, uint64_t count)
{
    return (size_t)snprintf(out, SUFFIX_CAPACITY, SUFFIX_FORMAT, no + 1, count);
}

/* A companion must say the same of the whole as the shard that was opened, and be the one that its
 * name says. */
static strata_status check_companion(const struct strata__shard *shard, const struct split *whole,
                                     uint64_t no)
{
    static const char *const keys[] = {"split.no", "split.count", "split.tensors.count"};
    struct split split;
    STRATA_TRY(read_split(shard, &split));
    const uint64_t found[] = {split.no, split.count, split.tensors};
    const uint64_t expected[] = {no, whole->count, whole->tensors};
    for (size_t i = 0; i < 3; i++)
        if (found[i] != expected[i]) {
            const struct strata__key *key = strata__shard_key(shard, keys[i]);
            return strata__gguf_bad(shard, key ? key->value : 0,
                                    "key \"%s\": %" PRIu64 ", expected %" PRIu64
                                    " as in the other shards of the model",
                                    keys[i], found[i], expected[i]);
        }
    return STRATA_OK;
}

/* Opens shard `no`, named as the opened one with another number. */
static strata_status open_companion(struct strata__shard *shard, const char *path, size_t prefix,
                                    const struct split *whole, uint64_t no)
{
    char *name;
    STRATA_TRY(strata__calloc(&name, prefix + SUFFIX_CAPACITY, 1, "path"));
    memcpy(name, path, prefix);
    suffix(name + prefix, no, whole->count);
    strata_status status = STRATA_OK;
    if (access(name, F_OK) != 0 && errno == ENOENT) {
        char shown[512];
        status = strata__fail(STRATA_E_FORMAT,
                              "%s: missing: the model has %" PRIu64 " shards, this is number "
                              "%" PRIu64,
                              strata__escape(shown, sizeof shown, name, strlen(name)), whole->count,
                              no + 1);
    }
    if (status == STRATA_OK)
        status = strata__shard_open(shard, name);
    strata__free(name);
    return status == STRATA_OK ? check_companion(shard, whole, no) : status;
}

/* Where metadata of a later shard names an architecture, it must be the first one's. */
static strata_status check_architecture(const strata_file *file)
{
    const struct strata__shard *first = &file->shards[0];
    static const char name[] = "general.architecture";
    const struct strata__key *expected = strata__shard_key(first, name);
    for (unsigned i = 1; i < file->shard_count; i++) {
        const struct strata__shard *shard = &file->shards[i];
        const struct strata__key *key = strata__shard_key(shard, name);
        if (!key)
            continue;
        uint64_t size = 0;
        if (expected && expected->type == STRATA__META_STRING && key->type == STRATA__META_STRING)
            memcpy(&size, shard->map.data + key->value, sizeof size);
        /* Length word and text together; the length decides before the text is compared. */
        if (size == 0 ||
            memcmp(shard->map.data + key->value, first->map.data + expected->value, 8) != 0 ||
            memcmp(shard->map.data + key->value + 8, first->map.data + expected->value + 8, size))
            return strata__gguf_bad(shard, key->value,
                                    "key \"%s\": shard of another model, expected the value in %s",
                                    name, first->shown);
    }
    return STRATA_OK;
}

static strata_status check_tensor_count(const strata_file *file, const struct split *whole)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < file->shard_count; i++)
        total += file->shards[i].tensor_count;
    const struct strata__shard *first = &file->shards[0];
    if (total != whole->tensors)
        return strata__gguf_bad(first, strata__shard_key(first, "split.tensors.count")->value,
                                "key \"split.tensors.count\": %" PRIu64
                                ", the %u shards have %" PRIu64,
                                whole->tensors, file->shard_count, total);
    return STRATA_OK;
}

static strata_status open_others(strata_file *file, const struct split *whole)
{
    char expected[SUFFIX_CAPACITY];
    struct strata__shard *given = &file->shards[whole->no];
    size_t size = strlen(given->path), tail = suffix(expected, whole->no, whole->count);
    if (size < tail || strcmp(given->path + size - tail, expected) != 0)
        return strata__gguf_bad(given, strata__shard_key(given, "split.count")->value,
                                "key \"split.count\": shard %" PRIu64 " of %" PRIu64
                                ", expected a file name that ends in \"%s\"",
                                whole->no + 1, whole->count, expected);
    for (uint64_t no = 0; no < whole->count; no++)
        if (no != whole->no)
            STRATA_TRY(open_companion(&file->shards[no], given->path, size - tail, whole, no));
    STRATA_TRY(check_architecture(file));
    return check_tensor_count(file, whole);
}

strata_status strata__shards_open(strata_file *file, const char *path)
{
    struct strata__shard given;
    struct split whole;
    strata_status status;
    STRATA_TRY_DONE(strata__shard_open(&given, path));
    STRATA_TRY_DONE(read_split(&given, &whole));
    STRATA_TRY_DONE(strata__calloc(&file->shards, whole.count, sizeof *file->shards, "shards"));
    file->shard_count = (unsigned)whole.count;
    file->shards[whole.no] = given;
    return whole.count > 1 ? open_others(file, &whole) : STRATA_OK;
done:
    strata__shard_close(&given);
    return status;
}

/* Header and metadata of one GGUF file: each field is checked before it is used, string arrays are
 * walked once and nothing is allocated for a value. */
#include "gguf_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "memory.h"
#include "utf8.h"

#define VERSION_MIN 2u
#define VERSION_MAX 3u
#define SHOWN_PATH_MAX 200u /* bytes of a path in messages, before escaping */

strata_status strata__gguf_bad(const struct strata__shard *shard, uint64_t offset,
                               const char *format, ...)
{
    char detail[640];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    return strata__fail(STRATA_E_FORMAT, "%s:%" PRIu64 ": %s", shard->shown, offset, detail);
}

uint64_t strata__gguf_left(const struct strata__reader *reader)
{
    return reader->shard->map.size - reader->at;
}

static const unsigned char *here(const struct strata__reader *reader)
{
    return reader->shard->map.data + reader->at;
}

static strata_status take(struct strata__reader *reader, const char *field, void *out, size_t bytes)
{
    memset(out, 0, bytes);
    if (strata__gguf_left(reader) < bytes)
        return strata__gguf_bad(reader->shard, reader->at,
                                "%s: %zu bytes needed, the file ends after %" PRIu64, field, bytes,
                                strata__gguf_left(reader));
    memcpy(out, here(reader), bytes);
    reader->at += bytes;
    return STRATA_OK;
}

strata_status strata__gguf_u32(struct strata__reader *reader, const char *field, uint32_t *out)
{
    return take(reader, field, out, sizeof *out);
}

strata_status strata__gguf_u64(struct strata__reader *reader, const char *field, uint64_t *out)
{
    return take(reader, field, out, sizeof *out);
}

static strata_status take_string(struct strata__reader *reader, const char *field, uint64_t limit,
                                 struct strata__string *out)
{
    uint64_t start = reader->at, size;
    STRATA_TRY(strata__gguf_u64(reader, field, &size));
    if (size > limit)
        return strata__gguf_bad(reader->shard, start,
                                "%s: length %" PRIu64 " bytes, at most %" PRIu64, field, size,
                                limit);
    if (size > strata__gguf_left(reader))
        return strata__gguf_bad(reader->shard, start,
                                "%s: length %" PRIu64 " bytes, %" PRIu64 " left in the file", field,
                                size, strata__gguf_left(reader));
    *out = (struct strata__string){(const char *)here(reader), (size_t)size};
    reader->at += size;
    return STRATA_OK;
}

strata_status strata__gguf_name(struct strata__reader *reader, const char *field, uint32_t limit,
                                struct strata__string *out)
{
    uint64_t start = reader->at;
    STRATA_TRY(take_string(reader, field, limit, out));
    if (out->size == 0)
        return strata__gguf_bad(reader->shard, start, "%s: empty, at least 1 byte", field);
    for (size_t i = 0; i < out->size;) {
        size_t n = strata__utf8_next(out->text + i, out->size - i, NULL);
        unsigned char c = (unsigned char)out->text[i];
        if (n == 0 || c < 0x20 || c == 0x7f) {
            char text[128];
            return strata__gguf_bad(reader->shard, start,
                                    "%s: \"%s\" has byte 0x%02x at %zu, expected UTF-8 without "
                                    "control characters",
                                    field, strata__escape(text, sizeof text, out->text, out->size),
                                    c, i);
        }
        i += n;
    }
    return STRATA_OK;
}

/* Passes over `count` strings of an array. */
static strata_status skip_strings(struct strata__reader *reader, const char *field, uint64_t count)
{
    const unsigned char *data = reader->shard->map.data;
    uint64_t at = reader->at, end = reader->shard->map.size, size;
    for (uint64_t i = 0; i < count; i++) {
        if (end - at < sizeof size)
            return strata__gguf_bad(reader->shard, at,
                                    "%s: element %" PRIu64 " of %" PRIu64 " is cut off", field, i,
                                    count);
        memcpy(&size, data + at, sizeof size);
        if (size > end - at - sizeof size)
            return strata__gguf_bad(reader->shard, at,
                                    "%s: element %" PRIu64 ": length %" PRIu64 " bytes, %" PRIu64
                                    " left in the file",
                                    field, i, size, end - at - sizeof size);
        at += sizeof size + size;
    }
    reader->at = at;
    return STRATA_OK;
}

/* Passes over `count` values of `bytes` each. */
static strata_status skip_values(struct strata__reader *reader, const char *field, uint32_t type,
                                 uint64_t count)
{
    uint32_t bytes = strata__meta_type_bytes(type);
    if (count > strata__gguf_left(reader) / bytes)
        return strata__gguf_bad(reader->shard, reader->at,
                                "%s: %" PRIu64 " x %" PRIu32 " bytes, %" PRIu64 " left in the file",
                                field, count, bytes, strata__gguf_left(reader));
    if (type == STRATA__META_BOOL)
        for (uint64_t i = 0; i < count; i++)
            if (here(reader)[i] > 1)
                return strata__gguf_bad(reader->shard, reader->at + i,
                                        "%s: BOOL %u, expected 0 or 1", field, here(reader)[i]);
    reader->at += count * bytes;
    return STRATA_OK;
}

static strata_status skip_array(struct strata__reader *reader, const char *field)
{
    uint64_t start = reader->at, count;
    uint32_t type;
    STRATA_TRY(strata__gguf_u32(reader, field, &type));
    if (type >= STRATA__META_TYPE_COUNT)
        return strata__gguf_bad(reader->shard, start, "%s: element type %" PRId32 ", 0 to %d",
                                field, (int32_t)type, STRATA__META_TYPE_COUNT - 1);
    if (type == STRATA__META_ARRAY)
        return strata__gguf_bad(
            reader->shard, start,
            "%s: element type 9 (ARRAY), arrays of arrays are not accepted (depth limit 1)", field);
    start = reader->at;
    STRATA_TRY(strata__gguf_u64(reader, field, &count));
    uint64_t least = type == STRATA__META_STRING ? 8 : strata__meta_type_bytes(type);
    if (count > strata__gguf_left(reader) / least)
        return strata__gguf_bad(reader->shard, start,
                                "%s: array length %" PRIu64 ", at most %" PRIu64
                                " fit the bytes left",
                                field, count, strata__gguf_left(reader) / least);
    return type == STRATA__META_STRING ? skip_strings(reader, field, count)
                                       : skip_values(reader, field, type, count);
}

static strata_status skip_value(struct strata__reader *reader, const char *field, uint32_t type)
{
    struct strata__string string;
    switch (type) {
    case STRATA__META_STRING:
        return take_string(reader, field, UINT64_MAX, &string);
    case STRATA__META_ARRAY:
        return skip_array(reader, field);
    default:
        return skip_values(reader, field, type, 1);
    }
}

static struct strata__string key_name(const void *items, uint32_t i)
{
    const struct strata__key *key = (const struct strata__key *)items + i;
    return (struct strata__string){key->text, key->size};
}

/* Offset of a key's length word. */
static uint64_t key_offset(const struct strata__shard *shard, const struct strata__key *key)
{
    return (uint64_t)((const unsigned char *)key->text - shard->map.data) - sizeof(uint64_t);
}

static strata_status read_key(struct strata__shard *shard, struct strata__reader *reader,
                              uint32_t i)
{
    struct strata__key *key = &shard->keys[i];
    struct strata__string name;
    char field[160], text[128];
    snprintf(field, sizeof field, "key %" PRIu32, i);
    STRATA_TRY(strata__gguf_name(reader, field, STRATA__GGUF_KEY_MAX, &name));
    snprintf(field, sizeof field, "key \"%s\"",
             strata__escape(text, sizeof text, name.text, name.size));
    key->text = name.text;
    key->size = (uint32_t)name.size;
    uint64_t type_at = reader->at;
    STRATA_TRY(strata__gguf_u32(reader, field, &key->type));
    if (key->type >= STRATA__META_TYPE_COUNT)
        return strata__gguf_bad(shard, type_at, "%s: value type %" PRId32 ", 0 to %d", field,
                                (int32_t)key->type, STRATA__META_TYPE_COUNT - 1);
    key->value = reader->at;
    uint32_t other = strata__name_index_add(&shard->key_index, i);
    if (other != STRATA__NO_ITEM)
        return strata__gguf_bad(shard, key_offset(shard, key),
                                "%s: duplicate, the first is at offset %" PRIu64, field,
                                key_offset(shard, &shard->keys[other]));
    return skip_value(reader, field, key->type);
}

static strata_status read_alignment(struct strata__shard *shard)
{
    shard->alignment = STRATA__GGUF_ALIGNMENT_DEFAULT;
    const struct strata__key *key = strata__shard_key(shard, "general.alignment");
    if (!key)
        return STRATA_OK;
    if (key->type != STRATA__META_U32)
        return strata__gguf_bad(shard, key->value, "key \"general.alignment\": %s, expected UINT32",
                                strata__meta_type_name(key->type));
    uint32_t value;
    memcpy(&value, shard->map.data + key->value, sizeof value);
    if (value < STRATA__GGUF_ALIGNMENT_MIN || value > STRATA__GGUF_ALIGNMENT_MAX ||
        (value & (value - 1)) != 0)
        return strata__gguf_bad(shard, key->value,
                                "key \"general.alignment\": %" PRIu32
                                ", expected a power of two from %u to %u",
                                value, STRATA__GGUF_ALIGNMENT_MIN, STRATA__GGUF_ALIGNMENT_MAX);
    shard->alignment = value;
    return STRATA_OK;
}

static strata_status read_count(struct strata__reader *reader, const char *field, uint64_t least,
                                uint64_t *out)
{
    uint64_t start = reader->at;
    STRATA_TRY(strata__gguf_u64(reader, field, out));
    uint64_t limit = strata__gguf_left(reader) / least;
    if (limit > STRATA__GGUF_COUNT_MAX)
        limit = STRATA__GGUF_COUNT_MAX;
    if (*out > limit)
        return strata__gguf_bad(reader->shard, start,
                                "%s: %" PRIu64 ", at most %" PRIu64 " (%" PRIu64
                                " bytes left, %" PRIu64 " or more each)",
                                field, *out, limit, strata__gguf_left(reader), least);
    return STRATA_OK;
}

static strata_status read_version(struct strata__shard *shard, struct strata__reader *reader)
{
    char magic[4], text[32];
    STRATA_TRY(take(reader, "magic", magic, sizeof magic));
    if (memcmp(magic, "GGUF", 4) != 0)
        return strata__gguf_bad(shard, 0, "magic: \"%s\", expected \"GGUF\"",
                                strata__escape(text, sizeof text, magic, sizeof magic));
    STRATA_TRY(strata__gguf_u32(reader, "version", &shard->version));
    uint32_t swapped = __builtin_bswap32(shard->version);
    if (swapped >= 1 && swapped <= VERSION_MAX)
        return strata__gguf_bad(
            shard, 4, "version: %" PRIu32 " in big-endian order, expected little-endian", swapped);
    if (shard->version < VERSION_MIN || shard->version > VERSION_MAX)
        return strata__gguf_bad(shard, 4, "version: %" PRIu32 ", expected %u to %u", shard->version,
                                VERSION_MIN, VERSION_MAX);
    return STRATA_OK;
}

static strata_status read_head(struct strata__shard *shard)
{
    struct strata__reader reader = {shard, 0};
    uint64_t key_count;
    STRATA_TRY(read_version(shard, &reader));
    STRATA_TRY(
        read_count(&reader, "tensor count", STRATA__GGUF_TENSOR_BYTES_MIN, &shard->tensor_count));
    STRATA_TRY(read_count(&reader, "key count", STRATA__GGUF_KEY_BYTES_MIN, &key_count));
    STRATA_TRY(strata__calloc(&shard->keys, key_count, sizeof *shard->keys, "metadata keys"));
    STRATA_TRY(
        strata__name_index_create(&shard->key_index, (uint32_t)key_count, shard->keys, key_name));
    for (; shard->key_count < key_count; shard->key_count++)
        STRATA_TRY(read_key(shard, &reader, shard->key_count));
    shard->tensors_at = reader.at;
    return read_alignment(shard);
}

/* Sets path and shown. */
static strata_status copy_path(struct strata__shard *shard, const char *path)
{
    size_t size = strlen(path), skipped = size > SHOWN_PATH_MAX ? size - SHOWN_PATH_MAX : 0;
    while (skipped && ((unsigned char)path[skipped] & 0xc0) == 0x80)
        skipped++;
    size_t capacity = 4 * (size - skipped) + 8;
    STRATA_TRY(strata__calloc(&shard->path, size + 1, 1, "path"));
    memcpy(shard->path, path, size);
    STRATA_TRY(strata__calloc(&shard->shown, capacity, 1, "path"));
    size_t dots = skipped ? 3 : 0;
    memcpy(shard->shown, "...", dots);
    strata__escape(shard->shown + dots, capacity - dots, path + skipped, size - skipped);
    return STRATA_OK;
}

strata_status strata__shard_open(struct strata__shard *shard, const char *path)
{
    *shard = (struct strata__shard){0};
    STRATA_TRY(copy_path(shard, path));
    STRATA_TRY(strata__file_map_open(&shard->map, shard->path, shard->shown));
    return read_head(shard);
}

void strata__shard_close(struct strata__shard *shard)
{
    strata__name_index_free(&shard->key_index);
    strata__free(shard->keys);
    strata__file_map_close(&shard->map);
    strata__free(shard->shown);
    strata__free(shard->path);
    *shard = (struct strata__shard){0};
}

/* Typed look-ups of metadata.  The values were checked when the file was opened; here only their
 * types and ranges are. */
#include "gguf_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    uint32_t bytes;
} types[STRATA__META_TYPE_COUNT] = {
    [STRATA__META_U8] = {"UINT8", 1},      [STRATA__META_I8] = {"INT8", 1},
    [STRATA__META_U16] = {"UINT16", 2},    [STRATA__META_I16] = {"INT16", 2},
    [STRATA__META_U32] = {"UINT32", 4},    [STRATA__META_I32] = {"INT32", 4},
    [STRATA__META_F32] = {"FLOAT32", 4},   [STRATA__META_BOOL] = {"BOOL", 1},
    [STRATA__META_STRING] = {"STRING", 0}, [STRATA__META_ARRAY] = {"ARRAY", 0},
    [STRATA__META_U64] = {"UINT64", 8},    [STRATA__META_I64] = {"INT64", 8},
    [STRATA__META_F64] = {"FLOAT64", 8},
};

uint32_t strata__meta_type_bytes(uint32_t type)
{
    return types[type].bytes;
}

const char *strata__meta_type_name(uint32_t type)
{
    return types[type].name;
}

const struct strata__key *strata__shard_key(const struct strata__shard *shard, const char *key)
{
    uint32_t i = strata__name_index_find(&shard->key_index, key, strlen(key));
    return i == STRATA__NO_ITEM ? NULL : &shard->keys[i];
}

/* The key in *out, or, when it is absent, NULL: an error when the caller takes no `found`. */
static strata_status look_up(const struct strata__shard *shard, const char *key, bool *found,
                             const struct strata__key **out)
{
    *out = strata__shard_key(shard, key);
    if (found)
        *found = *out != NULL;
    else if (!*out)
        return strata__fail(STRATA_E_FORMAT, "%s: key \"%s\": missing", shard->shown, key);
    return STRATA_OK;
}

static strata_status wrong_type(const struct strata__shard *shard, const struct strata__key *key,
                                const char *name, const char *expected)
{
    return strata__gguf_bad(shard, key->value, "key \"%s\": %s, expected %s", name,
                            strata__meta_type_name(key->type), expected);
}

static bool is_signed(uint32_t type)
{
    return type == STRATA__META_I8 || type == STRATA__META_I16 || type == STRATA__META_I32 ||
           type == STRATA__META_I64;
}

static bool is_integer(uint32_t type)
{
    return is_signed(type) || type == STRATA__META_U8 || type == STRATA__META_U16 ||
           type == STRATA__META_U32 || type == STRATA__META_U64;
}

/* An integer that is not below zero. */
static strata_status read_integer(const struct strata__shard *shard, const char *name,
                                  uint32_t type, uint64_t offset, uint64_t *out)
{
    uint32_t bytes = types[type].bytes;
    uint64_t value = 0;
    memcpy(&value, shard->map.data + offset, bytes);
    if (is_signed(type) && value >> (8 * bytes - 1)) {
        if (bytes < sizeof value)
            value |= UINT64_MAX << (8 * bytes);
        return strata__gguf_bad(shard, offset, "key \"%s\": %" PRId64 ", expected 0 or more", name,
                                (int64_t)value);
    }
    *out = value;
    return STRATA_OK;
}

strata_status strata__shard_u64(const struct strata__shard *shard, const char *name, uint64_t *out,
                                bool *found)
{
    const struct strata__key *key;
    STRATA_TRY(look_up(shard, name, found, &key));
    if (!key)
        return STRATA_OK;
    if (!is_integer(key->type))
        return wrong_type(shard, key, name, "an integer");
    return read_integer(shard, name, key->type, key->value, out);
}

strata_status strata__meta_u64(const strata_file *file, const char *key, uint64_t *out, bool *found)
{
    return strata__shard_u64(&file->shards[0], key, out, found);
}

strata_status strata__meta_f32(const strata_file *file, const char *name, float *out, bool *found)
{
    const struct strata__shard *shard = &file->shards[0];
    const struct strata__key *key;
    STRATA_TRY(look_up(shard, name, found, &key));
    if (!key)
        return STRATA_OK;
    if (key->type == STRATA__META_F32) {
        memcpy(out, shard->map.data + key->value, sizeof *out);
        return STRATA_OK;
    }
    if (key->type != STRATA__META_F64)
        return wrong_type(shard, key, name, "FLOAT32 or FLOAT64");
    double value;
    memcpy(&value, shard->map.data + key->value, sizeof value);
    *out = (float)value;
    return STRATA_OK;
}

strata_status strata__meta_bool(const strata_file *file, const char *name, bool *out, bool *found)
{
    const struct strata__shard *shard = &file->shards[0];
    const struct strata__key *key;
    STRATA_TRY(look_up(shard, name, found, &key));
    if (!key)
        return STRATA_OK;
    if (key->type != STRATA__META_BOOL)
        return wrong_type(shard, key, name, "BOOL");
    *out = shard->map.data[key->value] != 0;
    return STRATA_OK;
}

/* Length word and bytes at an offset that was checked. */
static struct strata__string string_at(const unsigned char *data)
{
    uint64_t size;
    memcpy(&size, data, sizeof size);
    return (struct strata__string){(const char *)data + sizeof size, (size_t)size};
}

strata_status strata__meta_string(const strata_file *file, const char *name,
                                  struct strata__string *out, bool *found)
{
    const struct strata__shard *shard = &file->shards[0];
    const struct strata__key *key;
    STRATA_TRY(look_up(shard, name, found, &key));
    if (!key)
        return STRATA_OK;
    if (key->type != STRATA__META_STRING)
        return wrong_type(shard, key, name, "STRING");
    *out = string_at(shard->map.data + key->value);
    return STRATA_OK;
}

/* What is in front of the elements of an array, which begin at *offset. */
static void array_head(const struct strata__shard *shard, const struct strata__key *key,
                       uint32_t *type, uint64_t *count, uint64_t *offset)
{
    const unsigned char *data = shard->map.data + key->value;
    memcpy(type, data, sizeof *type);
    memcpy(count, data + sizeof *type, sizeof *count);
    *offset = key->value + sizeof *type + sizeof *count;
}

strata_status strata__meta_u64_of(const strata_file *file, const char *name, uint32_t index,
                                  uint32_t count, uint64_t *out, bool *found)
{
    const struct strata__shard *shard = &file->shards[0];
    const struct strata__key *key;
    STRATA_TRY(look_up(shard, name, found, &key));
    if (!key)
        return STRATA_OK;
    if (is_integer(key->type))
        return read_integer(shard, name, key->type, key->value, out);
    if (key->type != STRATA__META_ARRAY)
        return wrong_type(shard, key, name, "an integer or an ARRAY of them");
    uint32_t type;
    uint64_t found_count, offset;
    array_head(shard, key, &type, &found_count, &offset);
    if (!is_integer(type))
        return strata__gguf_bad(shard, key->value, "key \"%s\": ARRAY of %s, expected of integers",
                                name, strata__meta_type_name(type));
    if (found_count != count)
        return strata__gguf_bad(shard, key->value,
                                "key \"%s\": ARRAY of %" PRIu64 " integers, expected %" PRIu32,
                                name, found_count, count);
    return read_integer(shard, name, type, offset + index * (uint64_t)types[type].bytes, out);
}

strata_status strata__meta_array(const strata_file *file, const char *name,
                                 enum strata__meta_type type, struct strata__meta_array *out,
                                 bool *found)
{
    const struct strata__shard *shard = &file->shards[0];
    const struct strata__key *key;
    STRATA_TRY(look_up(shard, name, found, &key));
    if (!key)
        return STRATA_OK;
    char expected[32];
    snprintf(expected, sizeof expected, "ARRAY of %s", strata__meta_type_name(type));
    if (key->type != STRATA__META_ARRAY)
        return wrong_type(shard, key, name, expected);
    uint32_t found_type;
    uint64_t count, offset;
    array_head(shard, key, &found_type, &count, &offset);
    if (found_type != type)
        return strata__gguf_bad(shard, key->value, "key \"%s\": ARRAY of %s, expected %s", name,
                                strata__meta_type_name(found_type), expected);
    *out = (struct strata__meta_array){
        .count = count, .type = type, .data = shard->map.data + offset, .offset = offset};
    return STRATA_OK;
}

void strata__meta_array_strings(const struct strata__meta_array *array,
                                struct strata__string *strings)
{
    const unsigned char *data = array->data;
    for (uint64_t i = 0; i < array->count; i++) {
        strings[i] = string_at(data);
        data = (const unsigned char *)strings[i].text + strings[i].size;
    }
}

uint32_t strata__meta_count(const strata_file *file)
{
    return file->shards[0].key_count;
}

/* Bytes of `count` values of a type that is no array. */
static size_t values_bytes(const unsigned char *data, uint32_t type, uint64_t count)
{
    if (type != STRATA__META_STRING)
        return (size_t)count * types[type].bytes;
    const unsigned char *at = data;
    for (uint64_t i = 0; i < count; i++) {
        struct strata__string string = string_at(at);
        at = (const unsigned char *)string.text + string.size;
    }
    return (size_t)(at - data);
}

struct strata__meta_value strata__meta_value(const strata_file *file, uint32_t index)
{
    const struct strata__shard *shard = &file->shards[0];
    const struct strata__key *key = &shard->keys[index];
    const unsigned char *data = shard->map.data + key->value;
    size_t bytes;
    if (key->type == STRATA__META_ARRAY) {
        uint32_t type;
        uint64_t count, offset;
        array_head(shard, key, &type, &count, &offset);
        bytes = (size_t)(offset - key->value);
        bytes += values_bytes(data + bytes, type, count);
    } else {
        bytes = values_bytes(data, key->type, 1);
    }
    return (struct strata__meta_value){.key = {key->text, key->size},
                                       .type = (enum strata__meta_type)key->type,
                                       .bytes = {(const char *)data, bytes}};
}

const char *strata__file_where(const strata_file *file, const char *name, char *out, size_t cap)
{
    const struct strata__shard *shard = &file->shards[0];
    const struct strata__key *key = strata__shard_key(shard, name);
    if (key)
        snprintf(out, cap, "%s:%" PRIu64, shard->shown, key->value);
    else
        snprintf(out, cap, "%s", shard->shown);
    return out;
}

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

/* The value sign-extended to 64 bits; *negative when it is below zero.  False: not an integer. */
static bool integer(const struct strata__shard *shard, const struct strata__key *key,
                    uint64_t *value, bool *negative)
{
    bool is_signed = key->type == STRATA__META_I8 || key->type == STRATA__META_I16 ||
                     key->type == STRATA__META_I32 || key->type == STRATA__META_I64;
    if (!is_signed && key->type != STRATA__META_U8 && key->type != STRATA__META_U16 &&
        key->type != STRATA__META_U32 && key->type != STRATA__META_U64)
        return false;
    uint32_t bytes = types[key->type].bytes;
    *value = 0;
    memcpy(value, shard->map.data + key->value, bytes);
    *negative = is_signed && *value >> (8 * bytes - 1);
    if (*negative && bytes < sizeof *value)
        *value |= UINT64_MAX << (8 * bytes);
    return true;
}

strata_status strata__shard_u64(const struct strata__shard *shard, const char *name, uint64_t *out,
                                bool *found)
{
    const struct strata__key *key;
    STRATA_TRY(look_up(shard, name, found, &key));
    if (!key)
        return STRATA_OK;
    uint64_t value;
    bool negative;
    if (!integer(shard, key, &value, &negative))
        return wrong_type(shard, key, name, "an integer");
    if (negative)
        return strata__gguf_bad(shard, key->value, "key \"%s\": %" PRId64 ", expected 0 or more",
                                name, (int64_t)value);
    *out = value;
    return STRATA_OK;
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
    uint64_t count;
    const unsigned char *data = shard->map.data + key->value;
    memcpy(&found_type, data, sizeof found_type);
    memcpy(&count, data + sizeof found_type, sizeof count);
    if (found_type != type)
        return strata__gguf_bad(shard, key->value, "key \"%s\": ARRAY of %s, expected %s", name,
                                strata__meta_type_name(found_type), expected);
    size_t head = sizeof found_type + sizeof count;
    *out = (struct strata__meta_array){
        .count = count, .type = type, .data = data + head, .offset = key->value + head};
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
        uint64_t count;
        memcpy(&type, data, sizeof type);
        memcpy(&count, data + sizeof type, sizeof count);
        size_t head = sizeof type + sizeof count;
        bytes = head + values_bytes(data + head, type, count);
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

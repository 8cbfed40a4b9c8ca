/* Writing GGUF files (gguf_write.h). */
#include "gguf_write.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "checked.h"
#include "gguf_file.h"
#include "file_map.h"
#include "memory.h"
#include "new_file.h"

#define ALIGNMENT 32u

/* A part of the header, growing. */
struct bytes {
    unsigned char *data;
    size_t size, capacity;
};

struct strata__gguf_writer {
    struct strata__new_file file;
    struct bytes keys, tensors;
    uint64_t key_count, tensor_count;
    uint64_t *sizes;   /* bytes of each tensor */
    uint64_t data_end; /* of the tensors declared, from the start of the data, padded */
    bool header_done;
    uint64_t at;    /* bytes of the file written */
    uint64_t turn;  /* tensors that are whole */
    uint64_t given; /* bytes of the next one */
};

static strata_status misuse(const struct strata__gguf_writer *w, const char *what)
{
    return strata__fail(STRATA_E_INTERNAL, "%s: writing it: %s", w->file.shown, what);
}

strata_status strata__gguf_write_check(const strata_file *file, const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return STRATA_OK;
    for (unsigned i = 0; i < strata_file_info_get(file).shards; i++) {
        const struct strata__file_map *map = strata__file_shard(file, i);
        if (map->device == info.st_dev && map->inode == info.st_ino)
            return strata__fail(STRATA_E_INVALID, "%s: the file that is read cannot be written too",
                                strata__file_path(file));
    }
    return STRATA_OK;
}

strata_status strata__gguf_write_open(struct strata__gguf_writer **out, const char *path)
{
    struct strata__gguf_writer *w;
    *out = NULL;
    STRATA_TRY(strata__calloc(&w, 1, sizeof *w, "GGUF writer"));
    strata_status status = strata__new_file_open(&w->file, path);
    if (status != STRATA_OK)
        strata__gguf_write_abort(&w);
    *out = w;
    return status;
}

void strata__gguf_write_abort(struct strata__gguf_writer **handle)
{
    struct strata__gguf_writer *w = handle ? *handle : NULL;
    if (!w)
        return;
    *handle = NULL;
    strata__new_file_close(&w->file);
    strata__free(w->keys.data);
    strata__free(w->tensors.data);
    strata__free(w->sizes);
    strata__free(w);
}

static strata_status write_all(struct strata__gguf_writer *w, const void *data, size_t bytes)
{
    STRATA_TRY(strata__new_file_write(&w->file, data, bytes, w->at));
    w->at += bytes;
    return STRATA_OK;
}

static strata_status write_padding(struct strata__gguf_writer *w)
{
    static const unsigned char zeros[ALIGNMENT];
    return write_all(w, zeros, (ALIGNMENT - w->at % ALIGNMENT) % ALIGNMENT);
}

/* ---- metadata ---- */

static strata_status append(struct bytes *to, const void *data, size_t size)
{
    if (size > to->capacity - to->size) {
        uint64_t need;
        if (!strata__add_u64(to->size, size, &need) || need > SIZE_MAX / 2)
            return strata__fail(STRATA_E_NOMEM, "GGUF header: too large");
        size_t capacity = need < 4096 ? 4096 : (size_t)need + (size_t)need / 2;
        STRATA_TRY(strata__resize(&to->data, capacity, 1, "GGUF header"));
        to->capacity = capacity;
    }
    if (size)
        memcpy(to->data + to->size, data, size);
    to->size += size;
    return STRATA_OK;
}

static strata_status append_u32(struct bytes *to, uint32_t value)
{
    return append(to, &value, sizeof value);
}

static strata_status append_u64(struct bytes *to, uint64_t value)
{
    return append(to, &value, sizeof value);
}

static strata_status append_string(struct bytes *to, struct strata__string string)
{
    STRATA_TRY(append_u64(to, string.size));
    return append(to, string.text, string.size);
}

static struct strata__string string_of(const char *text)
{
    return (struct strata__string){text, strlen(text)};
}

static strata_status begin_key(struct strata__gguf_writer *w, struct strata__string key,
                               enum strata__meta_type type)
{
    if (w->header_done)
        return misuse(w, "metadata after data");
    STRATA_TRY(append_string(&w->keys, key));
    w->key_count++;
    return append_u32(&w->keys, type);
}

static strata_status put_value(struct strata__gguf_writer *w, const char *key,
                               enum strata__meta_type type, const void *value)
{
    STRATA_TRY(begin_key(w, string_of(key), type));
    return append(&w->keys, value, strata__meta_type_bytes(type));
}

strata_status strata__gguf_write_u32(struct strata__gguf_writer *w, const char *key, uint32_t value)
{
    return put_value(w, key, STRATA__META_U32, &value);
}

strata_status strata__gguf_write_u64(struct strata__gguf_writer *w, const char *key, uint64_t value)
{
    return put_value(w, key, STRATA__META_U64, &value);
}

strata_status strata__gguf_write_f32(struct strata__gguf_writer *w, const char *key, float value)
{
    return put_value(w, key, STRATA__META_F32, &value);
}

strata_status strata__gguf_write_bool(struct strata__gguf_writer *w, const char *key, bool value)
{
    return put_value(w, key, STRATA__META_BOOL, &(uint8_t){value});
}

strata_status strata__gguf_write_string(struct strata__gguf_writer *w, const char *key,
                                        struct strata__string value)
{
    STRATA_TRY(begin_key(w, string_of(key), STRATA__META_STRING));
    return append_string(&w->keys, value);
}

static strata_status begin_array(struct strata__gguf_writer *w, const char *key,
                                 enum strata__meta_type type, uint64_t count)
{
    STRATA_TRY(begin_key(w, string_of(key), STRATA__META_ARRAY));
    STRATA_TRY(append_u32(&w->keys, type));
    return append_u64(&w->keys, count);
}

strata_status strata__gguf_write_array(struct strata__gguf_writer *w, const char *key,
                                       enum strata__meta_type type, const void *values,
                                       uint64_t count)
{
    STRATA_TRY(begin_array(w, key, type, count));
    return append(&w->keys, values, (size_t)count * strata__meta_type_bytes(type));
}

strata_status strata__gguf_write_strings(struct strata__gguf_writer *w, const char *key,
                                         const struct strata__string *strings, uint64_t count)
{
    STRATA_TRY(begin_array(w, key, STRATA__META_STRING, count));
    for (uint64_t i = 0; i < count; i++)
        STRATA_TRY(append_string(&w->keys, strings[i]));
    return STRATA_OK;
}

static bool about_layout(struct strata__string key)
{
    static const char alignment[] = "general.alignment", split[] = "split.";
    return (key.size == sizeof alignment - 1 && memcmp(key.text, alignment, key.size) == 0) ||
           (key.size >= sizeof split - 1 && memcmp(key.text, split, sizeof split - 1) == 0);
}

strata_status strata__gguf_write_copy(struct strata__gguf_writer *w, const strata_file *file,
                                      uint32_t index)
{
    struct strata__meta_value value = strata__meta_value(file, index);
    if (about_layout(value.key))
        return STRATA_OK;
    STRATA_TRY(begin_key(w, value.key, value.type));
    return append(&w->keys, value.bytes.text, value.bytes.size);
}

/* ---- tensors ---- */

/* Bytes of a tensor; false when the format does not allow the shape. */
static bool tensor_bytes(enum strata_type type, unsigned n_dims, const uint64_t *shape,
                         uint64_t *bytes)
{
    const struct strata_block_format *format = strata_block_format(type);
    if (n_dims < 1 || n_dims > 4 || shape[0] % format->block_elems != 0)
        return false;
    if (!strata__mul_u64(shape[0] / format->block_elems, format->block_bytes, bytes))
        return false;
    for (unsigned i = 0; i < n_dims; i++)
        if (shape[i] == 0 || (i > 0 && !strata__mul_u64(*bytes, shape[i], bytes)))
            return false;
    return true;
}

strata_status strata__gguf_write_tensor(struct strata__gguf_writer *w, const char *name,
                                        enum strata_type type, unsigned n_dims,
                                        const uint64_t *shape)
{
    uint64_t bytes, end;
    if (w->header_done)
        return misuse(w, "a tensor after data");
    if (!*name || strlen(name) > STRATA__GGUF_NAME_MAX)
        return strata__fail(STRATA_E_INVALID, "%s: tensor name \"%s\": expected 1 to %u bytes",
                            w->file.shown, name, STRATA__GGUF_NAME_MAX);
    if (!tensor_bytes(type, n_dims, shape, &bytes) || !strata__add_u64(w->data_end, bytes, &end) ||
        !strata__round_up_u64(end, ALIGNMENT, &end) || end > INT64_MAX)
        return strata__fail(STRATA_E_INVALID,
                            "%s: tensor \"%s\": the shape does not suit the format, or %s",
                            w->file.shown, name, strata_block_format(type)->name);
    STRATA_TRY(
        strata__resize(&w->sizes, (size_t)w->tensor_count + 1, sizeof *w->sizes, "tensor table"));
    STRATA_TRY(append_string(&w->tensors, string_of(name)));
    STRATA_TRY(append_u32(&w->tensors, n_dims));
    STRATA_TRY(append(&w->tensors, shape, n_dims * sizeof *shape));
    STRATA_TRY(append_u32(&w->tensors, strata_block_format(type)->gguf_id));
    STRATA_TRY(append_u64(&w->tensors, w->data_end));
    w->sizes[w->tensor_count++] = bytes;
    w->data_end = end;
    return STRATA_OK;
}

static strata_status write_header(struct strata__gguf_writer *w)
{
    struct {
        char magic[4];
        uint32_t version;
        uint64_t tensors, keys;
    } head = {{'G', 'G', 'U', 'F'}, 3, w->tensor_count, w->key_count};
    w->header_done = true;
    STRATA_TRY(write_all(w, &head, sizeof head));
    STRATA_TRY(write_all(w, w->keys.data, w->keys.size));
    STRATA_TRY(write_all(w, w->tensors.data, w->tensors.size));
    return write_padding(w);
}

strata_status strata__gguf_write_data(struct strata__gguf_writer *w, const void *data, size_t bytes)
{
    if (!w->header_done)
        STRATA_TRY(write_header(w));
    if (w->turn == w->tensor_count || bytes > w->sizes[w->turn] - w->given)
        return misuse(w, "more data than the tensors have");
    STRATA_TRY(write_all(w, data, bytes));
    w->given += bytes;
    if (w->given < w->sizes[w->turn])
        return STRATA_OK;
    w->given = 0;
    w->turn++;
    return write_padding(w);
}

/* ---- the end ---- */

static strata_status finish(struct strata__gguf_writer *w)
{
    if (!w->header_done)
        STRATA_TRY(write_header(w));
    if (w->turn != w->tensor_count)
        return misuse(w, "less data than the tensors have");
    return strata__new_file_finish(&w->file);
}

strata_status strata__gguf_write_finish(struct strata__gguf_writer **w)
{
    strata_status status = finish(*w);
    strata__gguf_write_abort(w);
    return status;
}

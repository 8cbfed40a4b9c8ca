/* The GGUF writer of the tests (gguf_writer.h). */
#include "gguf_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES 24

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

/* Appends `size` bytes, zeros when `from` is NULL. */
static void append(struct gguf_buffer *buffer, const void *from, size_t size)
{
    if (size == 0)
        return;
    if (buffer->capacity - buffer->size < size) {
        buffer->capacity = 2 * buffer->capacity + size + 256;
        buffer->bytes = realloc(buffer->bytes, buffer->capacity);
        if (!buffer->bytes)
            die("gguf_writer");
    }
    if (from)
        memcpy(buffer->bytes + buffer->size, from, size);
    else
        memset(buffer->bytes + buffer->size, 0, size);
    buffer->size += size;
}

static void append_u32(struct gguf_buffer *buffer, uint32_t value)
{
    append(buffer, &value, sizeof value);
}

static void append_u64(struct gguf_buffer *buffer, uint64_t value)
{
    append(buffer, &value, sizeof value);
}

static void append_string(struct gguf_buffer *buffer, const char *text, size_t size)
{
    append_u64(buffer, size);
    append(buffer, text, size);
}

static void pad(struct gguf_buffer *buffer, size_t unit)
{
    append(buffer, NULL, (unit - buffer->size % unit) % unit);
}

void gguf_begin(struct gguf_writer *w, uint32_t version)
{
    *w = (struct gguf_writer){.version = version, .alignment = 32};
}

void gguf_free(struct gguf_writer *w)
{
    struct gguf_buffer *all[] = {&w->file, &w->keys,       &w->tensors,
                                 &w->data, &w->key_starts, &w->tensor_starts};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]->bytes);
    *w = (struct gguf_writer){0};
}

void gguf_key_raw(struct gguf_writer *w, const char *key, uint32_t type, const void *value,
                  size_t size)
{
    append(&w->key_starts, &w->keys.size, sizeof(size_t));
    append_string(&w->keys, key, strlen(key));
    append_u32(&w->keys, type);
    append(&w->keys, value, size);
    w->n_keys++;
}

void gguf_key_u32(struct gguf_writer *w, const char *key, uint32_t value)
{
    gguf_key_raw(w, key, STRATA__META_U32, &value, sizeof value);
}

void gguf_key_u64(struct gguf_writer *w, const char *key, uint64_t value)
{
    gguf_key_raw(w, key, STRATA__META_U64, &value, sizeof value);
}

void gguf_key_i32(struct gguf_writer *w, const char *key, int32_t value)
{
    gguf_key_raw(w, key, STRATA__META_I32, &value, sizeof value);
}

void gguf_key_f32(struct gguf_writer *w, const char *key, float value)
{
    gguf_key_raw(w, key, STRATA__META_F32, &value, sizeof value);
}

void gguf_key_bool(struct gguf_writer *w, const char *key, bool value)
{
    gguf_key_raw(w, key, STRATA__META_BOOL, &(uint8_t){value}, 1);
}

void gguf_key_string(struct gguf_writer *w, const char *key, const char *value)
{
    gguf_key_raw(w, key, STRATA__META_STRING, NULL, 0);
    append_string(&w->keys, value, strlen(value));
}

static void begin_array(struct gguf_writer *w, const char *key, uint32_t type, uint64_t count)
{
    gguf_key_raw(w, key, STRATA__META_ARRAY, NULL, 0);
    append_u32(&w->keys, type);
    append_u64(&w->keys, count);
}

void gguf_key_array(struct gguf_writer *w, const char *key, enum strata__meta_type type,
                    uint64_t count, const void *values, size_t size)
{
    begin_array(w, key, type, count);
    append(&w->keys, values, size);
}

void gguf_key_strings(struct gguf_writer *w, const char *key, uint64_t count,
                      const char *const *strings)
{
    begin_array(w, key, STRATA__META_STRING, count);
    for (uint64_t i = 0; i < count; i++)
        append_string(&w->keys, strings[i], strlen(strings[i]));
}

void gguf_key_byte_strings(struct gguf_writer *w, const char *key, uint64_t count,
                           const struct strata__string *strings)
{
    begin_array(w, key, STRATA__META_STRING, count);
    for (uint64_t i = 0; i < count; i++)
        append_string(&w->keys, strings[i].text, strings[i].size);
}

void gguf_align(struct gguf_writer *w, uint32_t alignment)
{
    w->alignment = alignment;
    gguf_key_u32(w, "general.alignment", alignment);
}

size_t gguf_tensor(struct gguf_writer *w, const char *name, enum strata_type type, unsigned n_dims,
                   const uint64_t *shape, const void *data)
{
    const struct strata_block_format *format = strata_block_format(type);
    size_t elements = 1;
    append(&w->tensor_starts, &w->tensors.size, sizeof(size_t));
    append_string(&w->tensors, name, strlen(name));
    append_u32(&w->tensors, n_dims);
    for (unsigned i = 0; i < n_dims; i++) {
        append_u64(&w->tensors, shape[i]);
        elements *= (size_t)shape[i];
    }
    append_u32(&w->tensors, format->gguf_id);
    append_u64(&w->tensors, w->data.size);
    append(&w->data, data, elements / format->block_elems * format->block_bytes);
    pad(&w->data, w->alignment);
    return w->n_tensors++;
}

void gguf_hole(struct gguf_writer *w, size_t bytes)
{
    append(&w->data, NULL, bytes);
    pad(&w->data, w->alignment);
}

void gguf_finish(struct gguf_writer *w)
{
    append(&w->file, "GGUF", 4);
    append_u32(&w->file, w->version);
    append_u64(&w->file, w->n_tensors);
    append_u64(&w->file, w->n_keys);
    append(&w->file, w->keys.bytes, w->keys.size);
    append(&w->file, w->tensors.bytes, w->tensors.size);
    pad(&w->file, w->alignment);
    w->data_at = w->file.size;
    append(&w->file, w->data.bytes, w->data.size);
}

/* Start i of a section. */
static size_t start(const struct gguf_buffer *starts, size_t i)
{
    size_t at;
    if ((i + 1) * sizeof at > starts->size) {
        fprintf(stderr, "gguf_writer: no item %zu\n", i);
        exit(EXIT_FAILURE);
    }
    memcpy(&at, starts->bytes + i * sizeof at, sizeof at);
    return at;
}

struct gguf_key_at gguf_key_at(const struct gguf_writer *w, size_t i)
{
    struct gguf_key_at at = {.key = HEADER_BYTES + start(&w->key_starts, i)};
    at.text = at.key + 8;
    at.type = at.text + (size_t)gguf_get_u64(w, at.key);
    at.value = at.type + 4;
    return at;
}

struct gguf_tensor_at gguf_tensor_at(const struct gguf_writer *w, size_t i)
{
    struct gguf_tensor_at at = {.name = HEADER_BYTES + w->keys.size + start(&w->tensor_starts, i)};
    at.text = at.name + 8;
    at.n_dims = at.text + (size_t)gguf_get_u64(w, at.name);
    at.shape = at.n_dims + 4;
    uint32_t n_dims;
    memcpy(&n_dims, w->file.bytes + at.n_dims, sizeof n_dims);
    at.type = at.shape + 8 * n_dims;
    at.offset = at.type + 4;
    return at;
}

void gguf_put_u32(struct gguf_writer *w, size_t at, uint32_t value)
{
    memcpy(w->file.bytes + at, &value, sizeof value);
}

void gguf_put_u64(struct gguf_writer *w, size_t at, uint64_t value)
{
    memcpy(w->file.bytes + at, &value, sizeof value);
}

uint64_t gguf_get_u64(const struct gguf_writer *w, size_t at)
{
    uint64_t value;
    memcpy(&value, w->file.bytes + at, sizeof value);
    return value;
}

void gguf_resize(struct gguf_writer *w, size_t size)
{
    if (size > w->file.size)
        append(&w->file, NULL, size - w->file.size);
    w->file.size = size;
}

void gguf_save(const struct gguf_writer *w, const char *path)
{
    FILE *stream = fopen(path, "wb");
    if (!stream || fwrite(w->file.bytes, 1, w->file.size, stream) != w->file.size)
        die(path);
    if (fclose(stream) != 0)
        die(path);
}

/* The tensor table of a GGUF file: names, shapes, types, and where the data lies. */
#include "gguf_file.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checked.h"
#include "memory.h"

struct table {
    strata_file *file;
    unsigned shard_index;
    const struct strata__shard *shard;
    const struct strata__gguf_log *log;
    uint64_t layers;
    char *names;          /* free space of file->names */
    uint64_t first, data; /* the shard's first tensor, offset of its data */
};

static struct strata__string tensor_name(const void *items, uint32_t i)
{
    const char *name = ((const struct strata__tensor *)items)[i].name;
    return (struct strata__string){name, strlen(name)};
}

/* Checks N in "blk.N.": 1 to 7 digits, below the limit. */
static strata_status check_layer(const struct table *table, uint64_t at, const char *name)
{
    if (strncmp(name, "blk.", 4) != 0)
        return STRATA_OK;
    const char *digits = name + 4;
    size_t n = strspn(digits, "0123456789");
    unsigned long index = n >= 1 && n <= 7 ? strtoul(digits, NULL, 10) : ULONG_MAX;
    if (index >= table->layers || digits[n] != '.')
        return strata__gguf_bad(table->shard, at,
                                "tensor \"%s\": layer index \"%.*s\", expected below %" PRIu64
                                " (block_count)",
                                name, (int)strcspn(digits, "."), digits, table->layers);
    return STRATA_OK;
}

/* The fewest bytes of a description after a name of one byte. */
#define AFTER_NAME (STRATA__GGUF_TENSOR_BYTES_MIN - 9)

/* Reads and keeps a name.  What is left must hold the rest of the table: that bounds the bytes of
 * all names by what count_tensors found. */
static strata_status read_name(struct table *table, struct strata__reader *reader,
                               struct strata__tensor *tensor)
{
    struct strata__string name;
    char field[48];
    uint64_t i = table->file->tensor_count - table->first;
    snprintf(field, sizeof field, "name of tensor %" PRIu64, i);
    STRATA_TRY(strata__gguf_name(reader, field, STRATA__GGUF_NAME_MAX, &name));
    uint64_t more = table->shard->tensor_count - i - 1;
    uint64_t least = AFTER_NAME + more * STRATA__GGUF_TENSOR_BYTES_MIN;
    if (strata__gguf_left(reader) < least)
        return strata__gguf_bad(table->shard, reader->at,
                                "tensor %" PRIu64 ": it and %" PRIu64 " more need at least %" PRIu64
                                " bytes, %" PRIu64 " left",
                                i, more, least, strata__gguf_left(reader));
    memcpy(table->names, name.text, name.size);
    table->names[name.size] = 0;
    tensor->name = table->names;
    table->names += name.size + 1;
    STRATA_TRY(check_layer(table, tensor->header_offset, tensor->name));
    uint32_t other = strata__name_index_add(&table->file->tensor_index, table->file->tensor_count);
    if (other == STRATA__NO_ITEM)
        return STRATA_OK;
    const struct strata__tensor *first = &table->file->tensors[other];
    return strata__gguf_bad(table->shard, tensor->header_offset,
                            "tensor \"%s\": duplicate, the first is at %s:%" PRIu64, tensor->name,
                            table->file->shards[first->shard].shown, first->header_offset);
}

/* Reads the dimensions; *elements is their product, which fits a signed 64-bit number. */
static strata_status read_shape(struct table *table, struct strata__reader *reader,
                                struct strata__tensor *tensor, uint64_t *elements)
{
    uint64_t at = reader->at;
    char field[96];
    snprintf(field, sizeof field, "tensor \"%s\"", tensor->name);
    STRATA_TRY(strata__gguf_u32(reader, field, &tensor->n_dims));
    if (tensor->n_dims < 1 || tensor->n_dims > 4)
        return strata__gguf_bad(table->shard, at, "%s: %u dimensions, expected 1 to 4", field,
                                tensor->n_dims);
    for (unsigned i = 0; i < 4; i++)
        tensor->shape[i] = 1;
    *elements = 1;
    for (unsigned i = 0; i < tensor->n_dims; i++) {
        at = reader->at;
        STRATA_TRY(strata__gguf_u64(reader, field, &tensor->shape[i]));
        if (tensor->shape[i] < 1 || tensor->shape[i] > INT64_MAX)
            return strata__gguf_bad(table->shard, at, "%s: dimension %u is %" PRId64 ", at least 1",
                                    field, i, (int64_t)tensor->shape[i]);
        if (!strata__mul_u64(*elements, tensor->shape[i], elements) || *elements > INT64_MAX)
            return strata__gguf_bad(table->shard, at,
                                    "%s: dimension %u is %" PRIu64
                                    ", the product of the dimensions is above 2^63 - 1",
                                    field, i, tensor->shape[i]);
    }
    return STRATA_OK;
}

static strata_status read_type(struct table *table, struct strata__reader *reader,
                               struct strata__tensor *tensor, uint64_t elements)
{
    uint64_t at = reader->at, padded;
    uint32_t id;
    char field[96];
    snprintf(field, sizeof field, "tensor \"%s\"", tensor->name);
    STRATA_TRY(strata__gguf_u32(reader, field, &id));
    tensor->type = strata_type_from_gguf(id);
    if (tensor->type == STRATA_TYPE_COUNT)
        return strata__gguf_bad(table->shard, at, "%s: type %" PRId32 ", not a known type", field,
                                (int32_t)id);
    const struct strata_block_format *format = strata_block_format(tensor->type);
    if (tensor->shape[0] % format->block_elems != 0)
        return strata__gguf_bad(table->shard, at,
                                "%s: row length %" PRIu64 ", expected a multiple of %" PRIu32
                                ", the block size of %s",
                                field, tensor->shape[0], format->block_elems, format->name);
    tensor->rows = elements / tensor->shape[0];
    if (!strata__mul_u64(tensor->shape[0] / format->block_elems, format->block_bytes,
                         &tensor->row_bytes) ||
        !strata__mul_u64(tensor->rows, tensor->row_bytes, &tensor->bytes) ||
        !strata__round_up_u64(tensor->bytes, table->shard->alignment, &padded))
        return strata__gguf_bad(table->shard, at,
                                "%s: %" PRIu64 " elements of %s, more than 2^64 bytes", field,
                                elements, format->name);
    return STRATA_OK;
}

/* One description; the offset is checked against the end of the data later. */
static strata_status read_tensor(struct table *table, struct strata__reader *reader)
{
    struct strata__tensor *tensor = &table->file->tensors[table->file->tensor_count];
    uint64_t elements = 0;
    char field[96];
    tensor->header_offset = reader->at;
    tensor->shard = table->shard_index;
    STRATA_TRY(read_name(table, reader, tensor));
    STRATA_TRY(read_shape(table, reader, tensor, &elements));
    STRATA_TRY(read_type(table, reader, tensor, elements));
    uint64_t at = reader->at;
    snprintf(field, sizeof field, "tensor \"%s\"", tensor->name);
    STRATA_TRY(strata__gguf_u64(reader, field, &tensor->offset));
    if (tensor->offset % table->shard->alignment != 0)
        return strata__gguf_bad(table->shard, at,
                                "%s: data offset %" PRIu64
                                ", expected a multiple of the alignment %" PRIu32,
                                field, tensor->offset, table->shard->alignment);
    table->file->info.parameters += elements;
    return STRATA_OK;
}

/* Places a tensor, whose offset counts from the beginning of the data, in the shard. */
static strata_status place(const struct table *table, struct strata__tensor *tensor)
{
    const struct strata__shard *shard = table->shard;
    /* Of the offset field: the name is followed by n_dims, the shape and the type. */
    uint64_t at = tensor->header_offset + 8 + strlen(tensor->name) + 4 + 8 * tensor->n_dims + 4;
    uint64_t available = shard->map.size > table->data ? shard->map.size - table->data : 0, end;
    if (!strata__add_u64(tensor->offset, tensor->bytes, &end))
        return strata__gguf_bad(
            shard, at, "tensor \"%s\": data offset %" PRIu64 " + %" PRIu64 " bytes is above 2^64",
            tensor->name, tensor->offset, tensor->bytes);
    if (end > available)
        return strata__gguf_bad(shard, at,
                                "tensor \"%s\": data offset %" PRIu64 " + %" PRIu64
                                " bytes, the file has %" PRIu64 " bytes of data",
                                tensor->name, tensor->offset, tensor->bytes, available);
    tensor->offset += table->data;
    tensor->data = shard->map.data + tensor->offset;
    return STRATA_OK;
}

static int by_offset(const void *a, const void *b, void *tensors)
{
    const struct strata__tensor *left = (struct strata__tensor *)tensors + *(const uint32_t *)a;
    const struct strata__tensor *right = (struct strata__tensor *)tensors + *(const uint32_t *)b;
    return (left->offset > right->offset) - (left->offset < right->offset);
}

/* Warns of `bytes` unused between one tensor's padded end and the next thing in the file. */
static void warn_unused(const struct table *table, uint64_t at, uint64_t bytes, const char *what)
{
    if (bytes)
        strata__gguf_warn(table->log, "%s:%" PRIu64 ": %s: %" PRIu64 " bytes unused",
                          table->shard->shown, at, what, bytes);
}

/* Walks the shard's tensors in the order of their data: refuses overlaps, warns of holes and of
 * bytes after the last one. */
static strata_status check_order(const struct table *table, const uint32_t *order, size_t count)
{
    uint64_t end = table->data; /* padded end of what came before; at most 2^20 past the file */
    const struct strata__tensor *last = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct strata__tensor *tensor = &table->file->tensors[order[i]];
        if (last && tensor->offset < last->offset + last->bytes)
            return strata__gguf_bad(table->shard, tensor->offset,
                                    "tensor \"%s\": begins inside the data of tensor \"%s\", which "
                                    "ends at %" PRIu64,
                                    tensor->name, last->name, last->offset + last->bytes);
        warn_unused(table, end, tensor->offset - end, "hole before a tensor");
        end = tensor->offset + tensor->bytes;
        if (!strata__round_up_u64(end - table->data, table->shard->alignment, &end))
            return strata__gguf_bad(table->shard, tensor->offset, "tensor \"%s\": end above 2^64",
                                    tensor->name);
        end += table->data;
        last = tensor;
    }
    if (table->shard->map.size > end)
        warn_unused(table, end, table->shard->map.size - end, "after the last tensor");
    return STRATA_OK;
}

static strata_status check_layout(const struct table *table)
{
    struct strata__tensor *tensors = table->file->tensors;
    size_t count = table->file->tensor_count - table->first;
    uint32_t *order;
    bool sorted = true;
    STRATA_TRY(strata__calloc(&order, count, sizeof *order, "tensor order"));
    for (size_t i = 0; i < count; i++) {
        order[i] = (uint32_t)(table->first + i);
        sorted = sorted && (i == 0 || tensors[order[i]].offset >= tensors[order[i] - 1].offset);
    }
    if (!sorted)
        qsort_r(order, count, sizeof *order, by_offset, tensors);
    strata_status status = check_order(table, order, count);
    strata__free(order);
    return status;
}

static strata_status read_table(struct table *table)
{
    const struct strata__shard *shard = table->shard;
    strata_file *file = table->file;
    struct strata__reader reader = {shard, shard->tensors_at};
    for (uint64_t i = 0; i < shard->tensor_count; i++, file->tensor_count++)
        STRATA_TRY(read_tensor(table, &reader));
    if (!strata__round_up_u64(reader.at, shard->alignment, &table->data))
        return strata__gguf_bad(shard, reader.at, "tensor data: begins above 2^64");
    for (uint64_t i = table->first; i < file->tensor_count; i++)
        STRATA_TRY(place(table, &file->tensors[i]));
    return check_layout(table);
}

/* Counts tensors and the most bytes that their names, each with its terminator, can take. */
static strata_status count_tensors(const strata_file *file, uint64_t *count, uint64_t *name_bytes)
{
    *count = *name_bytes = 0;
    for (unsigned i = 0; i < file->shard_count; i++) {
        const struct strata__shard *shard = &file->shards[i];
        struct strata__reader reader = {shard, shard->tensors_at};
        uint64_t n = shard->tensor_count, least = n * STRATA__GGUF_TENSOR_BYTES_MIN;
        uint64_t left = strata__gguf_left(&reader);
        if (least > left)
            return strata__gguf_bad(shard, shard->tensors_at,
                                    "tensor table: %" PRIu64 " tensors in %" PRIu64
                                    " bytes, at least %" PRIu64 " needed",
                                    n, left, least);
        uint64_t most = left - least + 2 * n;
        *count += n;
        *name_bytes +=
            most < n * (STRATA__GGUF_NAME_MAX + 1) ? most : n * (STRATA__GGUF_NAME_MAX + 1);
    }
    if (*count > STRATA__GGUF_COUNT_MAX)
        return strata__fail(STRATA_E_FORMAT,
                            "%s: tensors of all shards: %" PRIu64 ", at most %" PRIu64,
                            file->shards[0].shown, *count, STRATA__GGUF_COUNT_MAX);
    return STRATA_OK;
}

strata_status strata__tensors_open(strata_file *file, uint64_t layers,
                                   const struct strata__gguf_log *log)
{
    uint64_t count, name_bytes;
    STRATA_TRY(count_tensors(file, &count, &name_bytes));
    STRATA_TRY(strata__calloc(&file->tensors, count, sizeof *file->tensors, "tensors"));
    STRATA_TRY(strata__calloc(&file->names, name_bytes, 1, "tensor names"));
    STRATA_TRY(strata__name_index_create(&file->tensor_index, (uint32_t)count, file->tensors,
                                         tensor_name));
    struct table table = {.file = file, .log = log, .layers = layers, .names = file->names};
    for (unsigned i = 0; i < file->shard_count; i++) {
        table.shard_index = i;
        table.shard = &file->shards[i];
        table.first = file->tensor_count;
        STRATA_TRY(read_table(&table));
    }
    return STRATA_OK;
}

/* Weights in the safetensors format (safetensors.h): headers, and where the data lie. */
#include "safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checked.h"
#include "memory.h"

#define WORD_BYTES 8u /* the length word in front of the header */
#define SINGLE "model.safetensors"
#define INDEX "model.safetensors.index.json"

/* The element types of the format whose elements are whole bytes. */
static const struct {
    const char *name;
    unsigned bytes;
} dtypes[] = {
    {"F32", 4},  {"F16", 2}, {"BF16", 2},    {"F64", 8},     {"I64", 8},     {"I32", 4},
    {"I16", 2},  {"I8", 1},  {"U64", 8},     {"U32", 4},     {"U16", 2},     {"U8", 1},
    {"BOOL", 1}, {"C64", 8}, {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"F8_E8M0", 1},
};

/* ---- one shard ---- */

static uint64_t data_begin(const struct strata__safetensors_shard *shard)
{
    uint64_t length;
    memcpy(&length, shard->map.data, sizeof length);
    return WORD_BYTES + length;
}

static strata_status read_header(struct strata__safetensors_shard *shard)
{
    uint64_t length, left;
    if (shard->map.size < WORD_BYTES)
        return strata__fail(STRATA_E_FORMAT,
                            "%s:0: header length: the file has %" PRIu64 " bytes, expected 8",
                            shard->shown, shard->map.size);
    memcpy(&length, shard->map.data, sizeof length);
    left = shard->map.size - WORD_BYTES;
    if (length > left || length > STRATA__SAFETENSORS_HEADER_MAX)
        return strata__fail(
            STRATA_E_FORMAT, "%s:0: header length: %" PRIu64 ", at most %" PRIu64, shard->shown,
            length, left < STRATA__SAFETENSORS_HEADER_MAX ? left : STRATA__SAFETENSORS_HEADER_MAX);
    if (length == 0 || shard->map.data[WORD_BYTES] != '{')
        return strata__fail(STRATA_E_FORMAT, "%s:8: header: expected JSON that begins with '{'",
                            shard->shown);
    return strata__json_parse(&shard->header, (const char *)shard->map.data + WORD_BYTES, length,
                              shard->shown);
}

static strata_status bad_tensor(const struct strata__safetensors_shard *shard,
                                const struct strata__safetensor *tensor, const char *what,
                                uint64_t found, uint64_t expected)
{
    char name[160];
    return strata__fail(STRATA_E_FORMAT, "%s: tensor \"%s\": %s: %" PRIu64 ", expected %" PRIu64,
                        shard->shown,
                        strata__escape(name, sizeof name, tensor->name, strlen(tensor->name)), what,
                        found, expected);
}

static strata_status read_dtype(struct strata__safetensor *tensor, const struct strata__json_at *at,
                                uint64_t *bytes)
{
    struct strata__string dtype;
    STRATA_TRY(strata__json_string(at, "dtype", &dtype, NULL));
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strata__string_is(dtype, dtypes[i].name)) {
            memcpy(tensor->dtype, dtypes[i].name, strlen(dtypes[i].name));
            *bytes = dtypes[i].bytes;
            return STRATA_OK;
        }
    return strata__json_refuse(at, "dtype", json_object_get(at->value, "dtype"),
                               STRATA_E_UNSUPPORTED, "a type of safetensors of whole bytes");
}

/* Shape and type, and with them the number of elements and bytes. */
static strata_status read_shape(struct strata__safetensor *tensor, const struct strata__json_at *at)
{
    struct strata__json_at shape;
    STRATA_TRY(read_dtype(tensor, at, &tensor->bytes));
    STRATA_TRY(strata__json_array(at, "shape", &shape, NULL));
    if (json_array_size(shape.value) > STRATA__SAFETENSORS_DIMS_MAX)
        return strata__json_refuse(at, "shape", shape.value, STRATA_E_FORMAT,
                                   "at most 8 dimensions");
    tensor->n_dims = (unsigned)json_array_size(shape.value);
    tensor->elements = 1;
    for (unsigned i = 0; i < tensor->n_dims; i++) {
        struct strata__json_at named = {at->json, shape.value, at->name};
        STRATA_TRY(strata__json_element_u64(&named, i, STRATA__JSON_WHOLE_MAX, &tensor->shape[i]));
        if (!strata__mul_u64(tensor->elements, tensor->shape[i], &tensor->elements))
            return strata__json_refuse(at, "shape", shape.value, STRATA_E_FORMAT,
                                       "a product below 2^64");
    }
    if (!strata__mul_u64(tensor->elements, tensor->bytes, &tensor->bytes))
        return strata__json_refuse(at, "shape", shape.value, STRATA_E_FORMAT,
                                   "fewer than 2^64 bytes");
    return STRATA_OK;
}

static strata_status read_tensor(struct strata__safetensor *tensor,
                                 const struct strata__safetensors_shard *shard,
                                 const struct strata__json_at *at)
{
    struct strata__json_at range;
    uint64_t size = shard->map.size - data_begin(shard);
    tensor->name = at->name;
    STRATA_TRY(read_shape(tensor, at));
    STRATA_TRY(strata__json_array(at, "data_offsets", &range, NULL));
    range.name = at->name;
    if (json_array_size(range.value) != 2)
        return strata__json_refuse(at, "data_offsets", range.value, STRATA_E_FORMAT, "two numbers");
    STRATA_TRY(strata__json_element_u64(&range, 0, STRATA__JSON_WHOLE_MAX, &tensor->begin));
    STRATA_TRY(strata__json_element_u64(&range, 1, STRATA__JSON_WHOLE_MAX, &tensor->end));
    if (tensor->end > size)
        return bad_tensor(shard, tensor, "data_offsets end beyond the data", tensor->end, size);
    if (tensor->begin > tensor->end)
        return bad_tensor(shard, tensor, "data_offsets begin behind their end", tensor->begin,
                          tensor->end);
    if (tensor->end - tensor->begin != tensor->bytes)
        return bad_tensor(shard, tensor, "bytes of data_offsets do not fit shape and dtype",
                          tensor->end - tensor->begin, tensor->bytes);
    tensor->data = shard->map.data + data_begin(shard) + tensor->begin;
    return STRATA_OK;
}

static int compare_ranges(const void *a, const void *b, void *user)
{
    const struct strata__safetensor *tensors = user;
    const struct strata__safetensor *x = &tensors[*(const uint32_t *)a];
    const struct strata__safetensor *y = &tensors[*(const uint32_t *)b];
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* Two tensors beside each other between which bytes are shared or belong to none. */
static strata_status bad_neighbours(const struct strata__safetensors_shard *shard,
                                    const struct strata__safetensor *first,
                                    const struct strata__safetensor *second)
{
    char a[160], b[160];
    const char *first_name = first ? first->name : "(the beginning)";
    uint64_t end = first ? first->end : 0;
    strata__escape(a, sizeof a, first_name, strlen(first_name));
    strata__escape(b, sizeof b, second->name, strlen(second->name));
    return strata__fail(STRATA_E_FORMAT,
                        "%s: tensors \"%s\" and \"%s\": %s: the second begins at %" PRIu64
                        ", expected %" PRIu64,
                        shard->shown, a, b, second->begin < end ? "they overlap" : "a hole between",
                        second->begin, end);
}

/* The data of the shard are its tensors, without overlap or holes. */
static strata_status check_layout(const struct strata__safetensors *weights,
                                  const struct strata__safetensors_shard *shard)
{
    uint32_t *order;
    uint64_t at = 0;
    const struct strata__safetensor *last = NULL, *tensors = weights->tensors + shard->first;
    strata_status status = STRATA_OK;
    STRATA_TRY(strata__calloc(&order, shard->count, sizeof *order, "tensor table"));
    for (uint32_t i = 0; i < shard->count; i++)
        order[i] = i;
    qsort_r(order, shard->count, sizeof *order, compare_ranges, (void *)tensors);
    for (uint32_t i = 0; i < shard->count && status == STRATA_OK; i++) {
        const struct strata__safetensor *tensor = &tensors[order[i]];
        if (tensor->begin != at)
            status = bad_neighbours(shard, last, tensor);
        at = tensor->end;
        last = tensor;
    }
    uint64_t size = shard->map.size - data_begin(shard);
    if (status == STRATA_OK && at != size)
        status = strata__fail(STRATA_E_FORMAT,
                              "%s:%" PRIu64 ": %" PRIu64 " bytes after the last tensor, expected 0",
                              shard->shown, data_begin(shard) + at, size - at);
    strata__free(order);
    return status;
}

static strata_status in_two_shards(const struct strata__safetensors *weights, uint32_t first,
                                   const struct strata__safetensor *second)
{
    char name[160];
    return strata__fail(STRATA_E_FORMAT,
                        "%s: tensor \"%s\": is in %s too, expected each tensor in one shard",
                        weights->shards[second->shard].shown,
                        strata__escape(name, sizeof name, second->name, strlen(second->name)),
                        weights->shards[weights->tensors[first].shard].shown);
}

static strata_status read_tensors(struct strata__safetensors *weights, unsigned number)
{
    struct strata__safetensors_shard *shard = &weights->shards[number];
    struct strata__json_at root, at;
    const char *name;
    json_t *value;
    STRATA_TRY(strata__json_root(&shard->header, &root));
    shard->first = weights->count;
    json_object_foreach(root.value, name, value)
    {
        STRATA_TRY(strata__json_object(&root, name, &at, NULL));
        if (strcmp(name, "__metadata__") == 0)
            continue;
        struct strata__safetensor *tensor = &weights->tensors[weights->count];
        tensor->shard = number;
        STRATA_TRY(read_tensor(tensor, shard, &at));
        uint32_t other = strata__name_index_add(&weights->index, weights->count);
        if (other != STRATA__NO_ITEM)
            return in_two_shards(weights, other, tensor);
        weights->count++;
    }
    shard->count = weights->count - shard->first;
    return check_layout(weights, shard);
}

/* ---- all shards ---- */

static struct strata__string tensor_name(const void *items, uint32_t i)
{
    const struct strata__safetensor *tensor = (const struct strata__safetensor *)items + i;
    return (struct strata__string){tensor->name, strlen(tensor->name)};
}

/* Headers and tensors of the shards, which are mapped. */
static strata_status read_shards(struct strata__safetensors *weights)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < weights->shard_count; i++) {
        STRATA_TRY(read_header(&weights->shards[i]));
        count += json_object_size(weights->shards[i].header.root);
    }
    if (count > STRATA__SAFETENSORS_TENSORS_MAX)
        return strata__fail(STRATA_E_FORMAT, "%s: %" PRIu64 " tensors, at most %" PRIu64,
                            weights->shards[0].shown, count, STRATA__SAFETENSORS_TENSORS_MAX);
    STRATA_TRY(
        strata__calloc(&weights->tensors, (size_t)count, sizeof *weights->tensors, "tensor table"));
    STRATA_TRY(
        strata__name_index_create(&weights->index, (uint32_t)count, weights->tensors, tensor_name));
    for (unsigned i = 0; i < weights->shard_count; i++)
        STRATA_TRY(read_tensors(weights, i));
    return STRATA_OK;
}

const struct strata__safetensor *strata__safetensors_find(const struct strata__safetensors *weights,
                                                          const char *name)
{
    uint32_t i = strata__name_index_find(&weights->index, name, strlen(name));
    return i == STRATA__NO_ITEM ? NULL : &weights->tensors[i];
}

/* ---- the index of a model in shards ---- */

struct shard_names {
    struct strata__string names[STRATA__SAFETENSORS_SHARDS_MAX + 1];
    struct strata__name_index index;
    uint32_t count;
};

static struct strata__string shard_name(const void *items, uint32_t i)
{
    return ((const struct strata__string *)items)[i];
}

static strata_status collect_names(const struct strata__json_at *map, struct shard_names *names)
{
    const char *tensor;
    json_t *value;
    json_object_foreach(map->value, tensor, value)
    {
        struct strata__string name;
        STRATA_TRY(strata__json_string(map, tensor, &name, NULL));
        if (!strata__model_folder_names(name))
            return strata__json_refuse(map, tensor, value, STRATA_E_FORMAT,
                                       "the name of a file of the folder");
        names->names[names->count] = name;
        if (strata__name_index_add(&names->index, names->count) != STRATA__NO_ITEM)
            continue;
        if (++names->count > STRATA__SAFETENSORS_SHARDS_MAX)
            return strata__json_refuse(map, tensor, value, STRATA_E_FORMAT, "at most 1024 shards");
    }
    if (names->count == 0)
        return strata__json_refuse(map, NULL, map->value, STRATA_E_FORMAT, "at least one tensor");
    return STRATA_OK;
}

static strata_status map_shard(struct strata__safetensors_shard *shard,
                               const struct strata__model_folder *folder,
                               const struct strata__json_at *map, struct strata__string name)
{
    bool found;
    STRATA_TRY(strata__model_folder_map(folder, name.text, &shard->map, shard->shown, &found));
    if (!found)
        return strata__fail(STRATA_E_FORMAT, "%s: missing, but %s names it", shard->shown,
                            map->json->shown);
    if (shard->map.links != 1)
        return strata__fail(STRATA_E_FORMAT,
                            "%s: the file has %" PRIu64
                            " names (hard links), expected 1; copy the folder with cp -rL and use "
                            "the copy",
                            shard->shown, shard->map.links);
    return STRATA_OK;
}

/* What the index says of each tensor is so, and it leaves none out. */
static strata_status check_index(const struct strata__safetensors *weights,
                                 const struct strata__json_at *map, const struct shard_names *names)
{
    const char *name;
    json_t *value;
    json_object_foreach(map->value, name, value)
    {
        const struct strata__safetensor *tensor = strata__safetensors_find(weights, name);
        struct strata__string file = {json_string_value(value), json_string_length(value)};
        if (!tensor ||
            tensor->shard != strata__name_index_find(&names->index, file.text, file.size))
            return strata__json_refuse(map, name, value, STRATA_E_FORMAT,
                                       "a shard that has the tensor");
    }
    for (uint32_t i = 0; i < weights->count; i++)
        if (!json_object_get(map->value, weights->tensors[i].name))
            return strata__json_refuse(map, weights->tensors[i].name, NULL, STRATA_E_FORMAT,
                                       "the shard that has the tensor");
    return STRATA_OK;
}

static strata_status open_named(struct strata__safetensors *weights,
                                const struct strata__model_folder *folder,
                                const struct strata__json *json, struct shard_names *names)
{
    struct strata__json_at root, map;
    STRATA_TRY(strata__json_root(json, &root));
    STRATA_TRY(strata__json_object(&root, "weight_map", &map, NULL));
    STRATA_TRY(strata__name_index_create(&names->index, STRATA__SAFETENSORS_SHARDS_MAX + 1,
                                         names->names, shard_name));
    STRATA_TRY(collect_names(&map, names));
    STRATA_TRY(strata__calloc(&weights->shards, names->count, sizeof *weights->shards, "shards"));
    weights->shard_count = names->count;
    for (unsigned i = 0; i < names->count; i++)
        STRATA_TRY(map_shard(&weights->shards[i], folder, &map, names->names[i]));
    STRATA_TRY(read_shards(weights));
    return check_index(weights, &map, names);
}

static strata_status open_index(struct strata__safetensors *weights,
                                const struct strata__model_folder *folder)
{
    struct strata__json json;
    struct shard_names *names = NULL;
    strata_status status;
    bool found;
    STRATA_TRY(strata__model_folder_json(folder, INDEX, &json, &found));
    if (!found)
        return strata__fail(STRATA_E_IO, "%s: neither " SINGLE " nor " INDEX " is in the folder",
                            folder->shown);
    STRATA_TRY_DONE(strata__calloc(&names, 1, sizeof *names, "names of shards"));
    STRATA_TRY_DONE(open_named(weights, folder, &json, names));
done:
    if (names)
        strata__name_index_free(&names->index);
    strata__free(names);
    strata__json_free(&json);
    return status;
}

static strata_status open_single(struct strata__safetensors *weights,
                                 const struct strata__model_folder *folder, bool *found)
{
    STRATA_TRY(strata__calloc(&weights->shards, 1, sizeof *weights->shards, "weights"));
    weights->shard_count = 1;
    struct strata__safetensors_shard *shard = &weights->shards[0];
    STRATA_TRY(strata__model_folder_map(folder, SINGLE, &shard->map, shard->shown, found));
    return *found ? read_shards(weights) : STRATA_OK;
}

strata_status strata__safetensors_open(struct strata__safetensors *weights,
                                       const struct strata__model_folder *folder)
{
    bool found = false;
    *weights = (struct strata__safetensors){0};
    strata_status status = open_single(weights, folder, &found);
    if (status == STRATA_OK && !found) {
        strata__safetensors_close(weights);
        status = open_index(weights, folder);
    }
    if (status != STRATA_OK)
        strata__safetensors_close(weights);
    return status;
}

void strata__safetensors_close(struct strata__safetensors *weights)
{
    for (unsigned i = 0; i < weights->shard_count; i++) {
        strata__json_free(&weights->shards[i].header);
        strata__file_map_close(&weights->shards[i].map);
    }
    strata__free(weights->shards);
    strata__free(weights->tensors);
    strata__name_index_free(&weights->index);
    *weights = (struct strata__safetensors){0};
}

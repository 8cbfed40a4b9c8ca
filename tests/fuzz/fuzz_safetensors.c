/* Fuzzes the safetensors reader.
 *
 * Bytes that begin with '{' are an index, of which the shard "1" has the tensors "a" and "b"; all
 * others are model.safetensors.  What is accepted must hold: each tensor's bytes lie in the file,
 * are as many as its shape says, and are found by its name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory_map.h"
#include "safetensors.h"

#define CHECK(condition)                                                    \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

static const char shard[] = "\154\0\0\0\0\0\0\0"
                            "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                            "\"b\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[4,8]}} "
                            "01234567";

static volatile unsigned char touched;

static void check(const struct strata__safetensors *weights)
{
    for (uint32_t i = 0; i < weights->count; i++) {
        const struct strata__safetensor *tensor = &weights->tensors[i];
        const struct strata__file_map *map = &weights->shards[tensor->shard].map;
        uint64_t elements = 1;
        CHECK(strata__safetensors_find(weights, tensor->name) == tensor);
        CHECK(tensor->n_dims <= STRATA__SAFETENSORS_DIMS_MAX);
        for (unsigned d = 0; d < tensor->n_dims; d++)
            elements *= tensor->shape[d];
        CHECK(elements == tensor->elements && tensor->bytes >= elements);
        CHECK(tensor->end - tensor->begin == tensor->bytes);
        CHECK(tensor->data >= map->data && tensor->data + tensor->bytes <= map->data + map->size);
        if (tensor->bytes)
            touched = tensor->data[0] ^ tensor->data[tensor->bytes - 1];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct strata__model_folder folder = {-1, "fuzz"};
    struct strata__safetensors weights;
    if (size > MEMORY_MAP_BYTES)
        return 0;
    memory_map_clear();
    if (size && data[0] == '{') {
        memory_map_put(0, "model.safetensors.index.json", data, size);
        memory_map_put(1, "1", shard, sizeof shard - 1);
    } else {
        memory_map_put(0, "model.safetensors", data, size);
    }
    strata_status status = strata__safetensors_open(&weights, &folder);
    CHECK(status == STRATA_OK || *strata_last_error());
    if (status == STRATA_OK)
        check(&weights);
    strata__safetensors_close(&weights);
    return 0;
}

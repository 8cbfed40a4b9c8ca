/* libFuzzer target: opening GGUF files.
 *
 * The input is a file; where the word "GGUF" comes again in it, a second file begins, and the two
 * are the shards of a split model.  A refusal must name the file; an accepted file must give
 * consistent answers to every look-up, and all its data must be readable.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_file.h"
#include "memory_map.h"

#define FIRST "m-00001-of-00002.gguf"
#define SECOND "m-00002-of-00002.gguf"

#define CHECK(condition)                                            \
    do {                                                            \
        if (!(condition)) {                                         \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
            abort();                                                \
        }                                                           \
    } while (0)

static volatile unsigned char sink;

static void touch(const void *data, uint64_t bytes)
{
    if (bytes) {
        sink = ((const volatile unsigned char *)data)[0];
        sink = ((const volatile unsigned char *)data)[bytes - 1];
    }
}

/* The shape in full precision, the data behind the table, and no byte shared with the tensors
 * before it. */
static void check_place(const strata_file *file, size_t i)
{
    const struct strata__tensor *tensor = &file->tensors[i];
    const struct strata__shard *shard = &file->shards[tensor->shard];
    const struct strata_block_format *format = strata_block_format(tensor->type);
    for (size_t j = i; j < strata_file_tensor_count(file) && j < i + 100; j++) {
        const struct strata__tensor *later = &file->tensors[j];
        CHECK(later->shard != tensor->shard || tensor->offset >= later->header_offset + 24 +
                                                                     strlen(later->name) +
                                                                     8 * later->n_dims);
    }
    CHECK(tensor->bytes <= shard->map.size && tensor->offset <= shard->map.size - tensor->bytes);
    unsigned __int128 elements = 1;
    for (unsigned d = 0; d < 4; d++)
        elements *= tensor->shape[d];
    CHECK(elements == (unsigned __int128)tensor->rows * tensor->shape[0]);
    CHECK(elements / format->block_elems * format->block_bytes == tensor->bytes);
    for (size_t before = 0; before < i && i < 100; before++) {
        const struct strata__tensor *other = &file->tensors[before];
        CHECK(other->shard != tensor->shard || other->offset >= tensor->offset + tensor->bytes ||
              tensor->offset >= other->offset + other->bytes);
    }
}

static void check_tensors(const strata_file *file)
{
    uint64_t parameters = 0;
    for (size_t i = 0; i < strata_file_tensor_count(file); i++) {
        strata_tensor_info info = strata_file_tensor(file, i);
        const struct strata__tensor *tensor = strata__file_find(file, info.name), *needed;
        CHECK(tensor && tensor->name == info.name);
        CHECK(info.n_dims >= 1 && info.n_dims <= 4 && strlen(info.name) < 64);
        CHECK(tensor->bytes == info.bytes && tensor->rows * tensor->row_bytes == info.bytes);
        CHECK(tensor->shard < strata_file_info_get(file).shards);
        check_place(file, i);
        touch(tensor->data, tensor->bytes);
        strata_status status =
            strata__file_need(file, info.name, info.shape[1], info.shape[0], &needed);
        bool matrix = info.shape[2] == 1 && info.shape[3] == 1;
        CHECK(status == (matrix ? STRATA_OK : STRATA_E_FORMAT));
        CHECK(strata__file_need(file, info.name, 0, 0, &needed) == STRATA_E_FORMAT);
        parameters += info.shape[0] * info.shape[1] * info.shape[2] * info.shape[3];
    }
    CHECK(parameters == strata_file_info_get(file).parameters);
    strata__file_find(file, "absent");
}

/* Every element type but the right one is refused, that one gives readable elements. */
static void check_array(const strata_file *file, const char *key)
{
    struct strata__meta_array array;
    int fitting = 0;
    for (int type = 0; type < STRATA__META_TYPE_COUNT; type++) {
        if (strata__meta_array(file, key, (enum strata__meta_type)type, &array, NULL) != STRATA_OK)
            continue;
        fitting++;
        if (type != STRATA__META_STRING) {
            touch(array.data, array.count * strata__meta_type_bytes((uint32_t)type));
            continue;
        }
        CHECK(array.count <= MEMORY_MAP_BYTES / 8);
        struct strata__string *strings = calloc(array.count + 1, sizeof *strings);
        CHECK(strings);
        strata__meta_array_strings(&array, strings);
        for (uint64_t i = 0; i < array.count; i++)
            touch(strings[i].text, strings[i].size);
        free(strings);
    }
    CHECK(fitting == 1);
}

/* Exactly the look-ups of the key's type succeed. */
static void check_key(const strata_file *file, const char *key, uint32_t type)
{
    uint64_t number;
    float real;
    bool truth, found = false;
    char where[64];
    struct strata__string string;
    bool is_integer = strata__meta_u64(file, key, &number, &found) == STRATA_OK;
    CHECK(found);
    bool is_real = strata__meta_f32(file, key, &real, NULL) == STRATA_OK;
    CHECK(is_real == (type == STRATA__META_F32 || type == STRATA__META_F64));
    bool is_truth = strata__meta_bool(file, key, &truth, NULL) == STRATA_OK;
    CHECK(is_truth == (type == STRATA__META_BOOL));
    bool is_string = strata__meta_string(file, key, &string, NULL) == STRATA_OK;
    CHECK(is_string == (type == STRATA__META_STRING));
    CHECK(is_integer + is_real + is_truth + is_string <= 1);
    if (is_string)
        touch(string.text, string.size);
    if (type == STRATA__META_ARRAY)
        check_array(file, key);
    CHECK(strlen(strata__file_where(file, key, where, sizeof where)) > sizeof FIRST - 1);
}

static void check_keys(const strata_file *file)
{
    const struct strata__shard *shard = &file->shards[0];
    static char key[STRATA__GGUF_KEY_MAX + 1];
    for (uint32_t i = 0; i < shard->key_count; i++) {
        memcpy(key, shard->keys[i].text, shard->keys[i].size);
        key[shard->keys[i].size] = 0;
        CHECK(strlen(key) == shard->keys[i].size);
        check_key(file, key, shard->keys[i].type);
    }
    uint64_t number;
    CHECK(strata__meta_u64(file, "absent\n", &number, NULL) == STRATA_E_FORMAT);
}

/* Warnings name the file too. */
static void check_line(void *user, strata_log_level level, const char *line)
{
    (void)user;
    CHECK(level == STRATA_LOG_WARN && strncmp(line, "m-0000", 6) == 0);
}

static void open_one(const char *path)
{
    strata_file *file;
    strata_status status = strata_file_open(&file, path, check_line, NULL);
    CHECK((status == STRATA_OK) == (file != NULL));
    if (status != STRATA_OK) {
        CHECK(status == STRATA_E_FORMAT || status == STRATA_E_IO);
        CHECK(strncmp(strata_last_error(), "m-0000", 6) == 0);
        return;
    }
    check_tensors(file);
    check_keys(file);
    strata_file_close(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > MEMORY_MAP_BYTES)
        return 0;
    const uint8_t *again = size > 4 ? memmem(data + 4, size - 4, "GGUF", 4) : NULL;
    size_t first = again ? (size_t)(again - data) : size;
    memory_map_clear();
    memory_map_put(0, FIRST, data, first);
    if (again)
        memory_map_put(1, SECOND, again, size - first);
    open_one(FIRST);
    if (again)
        open_one(SECOND);
    return 0;
}

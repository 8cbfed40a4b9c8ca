/* GGUF files: opening, closing and what is known of the whole. */
#include "gguf_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "memory.h"

void strata__gguf_warn(const struct strata__gguf_log *log, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    strata__vlog(log->log, log->user, STRATA_LOG_WARN, format, args);
    va_end(args);
}

/* A string for people, or for comparison with names of ours: escaped, "" when absent. */
static strata_status info_string(const strata_file *file, const char *key, char *out, size_t cap)
{
    struct strata__string string = {"", 0};
    bool found;
    STRATA_TRY(strata__meta_string(file, key, &string, &found));
    strata__escape(out, cap, string.text, string.size);
    return STRATA_OK;
}

/* ARCH.key, 0 when absent. */
static strata_status info_number(const strata_file *file, const char *key, uint64_t *out,
                                 bool *found)
{
    char full[128];
    snprintf(full, sizeof full, "%s.%s", file->architecture, key);
    return strata__meta_u64(file, full, out, found);
}

/* Fills info but for the parameters; *layers is the limit of the layer index in tensor names. */
static strata_status read_info(strata_file *file, uint64_t *layers)
{
    strata_file_info *info = &file->info;
    bool found;
    STRATA_TRY(
        info_string(file, "general.architecture", file->architecture, sizeof file->architecture));
    STRATA_TRY(info_string(file, "general.name", file->name, sizeof file->name));
    STRATA_TRY(info_string(file, "tokenizer.ggml.model", file->tokenizer, sizeof file->tokenizer));
    STRATA_TRY(
        info_string(file, "tokenizer.ggml.pre", file->pre_tokenizer, sizeof file->pre_tokenizer));
    info->architecture = file->architecture;
    info->name = file->name;
    info->tokenizer = file->tokenizer;
    info->pre_tokenizer = file->pre_tokenizer;
    info->version = file->shards[0].version;
    info->shards = file->shard_count;
    for (unsigned i = 0; i < file->shard_count; i++)
        info->file_bytes += file->shards[i].map.size;
    STRATA_TRY(info_number(file, "context_length", &info->context_length, &found));
    STRATA_TRY(info_number(file, "block_count", &info->layers, &found));
    *layers =
        found && info->layers < STRATA__GGUF_LAYERS_MAX ? info->layers : STRATA__GGUF_LAYERS_MAX;
    return STRATA_OK;
}

strata_status strata_file_open(strata_file **out, const char *path, strata_log_fn *log,
                               void *log_user)
{
    *out = NULL;
    if (!path)
        return strata__fail(STRATA_E_INVALID, "strata_file_open: no path");
    const struct strata__gguf_log warnings = {log, log_user};
    strata_file *file;
    uint64_t layers;
    STRATA_TRY(strata__calloc(&file, 1, sizeof *file, "file"));
    strata_status status;
    STRATA_TRY_DONE(strata__shards_open(file, path));
    STRATA_TRY_DONE(read_info(file, &layers));
    STRATA_TRY_DONE(strata__tensors_open(file, layers, &warnings));
    *out = file;
    return STRATA_OK;
done:
    strata_file_close(&file);
    return status;
}

void strata_file_close(strata_file **handle)
{
    strata_file *file = handle ? *handle : NULL;
    if (!file)
        return;
    *handle = NULL;
    strata__name_index_free(&file->tensor_index);
    strata__free(file->names);
    strata__free(file->tensors);
    for (unsigned i = 0; i < file->shard_count; i++)
        strata__shard_close(&file->shards[i]);
    strata__free(file->shards);
    strata__free(file);
}

size_t strata_file_tensor_count(const strata_file *file)
{
    return file->tensor_count;
}

const struct strata__tensor *strata__file_tensor(const strata_file *file, uint32_t index)
{
    return &file->tensors[index];
}

strata_tensor_info strata_file_tensor(const strata_file *file, size_t index)
{
    const struct strata__tensor *tensor = &file->tensors[index];
    strata_tensor_info info = {.name = tensor->name,
                               .type = strata_block_format(tensor->type)->name,
                               .n_dims = tensor->n_dims,
                               .bytes = tensor->bytes};
    memcpy(info.shape, tensor->shape, sizeof info.shape);
    return info;
}

strata_file_info strata_file_info_get(const strata_file *file)
{
    return file->info;
}

const char *strata__file_path(const strata_file *file)
{
    return file->shards[0].shown;
}

const struct strata__tensor *strata__file_find(const strata_file *file, const char *name)
{
    uint32_t i = strata__name_index_find(&file->tensor_index, name, strlen(name));
    return i == STRATA__NO_ITEM ? NULL : &file->tensors[i];
}

strata_status strata__file_need(const strata_file *file, const char *name, uint64_t rows,
                                uint64_t cols, const struct strata__tensor **out)
{
    const struct strata__tensor *tensor = strata__file_find(file, name);
    *out = NULL;
    if (!tensor)
        return strata__fail(STRATA_E_FORMAT,
                            "%s: tensor \"%s\": missing, expected shape %" PRIu64 " x %" PRIu64,
                            strata__file_path(file), name, cols, rows);
    const uint64_t *shape = tensor->shape;
    if (shape[0] != cols || shape[1] != rows || shape[2] != 1 || shape[3] != 1)
        return strata__gguf_bad(&file->shards[tensor->shard], tensor->header_offset,
                                "tensor \"%s\": shape %" PRIu64 " x %" PRIu64 " x %" PRIu64
                                " x %" PRIu64 ", expected %" PRIu64 " x %" PRIu64,
                                name, shape[0], shape[1], shape[2], shape[3], cols, rows);
    *out = tensor;
    return STRATA_OK;
}

void strata__file_read_all(const strata_file *file, bool all)
{
    for (unsigned i = 0; i < file->shard_count; i++) {
        const struct strata__file_map *map = &file->shards[i].map;
        madvise((void *)map->data, (size_t)map->size, all ? MADV_NORMAL : MADV_RANDOM);
    }
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (uint32_t i = 0; !all && i < file->tensor_count; i++) {
        const struct strata__tensor *tensor = &file->tensors[i];
        uintptr_t begin = (uintptr_t)tensor->data / page * page;
        if (tensor->rows == 1)
            madvise((void *)begin, (uintptr_t)tensor->data + tensor->bytes - begin, MADV_WILLNEED);
    }
}

const struct strata__file_map *strata__file_shard(const strata_file *file, unsigned index)
{
    return &file->shards[index].map;
}

uint64_t strata__file_identity(const strata_file *file)
{
    uint64_t hash = 0;
    for (unsigned i = 0; i < strata_file_info_get(file).shards; i++) {
        const struct strata__file_map *map = strata__file_shard(file, i);
        const uint64_t parts[] = {map->device, map->inode, map->size,
                                  (uint64_t)map->modified.tv_sec, (uint64_t)map->modified.tv_nsec};
        hash = XXH3_64bits_withSeed(parts, sizeof parts, hash);
    }
    return hash;
}

const char *strata__file_opened_path(const strata_file *file)
{
    return file->shards[0].path;
}

/* What a folder says besides configuration, weights and tokenizer: its name and licence, and, for
 * sentence vectors, the files of the sentence-transformers library. */
#include <stdio.h>
#include <string.h>

#include "convert.h"

#define MODULE(name) "sentence_transformers.models." name
#define README_BYTES ((size_t)64 << 10) /* of README.md that are looked at */

/* GGUF's pooling types. */
enum pooling { POOLING_NONE, POOLING_MEAN, POOLING_CLS };

/* ---- name and licence ---- */

/* The last part of the folder's path. */
static struct strata__string folder_name(const char *path)
{
    size_t end = strlen(path);
    while (end > 0 && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    return (struct strata__string){path + begin, end - begin};
}

/* The value of "license:" in the block between "---" lines at the start of README.md. */
static struct strata__string find_licence(struct strata__string readme)
{
    static const char mark[] = "---", key[] = "license:";
    const char *at = readme.text, *end = readme.text + readme.size;
    for (unsigned line = 0; at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        size_t size = (size_t)(stop - at);
        bool is_mark = size >= 3 && memcmp(at, mark, 3) == 0;
        if (is_mark != (line == 0) && (line == 0 || is_mark))
            break;
        if (size > sizeof key - 1 && memcmp(at, key, sizeof key - 1) == 0) {
            at += sizeof key - 1;
            while (at < stop && (*at == ' ' || *at == '\t'))
                at++;
            while (stop > at && (stop[-1] == ' ' || stop[-1] == '\r'))
                stop--;
            return (struct strata__string){at, (size_t)(stop - at)};
        }
        at = stop < end ? stop + 1 : end;
    }
    return (struct strata__string){NULL, 0};
}

static strata_status write_licence(struct strata__convert *convert)
{
    struct strata__file_map map;
    char shown[STRATA__FOLDER_SHOWN];
    bool found;
    STRATA_TRY(strata__model_folder_map(&convert->folder, "README.md", &map, shown, &found));
    if (!found)
        return STRATA_OK;
    struct strata__string readme = {(const char *)map.data,
                                    map.size < README_BYTES ? (size_t)map.size : README_BYTES};
    struct strata__string licence = find_licence(readme);
    strata_status status = STRATA_OK;
    if (licence.size)
        status = strata__gguf_write_string(convert->writer, "general.license", licence);
    strata__file_map_close(&map);
    return status;
}

/* ---- sentence vectors ---- */

static strata_status read_pooling(const struct strata__json *json, enum pooling *pooling)
{
    struct strata__json_at root;
    const char *mode;
    json_t *value;
    unsigned on = 0;
    STRATA_TRY(strata__json_root(json, &root));
    json_object_foreach(root.value, mode, value)
    {
        if (strncmp(mode, "pooling_mode_", strlen("pooling_mode_")) != 0 || !json_is_true(value))
            continue;
        on++;
        if (strcmp(mode, "pooling_mode_mean_tokens") == 0)
            *pooling = POOLING_MEAN;
        else if (strcmp(mode, "pooling_mode_cls_token") == 0)
            *pooling = POOLING_CLS;
        else
            return strata__json_refuse(&root, mode, value, STRATA_E_UNSUPPORTED,
                                       "false (mean or cls)");
    }
    if (on != 1)
        return strata__json_refuse(&root, "pooling_mode_mean_tokens",
                                   json_object_get(root.value, "pooling_mode_mean_tokens"),
                                   STRATA_E_UNSUPPORTED, "one way of pooling, mean or cls");
    return STRATA_OK;
}

/* The module's own config.json, in the folder that modules.json names. */
static strata_status open_pooling(struct strata__convert *convert,
                                  const struct strata__json_at *module, enum pooling *pooling)
{
    struct strata__model_folder folder = {.descriptor = -1};
    struct strata__string path;
    struct strata__json json = {0};
    strata_status status = STRATA_OK;
    bool found;
    STRATA_TRY(strata__json_string(module, "path", &path, NULL));
    if (!strata__model_folder_names(path))
        return strata__json_refuse(module, "path", json_object_get(module->value, "path"),
                                   STRATA_E_FORMAT, "the name of a folder in the folder");
    STRATA_TRY_DONE(strata__model_folder_open_sub(&folder, &convert->folder, path, &found));
    if (!found) {
        status = strata__fail(STRATA_E_FORMAT, "%s: missing, but %s names it", folder.shown,
                              module->json->shown);
        goto done;
    }
    STRATA_TRY_DONE(strata__model_folder_json(&folder, "config.json", &json, NULL));
    STRATA_TRY_DONE(read_pooling(&json, pooling));
done:
    strata__json_free(&json);
    strata__model_folder_close(&folder);
    return status;
}

/* The modules in their order: the model, how it is pooled, and perhaps normalising, which
 * embedding does anyway. */
static strata_status read_modules(struct strata__convert *convert, const struct strata__json *json,
                                  enum pooling *pooling)
{
    struct strata__json_at list, module;
    STRATA_TRY(strata__json_root_array(json, &list));
    for (size_t i = 0; i < json_array_size(list.value); i++) {
        struct strata__string type;
        STRATA_TRY(strata__json_element(&list, i, &module));
        STRATA_TRY(strata__json_string(&module, "type", &type, NULL));
        if (i == 1 && strata__string_is(type, MODULE("Pooling")))
            STRATA_TRY(open_pooling(convert, &module, pooling));
        else if (!(i == 0 && strata__string_is(type, MODULE("Transformer"))) &&
                 !(i == 2 && strata__string_is(type, MODULE("Normalize"))))
            return strata__json_refuse(&module, "type", json_object_get(module.value, "type"),
                                       STRATA_E_UNSUPPORTED, "Transformer, Pooling, Normalize");
    }
    return STRATA_OK;
}

static strata_status write_pooling(struct strata__convert *convert)
{
    struct strata__json json;
    enum pooling pooling = POOLING_NONE;
    char key[64];
    bool found;
    STRATA_TRY(strata__model_folder_json(&convert->folder, "modules.json", &json, &found));
    strata_status status = found ? read_modules(convert, &json, &pooling) : STRATA_OK;
    strata__json_free(&json);
    STRATA_TRY(status);
    snprintf(key, sizeof key, "%s.pooling_type", convert->arch->name);
    return strata__gguf_write_u32(convert->writer, key, pooling);
}

static strata_status write_max_length(struct strata__convert *convert)
{
    struct strata__json json;
    struct strata__json_at root;
    uint64_t length;
    bool found;
    strata_status status;
    STRATA_TRY(
        strata__model_folder_json(&convert->folder, "sentence_bert_config.json", &json, &found));
    if (!found)
        return STRATA_OK;
    STRATA_TRY_DONE(strata__json_root(&json, &root));
    STRATA_TRY_DONE(strata__json_u64(&root, "max_seq_length", 3, convert->dims[STRATA__DIM_CONTEXT],
                                     &length, &found));
    if (found)
        STRATA_TRY_DONE(strata__gguf_write_u32(convert->writer, "strata.max_sequence_length",
                                               (uint32_t)length));
done:
    strata__json_free(&json);
    return status;
}

strata_status strata__convert_sentence(struct strata__convert *convert)
{
    struct strata__string name = folder_name(convert->path);
    if (name.size)
        STRATA_TRY(strata__gguf_write_string(convert->writer, "general.name", name));
    STRATA_TRY(write_licence(convert));
    if (!convert->arch->sentences)
        return STRATA_OK;
    STRATA_TRY(write_pooling(convert));
    return write_max_length(convert);
}

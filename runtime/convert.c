/* Conversion of model folders to GGUF (strata_convert.h): the order of the work. */
#include "convert.h"

#include <string.h>
#include <strings.h>

#include "memory.h"
#include "strata_convert.h"

/* The types that --type names, and general.file_type for each. */
static const struct {
    const char *name;
    enum strata_type type;
    uint32_t file_type;
} types[] = {
    {"f32", STRATA_TYPE_F32, 0},
    {"f16", STRATA_TYPE_F16, 1},
    {"bf16", STRATA_TYPE_BF16, 32},
    {"q8_0", STRATA_TYPE_Q8_0, 7},
};

void strata_convert_options_default(strata_convert_options *options)
{
    *options = (strata_convert_options){.size = sizeof *options, .type = "f16"};
}

static strata_status find_type(const char *name, size_t *index)
{
    char quote[32];
    for (*index = 0; *index < sizeof types / sizeof *types; ++*index)
        if (strcasecmp(types[*index].name, name) == 0)
            return STRATA_OK;
    return strata__fail(STRATA_E_INVALID,
                        "type \"%s\": convert writes f32, f16, bf16 and q8_0 (quantize writes the "
                        "other types)",
                        strata__escape(quote, sizeof quote, name, strlen(name)));
}

/* No file that is read ends so, and the result cannot take the place of one. */
static strata_status check_name(const char *out)
{
    static const char ending[] = ".gguf";
    char quote[256];
    size_t size = strlen(out);
    if (size < sizeof ending || strcmp(out + size - (sizeof ending - 1), ending) != 0)
        return strata__fail(STRATA_E_INVALID, "\"%s\": the name of the result must end in .gguf",
                            strata__escape(quote, sizeof quote, out, size));
    return STRATA_OK;
}

static strata_status read_folder(struct strata__convert *convert)
{
    bool found;
    STRATA_TRY(strata__model_folder_open(&convert->folder, convert->path));
    STRATA_TRY(strata__model_folder_json(&convert->folder, "config.json", &convert->config, NULL));
    STRATA_TRY(strata__model_folder_json(&convert->folder, "tokenizer_config.json",
                                         &convert->tokenizer_config, &found));
    return strata__safetensors_open(&convert->weights, &convert->folder);
}

static strata_status write_file(struct strata__convert *convert, const char *out, size_t type)
{
    STRATA_TRY(strata__gguf_write_open(&convert->writer, out));
    STRATA_TRY(strata__convert_config(convert));
    STRATA_TRY(strata__gguf_write_u32(convert->writer, "general.file_type", types[type].file_type));
    if (types[type].type == STRATA_TYPE_Q8_0)
        STRATA_TRY(strata__gguf_write_u32(convert->writer, "general.quantization_version", 2));
    STRATA_TRY(strata__convert_sentence(convert));
    if (convert->arch->word_pieces)
        STRATA_TRY(strata__convert_bert_tokenizer(convert));
    else
        STRATA_TRY(strata__convert_bpe_tokenizer(convert));
    STRATA_TRY(strata__convert_tensors(convert));
    return strata__gguf_write_finish(&convert->writer);
}

strata_status strata_convert(const char *folder, const char *out,
                             const strata_convert_options *options, strata_progress_fn *on_progress,
                             void *user)
{
    strata_convert_options defaults;
    struct strata__convert convert = {.folder.descriptor = -1, .path = folder};
    size_t type;
    strata_convert_options_default(&defaults);
    if (!options)
        options = &defaults;
    if (!folder || !out || options->size != sizeof *options || !options->type)
        return strata__fail(STRATA_E_INVALID,
                            "strata_convert: folder, name of the result, or options");
    STRATA_TRY(find_type(options->type, &type));
    STRATA_TRY(check_name(out));
    convert.type = types[type].type;
    convert.on_progress = on_progress;
    convert.user = user;
    strata_status status = read_folder(&convert);
    if (status == STRATA_OK)
        status = write_file(&convert, out, type);
    strata__gguf_write_abort(&convert.writer);
    strata__safetensors_close(&convert.weights);
    strata__free(convert.of_layer);
    strata__json_free(&convert.config);
    strata__json_free(&convert.tokenizer_config);
    strata__model_folder_close(&convert.folder);
    return status;
}

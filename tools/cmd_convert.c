/* strata convert: a folder of a published model to one GGUF file. */
#include <stdio.h>

#include "cli.h"

struct options {
    struct cli_common common;
    const char *type;
};

static bool on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    char label[48];
    snprintf(label, sizeof label, "%-32s", what);
    cli_progress(user, label, (size_t)done, (size_t)total);
    return !cli_interrupted();
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct options options = {.type = "f16"};
    int status = cli_parse(command, argc, argv, &options);
    if (status != CLI_GO_ON)
        return status;
    strata_convert_options how;
    strata_convert_options_default(&how);
    how.type = options.type;
    cli_interrupts_work(true);
    strata_status result = strata_convert(options.common.arguments[0], options.common.arguments[1],
                                          &how, on_progress, &options.common);
    cli_interrupts_work(false);
    cli_progress(&options.common, "", 1, 1);
    return result == STRATA_OK ? CLI_DONE : cli_fail(result);
}

#define AT(member) offsetof(struct options, member)
static const struct cli_option own[] = {
    {"type", 0, "f32|f16|bf16|q8_0", "type of the matrices (default f16)", CLI_TEXT, AT(type), 0,
     0},
    CLI_OPTIONS_END,
};

const struct cli_command cmd_convert = {
    .name = "convert",
    .arguments = "DIR OUT.gguf",
    .summary = "Convert a folder of a published model (safetensors) to a GGUF file",
    .details =
        "DIR holds config.json, model.safetensors (or its shards and their index), and the\n"
        "tokenizer: BertModel (with what sentence-transformers adds) and LlamaForCausalLM.\n"
        "Other GGUF engines read the result.  Vectors, and BERT's tables of positions and\n"
        "segments, stay f32; q8_0 rounds to nearest, and the other block types are made of an\n"
        "f16 or f32 file by strata quantize.  A file at OUT is replaced once the new one is\n"
        "whole; after an error, or Ctrl-C, it is as it was.",
    .min_arguments = 2,
    .max_arguments = 2,
    .options = own,
    .run = run,
};

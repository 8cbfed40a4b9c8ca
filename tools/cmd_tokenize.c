/* strata tokenize: JSON lines of text to token ids, and back. */
#include <stdlib.h>

#include "cli.h"
#include "json_lines.h"
#include "model_names.h"

struct options {
    struct cli_common common;
    bool no_special, detokenize;
};

struct job {
    strata_tokenizer *tokenizer;
    unsigned flags;
};

static json_t *to_ids(void *user, const json_t *line, struct json_lines_error *error)
{
    const struct job *job = user;
    const char *text;
    size_t size, count;
    int32_t *ids;
    if (!json_lines_text(line, "text", &text, &size, error))
        return NULL;
    strata_status status = cli_tokenize(job->tokenizer, text, size, job->flags, &ids, &count);
    if (status != STRATA_OK)
        return json_lines_fail(error, status);
    json_t *result = json_pack("{s:o}", "ids", json_ids(ids, count));
    free(ids);
    return result;
}

static json_t *to_text(void *user, const json_t *line, struct json_lines_error *error)
{
    const struct job *job = user;
    int32_t *ids;
    size_t count, size;
    char *text;
    if (!json_lines_ids(line, "ids", &ids, &count, error))
        return NULL;
    strata_status status = cli_detokenize(job->tokenizer, ids, count, &text, &size);
    free(ids);
    if (status != STRATA_OK)
        return json_lines_fail(error, status);
    json_t *result = json_pack("{s:o}", "text", json_text(text, size));
    free(text);
    return result;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct options options = {0};
    int status = cli_parse(command, argc, argv, &options);
    if (status != CLI_GO_ON)
        return status;
    char *path = model_names_resolve(options.common.model, &status);
    if (!path)
        return status;
    strata_file *file = NULL;
    struct job job = {.flags = STRATA_TOKENIZE_ADD_BOS |
                               (options.no_special ? 0 : STRATA_TOKENIZE_SPECIAL)};
    strata_status result = strata_file_open(&file, path, cli_log, &options.common);
    if (result == STRATA_OK)
        result = strata_tokenizer_create(&job.tokenizer, file, cli_log, &options.common);
    free(path);
    strata_file_close(&file);
    if (result != STRATA_OK)
        return cli_fail(result);
    status = json_lines_run(options.detokenize ? to_text : to_ids, &job);
    strata_tokenizer_free(&job.tokenizer);
    return status;
}

static const struct cli_option own[] = {
    {"no-special", 0, NULL, "take special tokens in the text as plain text", CLI_FLAG,
     offsetof(struct options, no_special), 0, 0},
    {"detokenize", 0, NULL, "read {\"ids\"}, print {\"text\"}", CLI_FLAG,
     offsetof(struct options, detokenize), 0, 0},
    CLI_OPTIONS_END,
};

const struct cli_command cmd_tokenize = {
    .name = "tokenize",
    .arguments = "",
    .summary = "Turn text into token ids, or back, as JSON lines",
    .details = "Reads lines {\"text\":...} on standard input and prints {\"ids\":[...]} for each, "
               "with the\nbeginning and end tokens that the file asks for.  Works for every "
               "architecture whose\ntokenizer is known.",
    .groups = CLI_MODEL,
    .options = own,
    .run = run,
};

/* strata embed: JSON lines of texts to sentence vectors.
 *
 * Lines that are there already are answered together, which is faster; a program that waits for
 * each answer gets it at once. */
#include <stdlib.h>

#include "cli.h"
#include "json_lines.h"

#define BATCH_LINES 256

struct options {
    struct cli_common common;
    uint64_t max_tokens;
    bool no_normalize, special;
};

struct job {
    struct cli_engine engine;
    strata_embed_options how;
    size_t width;
    float *vectors; /* [BATCH_LINES][width] */
    strata_text texts[BATCH_LINES];
    strata_embed_info infos[BATCH_LINES];
    struct json_line *lines[BATCH_LINES]; /* of the texts */
};

static json_t *result_of(const struct job *job, size_t i)
{
    json_t *vector = json_array();
    for (size_t k = 0; vector && k < job->width; k++)
        vector = json_push(vector, json_real((double)job->vectors[i * job->width + k]));
    return json_pack("{s:o, s:I, s:b}", "embedding", vector, "tokens",
                     (json_int_t)job->infos[i].tokens, "truncated", job->infos[i].truncated);
}

/* Texts first .. first + n - 1, together. */
static strata_status embed(struct job *job, size_t first, size_t n)
{
    return strata_embed(job->engine.model, job->texts + first, n, &job->how,
                        job->vectors + first * job->width, job->infos + first);
}

static void answer(void *user, struct json_line *lines, size_t n)
{
    struct job *job = user;
    size_t texts = 0;
    for (size_t i = 0; i < n; i++) {
        strata_text *text = &job->texts[texts];
        if (lines[i].parsed &&
            json_lines_text(lines[i].parsed, "text", &text->text, &text->size, &lines[i].error))
            job->lines[texts++] = &lines[i];
    }
    bool together = embed(job, 0, texts) == STRATA_OK;
    for (size_t i = 0; i < texts; i++) {
        /* Each for itself, so that only those are refused that have to be. */
        strata_status status = together ? STRATA_OK : embed(job, i, 1);
        if (status == STRATA_OK)
            job->lines[i]->result = result_of(job, i);
        else
            json_lines_fail(&job->lines[i]->error, status);
    }
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct options options = {0};
    int status = cli_parse(command, argc, argv, &options);
    if (status != CLI_GO_ON)
        return status;
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        return cli_no_memory();
    strata_embed_options_default(&job->how);
    job->how.no_normalize = options.no_normalize;
    job->how.special = options.special;
    job->how.max_tokens = (size_t)options.max_tokens;
    status = cli_engine_load(&job->engine, &options.common);
    if (status == CLI_DONE && !strata_model_embeds(job->engine.model))
        status = cli_fail(embed(job, 0, 0)); /* says why not */
    else if (status == CLI_DONE && embed(job, 0, 0) == STRATA_E_INVALID)
        status = cli_usage(command, "--ctx: %s", strata_last_error());
    if (status == CLI_DONE) {
        job->width = strata_model_info_get(job->engine.model).embedding_length;
        job->vectors = malloc(BATCH_LINES * job->width * sizeof *job->vectors);
        status = job->vectors ? json_lines_run_batches(answer, job, BATCH_LINES) : cli_no_memory();
    }
    free(job->vectors);
    cli_engine_close(&job->engine);
    free(job);
    return status;
}

static const struct cli_option own[] = {
    {"ctx", 0, "N",
     "tokens of a text that are read, special ones included (default: as many as the model is used "
     "with)",
     CLI_NUMBER, offsetof(struct options, max_tokens), 1, 2147483647},
    {"no-normalize", 0, NULL, "leave the vectors as long as they are", CLI_FLAG,
     offsetof(struct options, no_normalize), 0, 0},
    {"special", 0, NULL, "recognise special tokens that are written in the texts", CLI_FLAG,
     offsetof(struct options, special), 0, 0},
    CLI_OPTIONS_END,
};

const struct cli_command cmd_embed = {
    .name = "embed",
    .arguments = "",
    .summary = "Make sentence vectors of texts, as JSON lines",
    .details =
        "Reads lines {\"text\":\"...\"} on standard input and prints {\"embedding\":[...], "
        "\"tokens\",\n"
        "\"truncated\"} for each, in their order; vectors have length 1 unless --no-normalize.\n"
        "A text of more tokens than the model takes, or --ctx, is cut, and truncated is true.",
    .groups = CLI_MODEL | CLI_RUN,
    .options = own,
    .run = run,
};

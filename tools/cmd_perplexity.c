/* strata perplexity: how well the model predicts a text.
 *
 * The text's ids are cut into consecutive windows of N ids (a model that begins texts with a token
 * of its own gets that and N - 1 ids); what is left at the end is dropped.  Every window starts
 * from an empty cache, and each of its ids but the first is scored given those before it.  With the
 * terms t = -log p, n in all: perplexity = exp(mean t), and its standard error is, to first order,
 * perplexity * s / sqrt(n), s^2 being the sample variance of the terms.  */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "json_lines.h"

#define CHUNK 32 /* positions whose logits exist at a time */

struct options {
    struct cli_common common;
    const char *file;
    uint64_t window;
};

struct sums {
    double t, tt;
    size_t n;
};

/* -log softmax(logits)[id] */
static double term(const float *logits, size_t vocab, int32_t id)
{
    double most = (double)logits[0], sum = 0;
    for (size_t i = 1; i < vocab; i++)
        if ((double)logits[i] > most)
            most = (double)logits[i];
    for (size_t i = 0; i < vocab; i++)
        sum += exp((double)logits[i] - most);
    return log(sum) + most - (double)logits[id];
}

static strata_status score_window(strata_session *session, size_t vocab, const int32_t *ids,
                                  size_t count, struct sums *sums)
{
    strata_status status = strata_session_truncate(session, 0);
    for (size_t at = 0; status == STRATA_OK && at + 1 < count; at += CHUNK) {
        size_t n = count - 1 - at < CHUNK ? count - 1 - at : CHUNK;
        status = strata_session_eval(session, ids + at, n, STRATA_LOGITS_ALL);
        for (size_t i = 0; status == STRATA_OK && i < n; i++) {
            double t = term(strata_session_logits(session, i), vocab, ids[at + i + 1]);
            sums->t += t;
            sums->tt += t * t;
            sums->n++;
        }
    }
    return status;
}

/* How many ids the tokenizer puts before a text (0 or 1), and which. */
static strata_status find_first(const strata_tokenizer *tokenizer, size_t *count, int32_t *first)
{
    int32_t *plain, *full;
    size_t n_plain, n_full;
    strata_status status = cli_tokenize(tokenizer, "a", 1, 0, &plain, &n_plain);
    if (status != STRATA_OK)
        return status;
    status = cli_tokenize(tokenizer, "a", 1, STRATA_TOKENIZE_ADD_BOS, &full, &n_full);
    if (status == STRATA_OK) {
        *count = n_full > n_plain && n_plain > 0 && full[0] != plain[0];
        *first = *count ? full[0] : -1;
        free(full);
    }
    free(plain);
    return status;
}

/* Scores every window of the ids. */
static int score(const struct options *options, const struct cli_engine *engine, const int32_t *ids,
                 size_t count, struct sums *sums)
{
    size_t window = (size_t)options->window, n_first;
    int32_t first;
    strata_status status = find_first(engine->tokenizer, &n_first, &first);
    if (status != STRATA_OK)
        return cli_fail(status);
    size_t step = window - n_first, windows = count / step;
    if (windows == 0) {
        cli_message("%s has %zu tokens, a window takes %zu (--window)", options->file, count, step);
        return CLI_FAILED;
    }
    int32_t *buffer = malloc(window * sizeof *buffer);
    if (!buffer)
        return cli_no_memory();
    size_t vocab = strata_model_info_get(engine->model).vocab;
    for (size_t w = 0; status == STRATA_OK && w < windows; w++) {
        cli_progress(&options->common, "perplexity", w, windows);
        if (n_first)
            buffer[0] = first;
        memcpy(buffer + n_first, ids + w * step, step * sizeof *ids);
        status = score_window(engine->session, vocab, buffer, window, sums);
    }
    cli_progress(&options->common, "perplexity", windows, windows);
    free(buffer);
    return status == STRATA_OK ? CLI_DONE : cli_fail(status);
}

static int print_result(const struct options *options, const struct sums *sums)
{
    double n = (double)sums->n, mean = sums->t / n;
    double variance = sums->n > 1 ? (sums->tt - n * mean * mean) / (n - 1) : 0;
    double perplexity = exp(mean);
    double error = perplexity * sqrt(variance > 0 ? variance / n : 0);
    if (!isfinite(perplexity)) {
        cli_message("the perplexity is not finite");
        return CLI_FAILED;
    }
    if (options->common.json)
        return json_print(json_pack("{s:f, s:I, s:f}", "perplexity", perplexity, "tokens",
                                    (json_int_t)sums->n, "stderr", error));
    printf("perplexity %.4f +- %.4f (%zu tokens)\n", perplexity, error, sums->n);
    return CLI_DONE;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct options options = {.window = 512};
    struct cli_engine engine = {0};
    char *text = NULL;
    int32_t *ids = NULL;
    size_t size, count;
    struct sums sums = {0};
    int status = cli_parse(command, argc, argv, &options);
    if (status != CLI_GO_ON)
        return status;
    if (!options.file)
        return cli_usage(command, "-f FILE is missing");
    if (options.common.context && options.common.context < options.window)
        return cli_usage(command, "--ctx %llu is less than the window of %llu tokens",
                         (unsigned long long)options.common.context,
                         (unsigned long long)options.window);
    uint64_t context = options.common.context ? options.common.context : options.window;
    status = cli_read_all(options.file, &text, &size);
    if (status == CLI_DONE)
        status = cli_engine_load(&engine, &options.common);
    if (status == CLI_DONE)
        status = cli_engine_session(&engine, (unsigned)context);
    if (status == CLI_DONE) {
        strata_status result = cli_tokenize(engine.tokenizer, text, size, 0, &ids, &count);
        status =
            result == STRATA_OK ? score(&options, &engine, ids, count, &sums) : cli_fail(result);
    }
    if (status == CLI_DONE)
        status = print_result(&options, &sums);
    free(ids);
    free(text);
    cli_engine_close(&engine);
    return status;
}

static const struct cli_option own[] = {
    {"file", 'f', "FILE", "the text", CLI_TEXT, offsetof(struct options, file), 0, 0},
    {"window", 0, "N", "ids that are read from an empty cache (default 512)", CLI_NUMBER,
     offsetof(struct options, window), 2, 2147483647},
    CLI_OPTIONS_END,
};

const struct cli_command cmd_perplexity = {
    .name = "perplexity",
    .arguments = "",
    .summary = "Measure how well a model predicts a text",
    .details = "The file is cut into windows of N ids; in each, every id but the first is scored "
               "given\nthose before it.  perplexity = exp(mean of -log p); --json prints "
               "{perplexity, tokens,\nstderr}: tokens is the number of terms, stderr the standard "
               "error of the perplexity,\nperplexity * s / sqrt(tokens) with s the terms' standard "
               "deviation.",
    .groups = CLI_MODEL | CLI_RUN | CLI_CONTEXT | CLI_JSON,
    .options = own,
    .run = run,
};

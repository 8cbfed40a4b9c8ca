/* strata generate: completes a prompt, streaming. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chat_prompt.h"
#include "cli.h"
#include "json_lines.h"

struct options {
    struct cli_common common;
    const char *prompt;
    struct cli_texts stop;
    bool ignore_eos, special, chat;
};

/* Where the new text goes: stdout at once, or memory for --json. */
struct output {
    bool json, failed, no_memory;
    char *text;
    size_t size, capacity;
    int32_t *ids;
    size_t n_ids, ids_capacity;
    double first_ms; /* when the first token came; 0 before */
};

/* Makes room for `need` items of `item` bytes. */
static bool reserve(void **memory, size_t *capacity, size_t need, size_t item)
{
    if (need <= *capacity)
        return true;
    size_t wanted = need * 2;
    void *grown = realloc(*memory, wanted * item);
    if (!grown)
        return false;
    *memory = grown;
    *capacity = wanted;
    return true;
}

static bool on_piece(void *user, const strata_piece *piece)
{
    struct output *out = user;
    if (out->first_ms == 0)
        out->first_ms = cli_now_ms();
    if (!out->json) {
        out->failed = !cli_write(piece->text, piece->size);
        return !out->failed;
    }
    if (!reserve((void **)&out->text, &out->capacity, out->size + piece->size, 1) ||
        !reserve((void **)&out->ids, &out->ids_capacity, out->n_ids + 1, sizeof *out->ids)) {
        out->no_memory = true;
        return false;
    }
    if (piece->size)
        memcpy(out->text + out->size, piece->text, piece->size);
    out->size += piece->size;
    if (piece->id >= 0)
        out->ids[out->n_ids++] = piece->id;
    return true;
}

static int print_json(const struct output *out, const strata_generate_result *result)
{
    return json_print(json_pack(
        "{s:o, s:o, s:I, s:I, s:f, s:f, s:s}", "text", json_text(out->text, out->size), "ids",
        json_ids(out->ids, out->n_ids), "prompt_tokens", (json_int_t)result->prompt_tokens,
        "new_tokens", (json_int_t)result->new_tokens, "prefill_ms", result->prefill_ms, "decode_ms",
        result->decode_ms, "stop", strata_stop_name(result->stop)));
}

static void print_timings(const struct output *out, const strata_generate_result *result,
                          double start_ms)
{
    fprintf(stderr, "strata: prompt %zu tokens in %.1f ms (%.1f tokens/s); ", result->prompt_tokens,
            result->prefill_ms, 1e3 * (double)result->prompt_tokens / result->prefill_ms);
    fprintf(stderr, "%zu new in %.1f ms (%.1f tokens/s); ", result->new_tokens, result->decode_ms,
            result->decode_ms > 0 ? 1e3 * (double)result->new_tokens / result->decode_ms : 0.0);
    if (out->first_ms > 0)
        fprintf(stderr, "first after %.1f ms; ", out->first_ms - start_ms);
    fprintf(stderr, "stopped by %s\n", strata_stop_name(result->stop));
}

/* The prompt's ids in fresh memory, from -p or stdin. */
static int read_prompt(const struct cli_command *command, const struct options *options,
                       const strata_tokenizer *tokenizer, int32_t **ids, size_t *count)
{
    char *input = NULL;
    const char *text = options->prompt;
    size_t size = text ? strlen(text) : 0;
    if (!text) {
        if (isatty(STDIN_FILENO) && !options->common.quiet)
            cli_message("reading the prompt from the terminal; Ctrl-D ends it");
        int status = cli_read_all(NULL, &input, &size);
        if (status != CLI_DONE)
            return status;
        text = input;
    }
    int status = CLI_DONE;
    strata_status result = STRATA_OK;
    *count = 0;
    if (options->chat && memchr(text, 0, size)) {
        status = cli_usage(command, "--chat: the prompt has a NUL byte");
    } else if (options->chat) {
        strata_message message = {.role = "user", .content = text};
        result = chat_prompt_ids(tokenizer, &message, 1, options->special, ids, count);
    } else {
        unsigned flags = STRATA_TOKENIZE_ADD_BOS | (options->special ? STRATA_TOKENIZE_SPECIAL : 0);
        result = cli_tokenize(tokenizer, text, size, flags, ids, count);
    }
    free(input);
    if (result != STRATA_OK)
        return cli_fail(result);
    if (status == CLI_DONE && *count == 0)
        status = cli_usage(command, "the prompt is empty");
    return status;
}

static int generate(const struct cli_engine *engine, const struct options *options,
                    const int32_t *ids, size_t count, double start_ms)
{
    for (size_t i = 0; i < options->stop.count; i++)
        if (!*options->stop.items[i]) {
            cli_message("--stop: the text is empty");
            return CLI_USAGE;
        }
    strata_generate_options how = cli_sampling(&options->common);
    how.ignore_eos = options->ignore_eos;
    how.stop = options->stop.items;
    how.n_stop = options->stop.count;
    struct output out = {.json = options->common.json};
    strata_generate_result result;
    strata_status status =
        strata_generate(engine->session, ids, count, &how, on_piece, &out, &result);
    int exit_status = CLI_DONE;
    if (status != STRATA_OK)
        exit_status = cli_fail(status);
    else if (out.no_memory)
        exit_status = cli_no_memory();
    else if (out.failed)
        exit_status = CLI_FAILED;
    else if (out.json)
        exit_status = print_json(&out, &result);
    else
        putchar('\n');
    if (exit_status == CLI_DONE && options->common.verbose)
        print_timings(&out, &result, start_ms);
    if (exit_status == CLI_DONE && result.stop == STRATA_STOP_CANCELLED)
        exit_status = CLI_INTERRUPTED;
    free(out.text);
    free(out.ids);
    return exit_status;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    double start_ms = cli_now_ms();
    struct options options = {0};
    struct cli_engine engine = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    int status = cli_parse(command, argc, argv, &options);
    if (status == CLI_GO_ON)
        status = cli_engine_open(&engine, &options.common);
    else
        goto done;
    cli_interrupts(NULL);
    if (status == CLI_DONE)
        status = read_prompt(command, &options, engine.tokenizer, &ids, &count);
    if (status == CLI_DONE && count > strata_session_context(engine.session))
        status =
            cli_usage(command, "the prompt has %zu tokens, the context has room for %zu (--ctx)",
                      count, strata_session_context(engine.session));
    if (status == CLI_DONE) {
        cli_interrupts(engine.session);
        status = generate(&engine, &options, ids, count, start_ms);
    }
done:
    free(ids);
    cli_engine_close(&engine);
    cli_texts_free(&options.stop);
    return status;
}

#define AT(member) offsetof(struct options, member)
static const struct cli_option own[] = {
    {"prompt", 'p', "TEXT", "the prompt (default: all of standard input, as it is)", CLI_TEXT,
     AT(prompt), 0, 0},
    {"stop", 0, "TEXT", "stop before this text; may be repeated", CLI_TEXTS, AT(stop), 0, 0},
    {"ignore-eos", 0, NULL, "go on after tokens that end the text", CLI_FLAG, AT(ignore_eos), 0, 0},
    {"special", 0, NULL, "recognise special tokens in the prompt", CLI_FLAG, AT(special), 0, 0},
    {"chat", 0, NULL, "put the prompt as a user's message into the model's chat template", CLI_FLAG,
     AT(chat), 0, 0},
    CLI_OPTIONS_END,
};

const struct cli_command cmd_generate = {
    .name = "generate",
    .arguments = "",
    .summary = "Complete a prompt, streaming the new text to standard output",
    .details = "With -v, timings follow on standard error.  Ctrl-C ends with what is there.",
    .groups = CLI_MODEL | CLI_RUN | CLI_CONTEXT | CLI_SAMPLE | CLI_JSON,
    .options = own,
    .run = run,
};

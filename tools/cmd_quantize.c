/* strata quantize: a model file with smaller weights. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "json_lines.h"
#include "model_names.h"

struct options {
    struct cli_common common;
    const char *type, *imatrix;
    uint64_t threads;
    bool pure, float_only;
    struct cli_texts rules; /* GLOB=TYPE */
};

static bool on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    cli_progress(user, "quantize", done, total);
    return !cli_interrupted();
}

/* Takes the words GLOB=TYPE apart: rules[i] points into copies that end in *texts, which the caller
 * frees as the rules.  CLI_DONE, or the exit status after a message. */
static int parse_rules(const struct cli_command *command, const struct options *options,
                       strata_quantize_rule *rules, char **texts)
{
    for (size_t i = 0; i < options->rules.count; i++) {
        const char *item = options->rules.items[i], *equals = strrchr(item, '=');
        if (!equals || equals == item || !equals[1])
            return cli_usage(command, "--tensor-type '%s': expected GLOB=TYPE", item);
        texts[i] = strdup(item);
        if (!texts[i])
            return cli_no_memory();
        texts[i][equals - item] = 0;
        rules[i] = (strata_quantize_rule){texts[i], texts[i] + (equals - item) + 1};
    }
    return CLI_DONE;
}

static int print_result(const struct options *options, const strata_quantize_result *result)
{
    char in[32], out[32];
    if (options->common.json)
        return json_print(json_pack("{s:I, s:I, s:I, s:I}", "tensors", (json_int_t)result->tensors,
                                    "changed", (json_int_t)result->changed, "in_bytes",
                                    (json_int_t)result->in_bytes, "out_bytes",
                                    (json_int_t)result->out_bytes));
    printf("%" PRIu64 " of %" PRIu64 " tensors changed, %s -> %s\n", result->changed,
           result->tensors, cli_bytes_text(in, result->in_bytes),
           cli_bytes_text(out, result->out_bytes));
    return CLI_DONE;
}

static int quantize(const struct options *options, const char *in, const char *out,
                    const strata_quantize_options *how)
{
    strata_config config;
    strata_config_default(&config);
    config.threads = (int)options->threads;
    config.log = cli_log;
    config.log_user = (void *)&options->common;
    strata_runtime *runtime;
    strata_quantize_result result;
    strata_status status = strata_runtime_open(&runtime, &config);
    if (status != STRATA_OK)
        return cli_fail(status);
    cli_interrupts_work(true);
    status = strata_quantize(runtime, in, out, how, on_progress, (void *)&options->common, &result);
    cli_interrupts_work(false);
    cli_progress(&options->common, "", 1, 1);
    strata_runtime_close(&runtime);
    return status == STRATA_OK ? print_result(options, &result) : cli_fail(status);
}

static int run_with(const struct cli_command *command, const struct options *options,
                    strata_quantize_rule *rules, char **texts)
{
    strata_quantize_options how;
    strata_quantize_options_default(&how);
    how.type = options->type;
    how.imatrix = options->imatrix;
    how.pure = options->pure;
    how.float_only = options->float_only;
    how.rules = rules;
    how.n_rules = options->rules.count;
    int status = parse_rules(command, options, rules, texts);
    if (status != CLI_DONE)
        return status;
    char *in = model_names_resolve(options->common.arguments[0], &status);
    if (!in)
        return status;
    status = quantize(options, in, options->common.arguments[1], &how);
    free(in);
    return status;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct options options = {.type = NULL};
    int status = cli_parse(command, argc, argv, &options);
    if (status == CLI_GO_ON && !options.type)
        status = cli_usage(command, "--type is missing");
    if (status == CLI_GO_ON) {
        size_t n = options.rules.count;
        strata_quantize_rule *rules = calloc(n + 1, sizeof *rules);
        char **texts = calloc(n + 1, sizeof *texts);
        status = rules && texts ? run_with(command, &options, rules, texts) : cli_no_memory();
        for (size_t i = 0; texts && i < n; i++)
            free(texts[i]);
        free(texts);
        free(rules);
    }
    cli_texts_free(&options.rules);
    return status;
}

#define AT(member) offsetof(struct options, member)
static const struct cli_option own[] = {
    {"type", 0, "TYPE", "of the matrices: f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q2_k, ...",
     CLI_TEXT, AT(type), 0, 0},
    {"imatrix", 0, "FILE", "importance of the weights' columns (strata imatrix)", CLI_TEXT,
     AT(imatrix), 0, 0},
    {"pure", 0, NULL, "no higher type for the output head", CLI_FLAG, AT(pure), 0, 0},
    {"tensor-type", 0, "GLOB=TYPE", "type of the tensors of these names; may be repeated",
     CLI_TEXTS, AT(rules), 0, 0},
    {"float-only", 0, NULL, "refuse input that is quantised already", CLI_FLAG, AT(float_only), 0,
     0},
    {"threads", 't', "N", "compute threads (default: as tuned, else one a core)", CLI_NUMBER,
     AT(threads), 1, 1024},
    CLI_OPTIONS_END,
};

const struct cli_command cmd_quantize = {
    .name = "quantize",
    .arguments = "IN OUT",
    .summary = "Make a model file with smaller weights",
    .details =
        "IN is a model's name or GGUF file, OUT the file to write.  Types: f32, f16, bf16, q8_0,\n"
        "q4_0, q4_1, q5_0, q5_1, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs.  For every block\n"
        "the scales with the smallest error are searched.  Norms, vectors and position embeddings\n"
        "stay as they are; the output head gets q6_k when TYPE has fewer bits (not with --pure);\n"
        "a type whose blocks of 256 do not fit a tensor's rows is replaced by one with blocks of\n"
        "32 (-v lists them).  OUT appears when it is whole.",
    .groups = CLI_JSON,
    .min_arguments = 2,
    .max_arguments = 2,
    .options = own,
    .run = run,
};

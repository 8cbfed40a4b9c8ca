/* strata inspect: what a GGUF file holds, and the memory that running it needs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "json_lines.h"
#include "model_names.h"

/* What running the model takes; `reason` is why it cannot be run, or "". */
struct needs {
    bool runnable;
    char reason[1024];
    uint64_t weight_bytes, kv_bytes, context;
    bool embeds; /* sentence vectors: no cache */
};

/* Lets the library load the model, without its weights, since it alone knows what it can run. */
static void find_needs(struct needs *needs, const char *path, uint64_t context)
{
    strata_runtime *runtime = NULL;
    strata_model *model = NULL;
    strata_config config;
    strata_config_default(&config);
    config.threads = 1;
    strata_model_options options;
    strata_model_options_default(&options);
    options.no_weights = true;
    strata_status status = strata_runtime_open(&runtime, &config);
    if (status == STRATA_OK)
        status = strata_model_load(runtime, path, &options, &model);
    needs->runnable = status == STRATA_OK;
    if (status == STRATA_OK) {
        strata_model_info info = strata_model_info_get(model);
        uint64_t most = info.context_length < 4096 ? info.context_length : 4096;
        needs->context = context ? context : most;
        needs->weight_bytes = info.weight_bytes;
        needs->embeds = strata_model_embeds(model);
        needs->kv_bytes =
            needs->embeds ? 0 : needs->context * info.all_kv_heads * info.head_dim * 4;
    } else {
        snprintf(needs->reason, sizeof needs->reason, "%s", strata_last_error());
    }
    strata_model_unref(&model);
    strata_runtime_close(&runtime);
}

static json_t *tensors_json(const strata_file *file)
{
    json_t *array = json_array();
    for (size_t i = 0; i < strata_file_tensor_count(file); i++) {
        strata_tensor_info tensor = strata_file_tensor(file, i);
        json_t *shape = json_array();
        for (unsigned d = 0; d < tensor.n_dims; d++)
            shape = json_push(shape, json_integer((json_int_t)tensor.shape[d]));
        array = json_push(array, json_pack("{s:o, s:s, s:o, s:I}", "name",
                                           json_text(tensor.name, strlen(tensor.name)), "type",
                                           tensor.type, "shape", shape, "bytes",
                                           (json_int_t)tensor.bytes));
    }
    return array;
}

static json_t *memory_json(const struct needs *needs)
{
    if (!needs->runnable)
        return json_null();
    return json_pack("{s:I, s:I, s:I}", "weight_bytes", (json_int_t)needs->weight_bytes, "kv_bytes",
                     (json_int_t)needs->kv_bytes, "context", (json_int_t)needs->context);
}

static json_t *text_or_null(const char *text)
{
    return *text ? json_text(text, strlen(text)) : json_null();
}

static int print_json(const strata_file *file, const struct needs *needs)
{
    strata_file_info info = strata_file_info_get(file);
    return json_print(json_pack(
        "{s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:i, s:o, s:o, s:b, s:o, s:o, s:o}", "architecture",
        json_text(info.architecture, strlen(info.architecture)), "name", text_or_null(info.name),
        "parameters", (json_int_t)info.parameters, "layers", (json_int_t)info.layers,
        "context_length", (json_int_t)info.context_length, "file_bytes",
        (json_int_t)info.file_bytes, "gguf_version", (json_int_t)info.version, "shards",
        (int)info.shards, "tokenizer", text_or_null(info.tokenizer), "pre_tokenizer",
        text_or_null(info.pre_tokenizer), "runnable", needs->runnable, "reason",
        text_or_null(needs->reason), "memory", memory_json(needs), "tensors", tensors_json(file)));
}

static void print_field(const char *label, const char *text)
{
    printf("%-15s ", label);
    cli_print_text(text);
    putchar('\n');
}

static void print_tensor(const strata_tensor_info *tensor)
{
    char shape[96], bytes[32];
    size_t at = 0;
    for (unsigned d = 0; d < tensor->n_dims; d++)
        at += (size_t)snprintf(shape + at, sizeof shape - at, "%s%llu", d ? " x " : "",
                               (unsigned long long)tensor->shape[d]);
    printf("  %-36s %-7s %-20s %s\n", tensor->name, tensor->type, shape,
           cli_bytes_text(bytes, tensor->bytes));
}

static void print_text(const strata_file *file, const struct needs *needs)
{
    strata_file_info info = strata_file_info_get(file);
    char bytes[32];
    print_field("architecture", *info.architecture ? info.architecture : "none");
    print_field("name", *info.name ? info.name : "none");
    printf("%-15s %llu\n", "parameters", (unsigned long long)info.parameters);
    printf("%-15s %llu\n", "layers", (unsigned long long)info.layers);
    printf("%-15s %llu\n", "context length", (unsigned long long)info.context_length);
    printf("%-15s %s in %u file%s, GGUF version %u\n", "size",
           cli_bytes_text(bytes, info.file_bytes), info.shards, info.shards == 1 ? "" : "s",
           info.version);
    print_field("tokenizer", *info.tokenizer ? info.tokenizer : "none");
    print_field("pre-tokenizer", *info.pre_tokenizer ? info.pre_tokenizer : "none");
    if (needs->runnable) {
        printf("%-15s weights %s", "memory", cli_bytes_text(bytes, needs->weight_bytes));
        if (!needs->embeds)
            printf(", key-value cache %s for %llu positions",
                   cli_bytes_text(bytes, needs->kv_bytes), (unsigned long long)needs->context);
        putchar('\n');
    } else {
        print_field("cannot be run", needs->reason);
    }
    size_t count = strata_file_tensor_count(file);
    printf("%-15s %zu\n", "tensors", count);
    for (size_t i = 0; i < count; i++) {
        strata_tensor_info tensor = strata_file_tensor(file, i);
        print_tensor(&tensor);
    }
}

struct options {
    struct cli_common common;
    uint64_t context;
};

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct options options = {0};
    int status = cli_parse(command, argc, argv, &options);
    if (status != CLI_GO_ON)
        return status;
    bool argument = options.common.n_arguments > 0;
    if (argument == (options.common.model != NULL))
        return cli_usage(command,
                         argument ? "MODEL and -m MODEL: one of them" : "MODEL is missing");
    const char *model = argument ? options.common.arguments[0] : options.common.model;
    char *path = model_names_resolve(model, &status);
    if (!path)
        return status;
    strata_file *file = NULL;
    strata_status result = strata_file_open(&file, path, cli_log, &options.common);
    if (result != STRATA_OK) {
        status = cli_fail(result);
    } else {
        struct needs needs = {0};
        find_needs(&needs, path, options.context);
        status = CLI_DONE;
        if (options.common.json)
            status = print_json(file, &needs);
        else
            print_text(file, &needs);
    }
    strata_file_close(&file);
    free(path);
    return status;
}

static const struct cli_option own[] = {
    {"ctx", 0, "N",
     "positions to count the key-value cache for (default: the model's, at most 4096)", CLI_NUMBER,
     offsetof(struct options, context), 1, 2147483647},
    CLI_OPTIONS_END,
};

const struct cli_command cmd_inspect = {
    .name = "inspect",
    .arguments = "MODEL",
    .summary = "Show what a GGUF file holds, and the memory that running it needs",
    .details = "MODEL is a GGUF file of any architecture, or a name that `strata pull --list` "
               "shows.",
    .groups = CLI_MODEL | CLI_JSON,
    .max_arguments = 1,
    .options = own,
    .run = run,
};

/* Options: one table row is the parser's entry, the range check and the line of help. */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_file.h"

#define MAX_OPTIONS 48
#define LONG_ONLY 256 /* getopt's value of the first option: above every letter */

struct common_option {
    unsigned group; /* 0: every command */
    struct cli_option option;
};

#define AT(member) offsetof(struct cli_common, member)
static const struct common_option common_options[] = {
    {CLI_MODEL,
     {"model", 'm', "MODEL", "a GGUF file, or a name that `strata pull --list` shows", CLI_TEXT,
      AT(model), 0, 0}},
    {CLI_RUN,
     {"threads", 't', "THREADS", "compute threads (default: as tuned, else one for each core)",
      CLI_NUMBER, AT(threads), 1, 1024}},
    {CLI_RUN,
     {"device", 0, "auto|cpu|cuda|emu",
      "where to compute (default auto: where it is fastest; cuda: on GPUs, as far as there is "
      "room); emu: the emulator of the tests",
      CLI_CHOICE, AT(device), 0, 0}},
    {CLI_CONTEXT,
     {"ctx", 0, "N", "positions in the context (default: the model's, at most 4096)", CLI_NUMBER,
      AT(context), 1, 2147483647}},
    {CLI_CONTEXT,
     {"kv-type", 0, "f16|q8_0", "type of the key-value cache (default f16)", CLI_CHOICE,
      AT(kv_type), 0, 0}},
    {CLI_RUN,
     {"compute", 0, "f32|q8|dynamic",
      "float activations, or 8-bit ones for block-quantised weights (default q8), or for all "
      "weights (dynamic)",
      CLI_CHOICE, AT(compute), 0, 0}},
    {CLI_RUN,
     {"memory-limit", 0, "SIZE",
      "host memory, as 6GB: layers that do not fit are read from disk as they run (default 8GB)",
      CLI_BYTES, AT(memory_limit), 0, 0}},
    {CLI_SAMPLE,
     {"max-tokens", 'n', "N", "new tokens at most (default 128)", CLI_NUMBER, AT(max_tokens), 1,
      2147483647}},
    {CLI_SAMPLE,
     {"temp", 0, "T", "temperature; 0 takes the likeliest token (default 0)", CLI_REAL,
      AT(temperature), 0, 100}},
    {CLI_SAMPLE,
     {"top-k", 0, "N", "sample among the N likeliest tokens (default 0: all)", CLI_NUMBER,
      AT(top_k), 0, 2147483647}},
    {CLI_SAMPLE,
     {"top-p", 0, "P", "sample among the likeliest tokens that make up P (default 1)", CLI_REAL,
      AT(top_p), 1e-6, 1}},
    {CLI_SAMPLE,
     {"min-p", 0, "P", "leave out tokens less likely than P times the likeliest (default 0)",
      CLI_REAL, AT(min_p), 0, 1}},
    {CLI_SAMPLE,
     {"repeat-penalty", 0, "R", "above 1: make the last 64 tokens less likely (default 1)",
      CLI_REAL, AT(repeat_penalty), 0.01, 100}},
    {CLI_SAMPLE, {"seed", 0, "N", "same seed, same text (default 0)", CLI_NUMBER, AT(seed), 0, 0}},
    {CLI_RUN,
     {"no-pack-cache", 0, NULL, "pack weights in memory, keep no copy on disk", CLI_FLAG,
      AT(no_pack_cache), 0, 0}},
    {CLI_RUN,
     {"event-log", 0, "FILE", "append what was decided about memory, a JSON object a line",
      CLI_TEXT, AT(event_log), 0, 0}},
    {CLI_MODEL | CLI_RUN,
     {"config", 0, "FILE", "options and budgets of components, as JSON (strata help memory)",
      CLI_TEXT, AT(config), 0, 0}},
    {CLI_JSON, {"json", 0, NULL, "print one JSON object", CLI_FLAG, AT(json), 0, 0}},
    {0,
     {"verbose", 'v', NULL, "say more on stderr; twice: everything", CLI_TIMES, AT(verbose), 0, 0}},
    {0, {"quiet", 'q', NULL, "say less: no warnings, no progress", CLI_TIMES, AT(quiet), 0, 0}},
    {0, {"help", 'h', NULL, "print this help", CLI_FLAG, AT(help), 0, 0}},
};

/* A command's own options and the common ones that it takes; returns how many. */
static size_t gather(const struct cli_command *command, const struct cli_option *out[MAX_OPTIONS])
{
    size_t n = 0;
    for (const struct cli_option *o = command->options; o && o->name && n < MAX_OPTIONS; o++)
        out[n++] = o;
    for (size_t i = 0; i < sizeof common_options / sizeof *common_options; i++) {
        unsigned group = common_options[i].group;
        if ((!group || command->groups & group) && n < MAX_OPTIONS)
            out[n++] = &common_options[i].option;
    }
    return n;
}

static bool has_word(const char *words, const char *word)
{
    size_t size = strlen(word);
    for (const char *at = words; at && size; at = strchr(at, '|')) {
        at += *at == '|';
        if (!strncmp(at, word, size) && (at[size] == '|' || !at[size]))
            return true;
    }
    return false;
}

static int store_choice(const struct cli_command *command, const struct cli_option *option,
                        const char **out, const char *value)
{
    if (has_word(option->value, value)) {
        *out = value;
        return CLI_GO_ON;
    }
    return cli_usage(command, "--%s: '%s' is none of %s", option->name, value, option->value);
}

static int store_bytes(const struct cli_command *command, const struct cli_option *option,
                       uint64_t *out, const char *value)
{
    if (cli_parse_bytes(value, out) && *out > 0)
        return CLI_GO_ON;
    return cli_usage(command, "--%s: '%s' is no size (%s)", option->name, value, CLI_SIZES);
}

static int store_number(const struct cli_command *command, const struct cli_option *option,
                        uint64_t *out, const char *value)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    bool any = option->min == 0 && option->max == 0;
    bool digits = value[0] >= '0' && value[0] <= '9' && !*end;
    if (digits && !errno &&
        (any || ((double)number >= option->min && (double)number <= option->max))) {
        *out = number;
        return CLI_GO_ON;
    }
    if (any)
        return cli_usage(command, "--%s: '%s' is not a whole number from 0 to 2^64 - 1",
                         option->name, value);
    return cli_usage(command, "--%s: '%s' is not a whole number from %.0f to %.0f", option->name,
                     value, option->min, option->max);
}

static int store_real(const struct cli_command *command, const struct cli_option *option,
                      double *out, const char *value)
{
    char *end;
    double number = strtod(value, &end);
    if (end != value && !*end && isfinite(number) && number >= option->min &&
        number <= option->max) {
        *out = number;
        return CLI_GO_ON;
    }
    return cli_usage(command, "--%s: '%s' is not a number from %g to %g", option->name, value,
                     option->min, option->max);
}

static int store_text(struct cli_texts *texts, const char *value)
{
    const char **items = realloc(texts->items, (texts->count + 1) * sizeof *items);
    if (!items)
        return cli_no_memory();
    texts->items = items;
    items[texts->count++] = value;
    return CLI_GO_ON;
}

static int store(const struct cli_command *command, const struct cli_option *option, void *options,
                 const char *value)
{
    void *out = (char *)options + option->offset;
    switch (option->kind) {
    case CLI_FLAG:
        *(bool *)out = true;
        return CLI_GO_ON;
    case CLI_TIMES:
        ++*(unsigned *)out;
        return CLI_GO_ON;
    case CLI_TEXT:
        *(const char **)out = value;
        return CLI_GO_ON;
    case CLI_TEXTS:
        return store_text(out, value);
    case CLI_CHOICE:
        return store_choice(command, option, out, value);
    case CLI_NUMBER:
        return store_number(command, option, out, value);
    case CLI_REAL:
        return store_real(command, option, out, value);
    case CLI_BYTES:
        break;
    }
    return store_bytes(command, option, out, value);
}

void cli_texts_free(struct cli_texts *texts)
{
    free(texts->items);
    texts->items = NULL;
    texts->count = 0;
}

/* getopt's tables from ours. */
static void build(const struct cli_option *const *table, size_t n, struct option *longs,
                  char *shorts)
{
    *shorts++ = ':'; /* a missing value gives ':' */
    for (size_t i = 0; i < n; i++) {
        longs[i] = (struct option){.name = table[i]->name,
                                   .has_arg = table[i]->value ? required_argument : no_argument,
                                   .val = LONG_ONLY + (int)i};
        if (table[i]->letter) {
            *shorts++ = (char)table[i]->letter;
            if (table[i]->value)
                *shorts++ = ':';
        }
    }
    longs[n] = (struct option){.name = NULL};
    *shorts = 0;
}

static const struct cli_option *find(const struct cli_option *const *table, size_t n, int key)
{
    if (key >= LONG_ONLY)
        return table[key - LONG_ONLY];
    for (size_t i = 0; i < n; i++)
        if (table[i]->letter == key)
            return table[i];
    return NULL;
}

/* What getopt_long could not read: optopt is a letter, an option's number or 0. */
static int refuse(const struct cli_command *command, int key, const char *word)
{
    if (key == ':')
        return cli_usage(command, "option '%s' needs a value", word);
    if (optopt > 0 && optopt < LONG_ONLY)
        return cli_usage(command, "unknown option '-%c'", optopt);
    if (optopt >= LONG_ONLY)
        return cli_usage(command, "option '%s' takes no value", word);
    return cli_usage(command, "unknown option '%s'", word);
}

static int check_arguments(const struct cli_command *command, struct cli_common *common)
{
    if (common->n_arguments > command->max_arguments)
        return cli_usage(command, "unexpected argument '%s'",
                         common->arguments[command->max_arguments]);
    if (common->n_arguments < command->min_arguments)
        return cli_usage(command, "%s is missing", command->arguments);
    bool required = (command->groups & CLI_ANY_MODEL) == CLI_MODEL && command->max_arguments == 0;
    if (required && !common->model)
        return cli_usage(command, "-m MODEL is missing");
    return CLI_GO_ON;
}

/* ---- The file of --config ---- */

/* What it holds, which options point into, until the program ends. */
static json_t *config_file;
static strata_budget *config_budgets;

/* The option that a key names: of this command, or (*known) of others. */
static const struct cli_option *named(const struct cli_option *const *table, size_t n,
                                      const char *key, bool *known)
{
    size_t n_common = sizeof common_options / sizeof *common_options;
    *known = false;
    for (size_t i = 0; i < n_common; i++)
        *known |= strcmp(common_options[i].option.name, key) == 0;
    for (size_t i = 0; i < n && *known; i++)
        if (strcmp(table[i]->name, key) == 0)
            return table[i];
    return NULL;
}

static bool is_given(const struct cli_option *const *given, const struct cli_option *option)
{
    while (*given && *given != option)
        given++;
    return *given != NULL;
}

/* One key of the file; `number` keeps the text of a JSON number. */
static int apply_key(const struct cli_command *command, const char *path,
                     const struct cli_option *option, const json_t *value, void *options)
{
    char number[32];
    const char *text = config_file_text(value, number);
    bool flag = option->kind == CLI_FLAG;
    if (flag ? !json_is_boolean(value) : !text || !*text) {
        cli_message("%s: %s: expected %s", path, option->name,
                    flag ? "true or false" : "a text or a number");
        return CLI_BAD_FILE;
    }
    if (flag && json_is_false(value))
        return CLI_GO_ON;
    bool copies = option->kind == CLI_TEXT || option->kind == CLI_CHOICE;
    if (copies && text == number) {
        cli_message("%s: %s: expected a text", path, option->name);
        return CLI_BAD_FILE;
    }
    return store(command, option, options, text);
}

/* What the command line does not say; `given` ends with NULL. */
static int apply_config(const struct cli_command *command, const struct cli_option *const *table,
                        size_t n, const struct cli_option *const *given, void *options)
{
    struct cli_common *common = options;
    const char *key;
    json_t *value;
    int status = CLI_DONE;
    if (!common->config)
        return CLI_GO_ON;
    config_file = config_file_read(common->config, &status);
    if (!config_file)
        return status;
    json_object_foreach(config_file, key, value)
    {
        bool known;
        const struct cli_option *option = named(table, n, key, &known);
        if (strcmp(key, "budgets") == 0)
            continue;
        if (!known || strcmp(key, "config") == 0 || strcmp(key, "help") == 0) {
            cli_message("%s: \"%s\" is no common option, nor \"budgets\"", common->config, key);
            return CLI_BAD_FILE;
        }
        status = option && !is_given(given, option)
                     ? apply_key(command, common->config, option, value, options)
                     : CLI_GO_ON;
        if (status != CLI_GO_ON)
            return status;
    }
    status = config_file_budgets(config_file, common->config, &config_budgets, &common->n_budgets);
    common->budgets = config_budgets;
    return status == CLI_DONE ? CLI_GO_ON : status;
}

int cli_parse(const struct cli_command *command, int argc, char **argv, void *options)
{
    const struct cli_option *table[MAX_OPTIONS];
    struct option longs[MAX_OPTIONS + 1];
    char shorts[2 * MAX_OPTIONS + 2];
    size_t n = gather(command, table);
    build(table, n, longs, shorts);
    struct cli_common *common = options;
    const struct cli_option *given[MAX_OPTIONS + 1] = {NULL};
    size_t n_given = 0;
    common->command = command->name;
    common->max_tokens = 128;
    common->top_p = common->repeat_penalty = 1;
    opterr = 0;
    optind = 0;
    int key;
    while ((key = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (key == '?' || key == ':')
            return refuse(command, key, argv[optind - 1]);
        const struct cli_option *option = find(table, n, key);
        int status = store(command, option, options, optarg);
        if (status != CLI_GO_ON)
            return status;
        if (!is_given(given, option))
            given[n_given++] = option;
    }
    if (common->help) {
        cli_print_help(command);
        return CLI_DONE;
    }
    int status = apply_config(command, table, n, given, options);
    if (status != CLI_GO_ON)
        return status;
    if (!cli_log_level(&common->log_level))
        return cli_usage(command, "STRATA_LOG is none of error, warn, info, debug");
    common->log_level += (int)common->verbose - (int)common->quiet;
    common->arguments = argv + optind;
    common->n_arguments = argc - optind;
    return check_arguments(command, common);
}

void cli_print_help(const struct cli_command *command)
{
    const struct cli_option *table[MAX_OPTIONS];
    size_t n = gather(command, table);
    printf("Usage: strata %s [OPTIONS]%s%s\n%s.\n\nOptions:\n", command->name,
           *command->arguments ? " " : "", command->arguments, command->summary);
    for (size_t i = 0; i < n; i++) {
        const struct cli_option *o = table[i];
        char left[64], letter[8] = "   ";
        if (o->letter)
            snprintf(letter, sizeof letter, "-%c,", o->letter);
        snprintf(left, sizeof left, "  %s --%s%s%s", letter, o->name, o->value ? " " : "",
                 o->value ? o->value : "");
        printf("%-30s %s\n", left, o->help);
    }
    if (command->details)
        printf("\n%s\n", command->details);
}

/* strata memory: the ledger of this process with a model, or of one that runs; giving memory
 * back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "engine_json.h"
#include "json_lines.h"
#include "status_socket.h"

struct options {
    struct cli_common common;
    bool optimise;
    uint64_t pid;
};

/* ---- Text, from the JSON that a running process gives too ---- */

static uint64_t number(const json_t *object, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(object, key));
    return value > 0 ? (uint64_t)value : 0;
}

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

/* "150.0 MB", or a dash for no limit. */
static const char *limit_text(char out[32], const json_t *object, const char *key)
{
    if (json_is_integer(json_object_get(object, key)))
        return cli_bytes_text(out, number(object, key));
    return "-";
}

/* A dash for none: most components are not in use. */
static const char *used_text(char out[32], const json_t *object, const char *key)
{
    return number(object, key) ? cli_bytes_text(out, number(object, key)) : "-";
}

static void print_components(const json_t *memory)
{
    size_t i;
    json_t *c;
    printf("%-44s %10s %10s %10s %10s %10s\n", "COMPONENT", "USED", "PEAK", "LIMIT", "DEVICES",
           "LIMIT");
    json_array_foreach(json_object_get(memory, "components"), i, c)
    {
        char a[32], b[32], l[32], d[32], m[32];
        const char *name = text(c, "name"), *slash = strchr(name, '/');
        const char *indent = i == 0 ? "" : slash ? "    " : "  ";
        printf("%s", indent);
        cli_print_text(slash ? slash + 1 : name);
        int left = 44 - (int)strlen(indent) - (int)strlen(slash ? slash + 1 : name);
        printf("%*s %10s %10s %10s %10s %10s\n", left > 0 ? left : 0, "",
               used_text(a, c, "used_bytes"), used_text(b, c, "peak_bytes"),
               limit_text(l, c, "limit_bytes"), used_text(d, c, "device_used_bytes"),
               limit_text(m, c, "device_limit_bytes"));
    }
}

static void print_entries(const json_t *memory)
{
    size_t i;
    json_t *e;
    printf("\n%-32s %6s %10s %10s  %s\n", "WHAT", "COUNT", "BYTES", "RESIDENT", "WHERE, WHOSE");
    json_array_foreach(json_object_get(memory, "entries"), i, e)
    {
        char a[32], b[32];
        const char *model = text(e, "model");
        printf("%-32.32s %6llu %10s %10s  %s: ", text(e, "purpose"),
               (unsigned long long)number(e, "count"), cli_bytes_text(a, number(e, "bytes")),
               cli_bytes_text(b, number(e, "resident_bytes")), text(e, "device"));
        cli_print_text(text(e, "component"));
        if (*model && !strstr(text(e, "component"), model)) {
            printf(", ");
            cli_print_text(model);
        }
        putchar('\n');
    }
}

static void print_memory(const json_t *memory)
{
    char a[32], b[32], c[32];
    print_components(memory);
    print_entries(memory);
    printf("\nof %s charged, %s are in memory; the process has %s",
           cli_bytes_text(a, number(memory, "used_bytes")),
           cli_bytes_text(b, number(memory, "resident_bytes")),
           cli_bytes_text(c, number(memory, "process_bytes")));
    printf("; beyond %s, what is idle is given back\n",
           cli_bytes_text(a, number(memory, "aim_bytes")));
}

static void print_optimised(const json_t *optimised)
{
    size_t i;
    json_t *action;
    char a[32], b[32], c[32];
    printf("%-48s %10s %10s %10s  %s\n", "ACTION", "PREDICTED", "FREED", "MEASURED", "OF");
    json_array_foreach(json_object_get(optimised, "actions"), i, action)
    {
        json_int_t measured = json_integer_value(json_object_get(action, "measured_bytes"));
        printf("%-48s %10s %10s %s%9s  ", text(action, "what"),
               cli_bytes_text(a, number(action, "predicted_bytes")),
               cli_bytes_text(b, number(action, "freed_bytes")), measured < 0 ? "-" : " ",
               cli_bytes_text(c, (uint64_t)(measured < 0 ? -measured : measured)));
        cli_print_text(*text(action, "about") ? text(action, "about") : "the process");
        putchar('\n');
    }
    printf("\nthe process has %s, before %s\n\n",
           cli_bytes_text(a, number(optimised, "after_bytes")),
           cli_bytes_text(b, number(optimised, "before_bytes")));
}

/* Takes both references; `optimised` may be NULL. */
static int show(const struct options *options, json_t *memory, json_t *optimised)
{
    if (options->common.json) {
        if (optimised && json_object_set_new(memory, "optimised", optimised) != 0) {
            json_decref(memory);
            return cli_no_memory();
        }
        return json_print(memory);
    }
    if (optimised)
        print_optimised(optimised);
    print_memory(memory);
    json_decref(memory);
    json_decref(optimised);
    return CLI_DONE;
}

/* ---- Where it comes from ---- */

static json_t *ask(pid_t pid, const char *request)
{
    char why[256];
    json_t *answer = status_ask(pid, request, why, sizeof why);
    if (!answer)
        cli_message("%s; see: strata top --once", why);
    return answer;
}

static int of_process(const struct options *options)
{
    pid_t pid = (pid_t)options->pid;
    json_t *optimised = options->optimise ? ask(pid, "optimise") : NULL;
    if (options->optimise && !optimised)
        return CLI_FAILED;
    json_t *memory = ask(pid, "memory");
    if (!memory) {
        json_decref(optimised);
        return CLI_FAILED;
    }
    return show(options, memory, optimised);
}

static strata_status optimise(strata_runtime *runtime, json_t **out)
{
    strata_memory_optimised *optimised = NULL;
    strata_status status = strata_memory_optimise(runtime, NULL, &optimised);
    if (status == STRATA_OK)
        *out = engine_json_optimised(optimised);
    strata_memory_optimised_free(&optimised);
    return status;
}

static int of_engine(const struct options *options, strata_runtime *runtime)
{
    strata_memory *memory = NULL;
    json_t *optimised = NULL;
    strata_status status = options->optimise ? optimise(runtime, &optimised) : STRATA_OK;
    if (status == STRATA_OK)
        status = strata_memory_read(runtime, &memory);
    if (status != STRATA_OK) {
        json_decref(optimised);
        return cli_fail(status);
    }
    json_t *object = engine_json_memory(memory);
    strata_memory_free(&memory);
    if (!object || (options->optimise && !optimised)) {
        json_decref(object);
        json_decref(optimised);
        return cli_no_memory();
    }
    return show(options, object, optimised);
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct options options = {0};
    int status = cli_parse(command, argc, argv, &options);
    if (status != CLI_GO_ON)
        return status;
    if (options.pid && options.common.model)
        return cli_usage(command, "--pid and -m: one of them");
    if (options.pid)
        return of_process(&options);
    struct cli_engine engine = {0};
    status = cli_engine_any(&engine, &options.common);
    if (status == CLI_DONE)
        status = of_engine(&options, engine.runtime);
    cli_engine_close(&engine);
    return status;
}

#define AT(member) offsetof(struct options, member)
static const struct cli_option own[] = {
    {"optimise", 0, NULL, "give back what is not needed, and say what that gained", CLI_FLAG,
     AT(optimise), 0, 0},
    {"pid", 0, "PID", "of a strata that runs (strata top shows them)", CLI_NUMBER, AT(pid), 1,
     2147483647},
    CLI_OPTIONS_END,
};

const struct cli_command cmd_memory = {
    .name = "memory",
    .arguments = "",
    .summary = "Show what memory is used for, by component, and give some back",
    .details =
        "Without --pid, it is of this process: with -m after loading the model and opening a\n"
        "session, else of a runtime without one, which shows the budgets.  Limits are those of\n"
        "--memory-limit and of \"budgets\" in --config FILE, as\n"
        "    {\"memory-limit\": \"6GB\", \"budgets\": {\"core\": \"1GB\", \"tier2_expander\": "
        "{\"device\": \"1GB\"}}}",
    .groups = CLI_ANY_MODEL | CLI_RUN | CLI_CONTEXT | CLI_JSON,
    .options = own,
    .run = run,
};

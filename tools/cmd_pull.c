/* strata pull: the models that have a name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "json_lines.h"
#include "model_names.h"

struct options {
    struct cli_common common;
    bool list;
};

static int list_json(void)
{
    json_t *models = json_array();
    for (size_t i = 0; i < model_names_count(); i++) {
        const struct model_name *row = model_names_row(i);
        char *path = model_names_path(row->name);
        if (!path) {
            json_decref(models);
            return CLI_FAILED;
        }
        models = json_push(models, json_pack("{s:s, s:s, s:s, s:I, s:o, s:b}", "name", row->name,
                                             "description", row->description, "licence",
                                             row->licence, "bytes", (json_int_t)row->bytes, "path",
                                             json_text(path, strlen(path)), "present",
                                             access(path, R_OK) == 0));
        free(path);
    }
    return json_print(json_pack("{s:o}", "models", models));
}

static int list_text(void)
{
    printf("%-14s %-10s %-11s %s\n", "NAME", "SIZE", "LICENCE", "DESCRIPTION");
    for (size_t i = 0; i < model_names_count(); i++) {
        const struct model_name *row = model_names_row(i);
        char bytes[32], *path = model_names_path(row->name);
        if (!path)
            return CLI_FAILED;
        printf("%-14s %-10s %-11s %s\n%-14s %s: %s\n", row->name, cli_bytes_text(bytes, row->bytes),
               row->licence, row->description, "", access(path, R_OK) == 0 ? "here" : "not here",
               path);
        free(path);
    }
    return CLI_DONE;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct options options = {0};
    int status = cli_parse(command, argc, argv, &options);
    if (status != CLI_GO_ON)
        return status;
    if (!options.list)
        return cli_usage(command, "this version fetches no models itself: ./tools/fetch-models "
                                  "does; --list shows the names");
    if (options.common.n_arguments)
        return cli_usage(command, "unexpected argument '%s'", options.common.arguments[0]);
    return options.common.json ? list_json() : list_text();
}

static const struct cli_option own[] = {
    {"list", 0, NULL, "list the models that have a name, and where their files belong", CLI_FLAG,
     offsetof(struct options, list), 0, 0},
    CLI_OPTIONS_END,
};

const struct cli_command cmd_pull = {
    .name = "pull",
    .arguments = "[NAME...]",
    .summary = "List the models that have a name",
    .details = "Fetching is done by ./tools/fetch-models of the source tree.",
    .groups = CLI_JSON,
    .max_arguments = 1000,
    .options = own,
    .run = run,
};

#include "model_names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static const struct model_name names[] = {
    {"smollm2-135m", "SmolLM2-135M-Instruct, chat, English, Q4_1", "Apache-2.0", 98362432},
    {"minilm", "all-MiniLM-L6-v2, sentence vectors, F32", "Apache-2.0", 90898144},
    {"gemma3-270m", "Gemma 3 270M, Q4_K_M", "Gemma", 253113024},
};

size_t model_names_count(void)
{
    return sizeof names / sizeof *names;
}

const struct model_name *model_names_row(size_t index)
{
    return &names[index];
}

char *model_names_path(const char *name)
{
    char below[64];
    size_t size;
    snprintf(below, sizeof below, "models/%s.gguf", name);
    strata_status status = strata_home_path(below, NULL, 0, &size);
    if (status != STRATA_OK) {
        cli_fail(status);
        return NULL;
    }
    char *path = malloc(size + 1);
    if (path)
        strata_home_path(below, path, size + 1, &size);
    else
        cli_no_memory();
    return path;
}

static const struct model_name *find(const char *name)
{
    for (size_t i = 0; i < model_names_count(); i++)
        if (!strcmp(names[i].name, name))
            return &names[i];
    return NULL;
}

char *model_names_resolve(const char *model, int *status)
{
    const struct model_name *row = find(model);
    char *path = row ? model_names_path(model) : strdup(model);
    *status = CLI_FAILED;
    if (!path || access(path, F_OK) == 0)
        return path;
    if (row)
        cli_message("%s is not there (%s): fetch it with ./tools/fetch-models %s, or give the path "
                    "of a GGUF file",
                    model, path, model);
    else
        cli_message("%s: %s, and no model has this name: give the path of a GGUF file, or a name "
                    "that `strata pull --list` shows",
                    model, strerror(errno));
    free(path);
    return NULL;
}

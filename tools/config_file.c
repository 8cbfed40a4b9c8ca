/* Reading --config FILE (config_file.h). */
#include "config_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *config_file_read(const char *path, int *status)
{
    char *text;
    size_t size;
    json_error_t error;
    *status = cli_read_all(path, &text, &size);
    if (*status != CLI_DONE)
        return NULL;
    json_t *file = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    free(text);
    if (json_is_object(file))
        return file;
    if (file)
        cli_message("%s: expected one JSON object with the names of options", path);
    else
        cli_message("%s:%d:%d: %s", path, error.line, error.column, error.text);
    json_decref(file);
    *status = CLI_BAD_FILE;
    return NULL;
}

const char *config_file_text(const json_t *value, char number[32])
{
    if (json_is_string(value))
        return json_string_value(value);
    if (json_is_true(value))
        return "";
    if (!json_is_number(value))
        return NULL;
    if (json_is_integer(value))
        snprintf(number, 32, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        snprintf(number, 32, "%.17g", json_real_value(value));
    return number;
}

/* ---- Budgets ---- */

static int bad_budget(const char *path, const char *component, const char *what)
{
    cli_message("%s: budgets: %s: %s; expected " CLI_SIZES
                ", \"none\", or an object with \"host\", "
                "\"device\" and \"lender\"",
                path, component, what);
    return CLI_BAD_FILE;
}

/* A size, or "none". */
static bool read_limit(const json_t *value, uint64_t *out)
{
    char number[32];
    const char *text = config_file_text(value, number);
    if (text && strcmp(text, "none") == 0) {
        *out = STRATA_NO_LIMIT;
        return true;
    }
    return text && *text && cli_parse_bytes(text, out);
}

static int read_object(const char *path, const char *component, const json_t *value,
                       strata_budget *budget)
{
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item)
    {
        bool good = false;
        if (strcmp(key, "host") == 0)
            good = read_limit(item, &budget->host_bytes);
        else if (strcmp(key, "device") == 0)
            good = read_limit(item, &budget->device_bytes);
        else if (strcmp(key, "lender") == 0)
            good = (budget->lender = json_string_value(item)) != NULL;
        if (!good)
            return bad_budget(path, component, key);
    }
    return CLI_DONE;
}

/* What the default is, where there is one: the file changes what it says. */
static strata_budget default_budget(const char *component)
{
    size_t count;
    const strata_budget *all = strata_budgets_default(&count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(all[i].component, component) == 0)
            return all[i];
    return (strata_budget){component, STRATA_NO_LIMIT, STRATA_NO_LIMIT, NULL};
}

int config_file_budgets(const json_t *file, const char *path, strata_budget **out, size_t *count)
{
    json_t *budgets = json_object_get(file, "budgets"), *value;
    const char *component;
    int status = CLI_DONE;
    *out = NULL;
    *count = 0;
    if (!budgets)
        return CLI_DONE;
    if (!json_is_object(budgets))
        return bad_budget(path, "the value", "not an object");
    strata_budget *list = calloc(json_object_size(budgets) + 1, sizeof *list);
    if (!list)
        return cli_no_memory();
    json_object_foreach(budgets, component, value)
    {
        strata_budget *budget = &list[*count];
        *budget = default_budget(component);
        budget->component = component;
        if (json_is_object(value))
            status = read_object(path, component, value, budget);
        else if (!read_limit(value, &budget->host_bytes))
            status = bad_budget(path, component, "no size");
        if (status != CLI_DONE)
            break;
        ++*count;
    }
    if (status != CLI_DONE) {
        free(list);
        *count = 0;
        return status;
    }
    *out = list;
    return CLI_DONE;
}

#include "json_lines.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* Nine digits bring every float back; sums and times need no more. */
#define DUMP_FLAGS (JSON_COMPACT | JSON_REAL_PRECISION(10))

int json_print(json_t *object)
{
    if (!object)
        return cli_no_memory();
    char *text = json_dumps(object, DUMP_FLAGS);
    json_decref(object);
    if (!text)
        return cli_no_memory();
    bool written = cli_write(text, strlen(text)) && cli_write("\n", 1);
    free(text);
    return written ? CLI_DONE : CLI_FAILED;
}

json_t *json_text(const char *text, size_t size)
{
    size_t need = strata_utf8_repair(text, size, NULL, 0);
    char *valid = malloc(need + 1);
    if (!valid)
        return NULL;
    strata_utf8_repair(text, size, valid, need);
    json_t *string = json_stringn(valid, need);
    free(valid);
    return string;
}

json_t *json_push(json_t *array, json_t *item)
{
    if (array && json_array_append_new(array, item) == 0)
        return array;
    if (!array)
        json_decref(item);
    json_decref(array);
    return NULL;
}

json_t *json_ids(const int32_t *ids, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < count; i++)
        array = json_push(array, json_integer(ids[i]));
    return array;
}

json_t *json_lines_refuse(struct json_lines_error *error, strata_status status, const char *format,
                          ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
    error->status = status;
    return NULL;
}

json_t *json_lines_fail(struct json_lines_error *error, strata_status status)
{
    return json_lines_refuse(error, status, "%s", strata_last_error());
}

bool json_lines_text(const json_t *line, const char *name, const char **text, size_t *size,
                     struct json_lines_error *error)
{
    const json_t *value = json_object_get(line, name);
    if (!json_is_string(value)) {
        json_lines_refuse(error, STRATA_E_INVALID, "%s: %s", name,
                          value ? "not a string" : "missing");
        return false;
    }
    *text = json_string_value(value);
    *size = json_string_length(value);
    return true;
}

bool json_lines_ids(const json_t *line, const char *name, int32_t **ids, size_t *count,
                    struct json_lines_error *error)
{
    const json_t *value = json_object_get(line, name);
    if (!json_is_array(value)) {
        json_lines_refuse(error, STRATA_E_INVALID, "%s: %s", name,
                          value ? "not an array" : "missing");
        return false;
    }
    size_t n = json_array_size(value);
    int32_t *out = malloc((n ? n : 1) * sizeof *out);
    if (!out) {
        json_lines_refuse(error, STRATA_E_NOMEM, "out of memory");
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(value, i);
        json_int_t id = json_integer_value(item);
        if (!json_is_integer(item) || id < INT32_MIN || id > INT32_MAX) {
            json_lines_refuse(error, STRATA_E_INVALID, "%s[%zu]: not a token id", name, i);
            free(out);
            return false;
        }
        out[i] = (int32_t)id;
    }
    *ids = out;
    *count = n;
    return true;
}

static const char *code_name(strata_status status)
{
    switch (status) {
#define X(name, value, text) \
    case STRATA_##name:      \
        return #name;
        STRATA_STATUS_LIST(X)
#undef X
    }
    return "E_INTERNAL";
}

static json_t *error_object(const struct json_lines_error *error, size_t number)
{
    return json_pack("{s:{s:s, s:o, s:I}}", "error", "code", code_name(error->status), "message",
                     json_text(error->message, strlen(error->message)), "line", (json_int_t)number);
}

static json_t *answer_line(json_lines_fn *answer, void *user, const char *text, size_t size,
                           struct json_lines_error *error)
{
    json_error_t parse;
    json_t *line = json_loadb(text, size, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &parse);
    if (!line)
        return json_lines_refuse(error, STRATA_E_INVALID, "not JSON: %s (byte %d)", parse.text,
                                 parse.position);
    json_t *result = json_is_object(line)
                         ? answer(user, line, error)
                         : json_lines_refuse(error, STRATA_E_INVALID, "not a JSON object");
    json_decref(line);
    return result;
}

int json_lines_run(json_lines_fn *answer, void *user)
{
    char *text = NULL;
    size_t capacity = 0, number = 0;
    ssize_t got;
    int status = CLI_DONE;
    while ((got = getline(&text, &capacity, stdin)) >= 0) {
        size_t size = (size_t)got;
        if (size && text[size - 1] == '\n')
            size--;
        struct json_lines_error error = {.status = STRATA_E_NOMEM, .message = "out of memory"};
        json_t *result = answer_line(answer, user, text, size, &error);
        number++;
        if (!result && error.status == STRATA_E_CANCELLED) {
            status = CLI_INTERRUPTED;
            break;
        }
        if (!result) {
            result = error_object(&error, number);
            status = CLI_FAILED;
        }
        int printed = json_print(result);
        if (printed != CLI_DONE) {
            status = printed;
            break;
        }
    }
    if (got < 0 && !feof(stdin)) {
        status = errno == EINTR ? CLI_INTERRUPTED : errno == ENOMEM ? CLI_NO_MEMORY : CLI_FAILED;
        if (errno != EINTR)
            cli_message("standard input: %s", strerror(errno));
    }
    free(text);
    return status;
}

#include "json_lines.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

/* Nine digits bring every float back; sums and times need no more. */
#define DUMP_FLAGS (JSON_COMPACT | JSON_REAL_PRECISION(10))

int json_print(json_t *object)
{
    if (!object)
        return cli_no_memory();
    size_t size = json_dumpb(object, NULL, 0, DUMP_FLAGS);
    char *text = size ? malloc(size + 1) : NULL;
    if (text)
        json_dumpb(object, text, size, DUMP_FLAGS);
    json_decref(object);
    if (!text)
        return cli_no_memory();
    text[size] = '\n'; /* one write a line: an interruption leaves no half one */
    bool written = cli_write(text, size + 1);
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

/* ---- Lines of standard input ---- */

/* What has been read and not yet handed out. */
struct reader {
    char *data;
    size_t begin, seen, end, capacity; /* no newline in [begin, seen) */
    bool ended;
};

/* Reads once; false when it fails (errno). */
static bool read_more(struct reader *r)
{
    if (r->begin > 0) {
        memmove(r->data, r->data + r->begin, r->end - r->begin);
        r->seen -= r->begin;
        r->end -= r->begin;
        r->begin = 0;
    }
    if (r->end == r->capacity) {
        size_t capacity = r->capacity ? 2 * r->capacity : 65536;
        char *grown = realloc(r->data, capacity);
        if (!grown) {
            errno = ENOMEM;
            return false;
        }
        r->data = grown;
        r->capacity = capacity;
    }
    ssize_t got = read(STDIN_FILENO, r->data + r->end, r->capacity - r->end);
    while (got < 0 && errno == EAGAIN) { /* whoever made the pipe does not wait */
        struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
        if (poll(&input, 1, -1) < 0)
            return false;
        got = read(STDIN_FILENO, r->data + r->end, r->capacity - r->end);
    }
    if (got < 0)
        return false;
    r->ended = got == 0;
    r->end += (size_t)got;
    return true;
}

/* True when reading would not wait. */
static bool is_ready(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&input, 1, 0) > 0;
}

/* The next line, which stays valid until the next read; false: there is none (`ended`), it would
 * have to be waited for and `wait` is false, or reading failed (*failed is errno then). */
static bool next_line(struct reader *r, bool wait, const char **text, size_t *size, int *failed)
{
    for (;;) {
        char *newline = memchr(r->data + r->seen, '\n', r->end - r->seen);
        if (newline || (r->ended && r->begin < r->end)) {
            char *end = newline ? newline : r->data + r->end;
            *text = r->data + r->begin;
            *size = (size_t)(end - *text);
            r->begin = r->seen = (size_t)(end - r->data) + (newline != NULL);
            return true;
        }
        r->seen = r->end;
        if (r->ended || (!wait && !is_ready()))
            return false;
        if (!read_more(r)) {
            *failed = errno;
            return false;
        }
    }
}

/* ---- Batches ---- */

#define NO_OUTPUT (CLI_GO_ON - 1) /* an answer cannot be written */

static void parse_line(struct json_line *line, const char *text, size_t size)
{
    json_error_t parse;
    *line = (struct json_line){.error = {.status = STRATA_E_NOMEM, .message = "out of memory"}};
    line->parsed = json_loadb(text, size, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &parse);
    if (!line->parsed) {
        json_lines_refuse(&line->error, STRATA_E_INVALID, "not JSON: %s (byte %d)", parse.text,
                          parse.position);
    } else if (!json_is_object(line->parsed)) {
        json_lines_refuse(&line->error, STRATA_E_INVALID, "not a JSON object");
        json_decref(line->parsed);
        line->parsed = NULL;
    }
}

/* Prints the lines' answers; CLI_GO_ON, CLI_FAILED when one was refused, or what ends the run. */
static int print_lines(struct json_line *lines, size_t n, size_t number)
{
    int status = CLI_GO_ON, printed = CLI_DONE;
    for (size_t i = 0; i < n; i++) {
        struct json_line *line = &lines[i];
        json_decref(line->parsed);
        if (printed != CLI_DONE) {
            json_decref(line->result);
        } else if (!line->result && line->error.status == STRATA_E_CANCELLED) {
            printed = CLI_INTERRUPTED;
        } else {
            if (!line->result)
                status = CLI_FAILED;
            printed = json_print(line->result ? line->result
                                              : error_object(&line->error, number + i + 1));
        }
    }
    return printed == CLI_DONE ? status : printed == CLI_FAILED ? NO_OUTPUT : printed;
}

/* Reads up to `most` lines, as many as are there without waiting for more than the first. */
static size_t read_lines(struct reader *reader, struct json_line *lines, size_t most, int *failed)
{
    const char *text;
    size_t n = 0, size;
    while (n < most && next_line(reader, n == 0, &text, &size, failed))
        parse_line(&lines[n++], text, size);
    return n;
}

static int read_error(int error)
{
    if (error == EINTR)
        return CLI_INTERRUPTED;
    cli_message("standard input: %s", strerror(error));
    return error == ENOMEM ? CLI_NO_MEMORY : CLI_FAILED;
}

int json_lines_run_batches(json_lines_batch_fn *answer, void *user, size_t most)
{
    struct reader reader = {0};
    struct json_line *lines = malloc(most * sizeof *lines);
    if (!lines || !(reader.data = malloc(65536))) {
        free(lines);
        return cli_no_memory();
    }
    reader.capacity = 65536;
    int status = CLI_DONE;
    int failed = 0;
    for (size_t number = 0, n; (n = read_lines(&reader, lines, most, &failed)) > 0; number += n) {
        answer(user, lines, n);
        int printed = print_lines(lines, n, number);
        if (printed == CLI_FAILED) {
            status = CLI_FAILED;
        } else if (printed != CLI_GO_ON) {
            status = printed == NO_OUTPUT ? CLI_FAILED : printed;
            failed = 0;
            break;
        }
        if (failed)
            break;
    }
    if (failed)
        status = read_error(failed);
    free(reader.data);
    free(lines);
    return status;
}

struct single {
    json_lines_fn *answer;
    void *user;
};

static void answer_single(void *context, struct json_line *lines, size_t n)
{
    struct single *single = context;
    for (size_t i = 0; i < n; i++)
        if (lines[i].parsed)
            lines[i].result = single->answer(single->user, lines[i].parsed, &lines[i].error);
}

int json_lines_run(json_lines_fn *answer, void *user)
{
    struct single single = {answer, user};
    return json_lines_run_batches(answer_single, &single, 1);
}

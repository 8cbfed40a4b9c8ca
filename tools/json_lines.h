/* JSON for the commands: output of one object, and the loop over JSON lines. */
#ifndef STRATA_JSON_LINES_H
#define STRATA_JSON_LINES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "strata.h"

/* Prints the object on one line of stdout, flushes it, and drops the reference.  Returns CLI_DONE;
 * NULL means that there was no memory for it.  CLI_FAILED when it cannot be written, without a
 * message (cli_finish has it). */
int json_print(json_t *object);

/* A JSON string of any bytes: invalid UTF-8 becomes U+FFFD.  NULL: no memory. */
json_t *json_text(const char *text, size_t size);

/* Appends `item` to `array` and returns the array; NULL, with both freed, when either is NULL or
 * memory is short. */
json_t *json_push(json_t *array, json_t *item);

/* The ids as an array; NULL: no memory. */
json_t *json_ids(const int32_t *ids, size_t count);

/* What is wrong with a line. */
struct json_lines_error {
    strata_status status;
    char message[1024];
};

/* Fills *error (printf) and returns NULL. */
json_t *json_lines_refuse(struct json_lines_error *error, strata_status status, const char *format,
                          ...) __attribute__((format(printf, 3, 4)));
/* The same with the library's message. */
json_t *json_lines_fail(struct json_lines_error *error, strata_status status);

/* The text field `name` of a line, with its size (it may hold NUL), or the ids of an array field in
 * fresh memory.  False after filling *error. */
bool json_lines_text(const json_t *line, const char *name, const char **text, size_t *size,
                     struct json_lines_error *error);
bool json_lines_ids(const json_t *line, const char *name, int32_t **ids, size_t *count,
                    struct json_lines_error *error);

/* Answers one line: a new reference, or NULL with *error filled. */
typedef json_t *json_lines_fn(void *user, const json_t *line, struct json_lines_error *error);

/* A line of a batch: the object read, or NULL with *error filled; and what answers it. */
struct json_line {
    json_t *parsed;
    json_t *result; /* NULL: refused, *error says why */
    struct json_lines_error error;
};

/* Sets `result` (a new reference) or `error` of the lines that have been parsed. */
typedef void json_lines_batch_fn(void *user, struct json_line *lines, size_t n);

/* As json_lines_run, answering up to `most` lines together: those that can be read without waiting,
 * but the first. */
int json_lines_run_batches(json_lines_batch_fn *answer, void *user, size_t most);

/* Reads stdin to its end and prints one line for each line: the answer, or
 * {"error":{"code","message","line"}} with the line's number from 1 on.  Returns CLI_DONE,
 * CLI_FAILED when any line was refused, or the status of what ended it early (interruption, no
 * memory, unreadable input, unwritable output). */
int json_lines_run(json_lines_fn *answer, void *user);

#endif

/* strata logits: JSON lines of token ids to the logits of the next token. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "json_lines.h"

struct options {
    struct cli_common common;
    uint64_t top;
    const char *pick;
};

struct job {
    struct cli_engine engine;
    size_t vocab, top, n_pick;
    int32_t *pick;
};

/* Reads "1,2,3" into job->pick; CLI_GO_ON, or the exit status. */
static int read_pick(const struct cli_command *command, struct job *job, const char *list)
{
    if (!list)
        return CLI_GO_ON;
    job->pick = malloc((strlen(list) / 2 + 1) * sizeof *job->pick);
    if (!job->pick)
        return cli_no_memory();
    const char *at = list;
    do {
        at += job->n_pick > 0;
        char *end;
        errno = 0;
        unsigned long id = strtoul(at, &end, 10);
        if (*at < '0' || *at > '9' || errno || id >= job->vocab || (*end && *end != ','))
            return cli_usage(command, "--pick: '%s' is not a list of token ids below %zu", list,
                             job->vocab);
        job->pick[job->n_pick++] = (int32_t)id;
        at = end;
    } while (*at);
    return CLI_GO_ON;
}

static json_t *pair(const float *logits, int32_t id)
{
    return json_pack("[i, f]", (int)id, (double)logits[id]);
}

struct ranked {
    int32_t id;
    float logit;
};

static int better_first(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* The `n` largest, best first, equals by lower id. */
static json_t *largest(const float *logits, size_t vocab, size_t n)
{
    struct ranked *all = malloc(vocab * sizeof *all);
    if (!all)
        return NULL;
    for (size_t i = 0; i < vocab; i++)
        all[i] = (struct ranked){.id = (int32_t)i, .logit = logits[i]};
    qsort(all, vocab, sizeof *all, better_first);
    json_t *array = json_array();
    for (size_t i = 0; array && i < n; i++)
        array = json_push(array, pair(logits, all[i].id));
    free(all);
    return array;
}

static json_t *describe(const struct job *job, const float *logits, struct json_lines_error *error)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < job->vocab; i++) {
        if (!isfinite(logits[i]))
            return json_lines_refuse(error, STRATA_E_INTERNAL, "logit %zu is not finite", i);
        sum += (double)logits[i];
    }
    double mean = sum / (double)job->vocab;
    for (size_t i = 0; i < job->vocab; i++)
        squares += ((double)logits[i] - mean) * ((double)logits[i] - mean);
    json_t *result = json_pack("{s:o, s:f, s:f}", "top", largest(logits, job->vocab, job->top),
                               "mean", mean, "std", sqrt(squares / (double)job->vocab));
    if (!result || !job->pick)
        return result;
    json_t *picked = json_array();
    for (size_t i = 0; picked && i < job->n_pick; i++)
        picked = json_push(picked, pair(logits, job->pick[i]));
    if (json_object_set_new(result, "picked", picked) == 0)
        return result;
    json_decref(result);
    return NULL;
}

static json_t *answer(void *user, const json_t *line, struct json_lines_error *error)
{
    struct job *job = user;
    strata_session *session = job->engine.session;
    int32_t *ids;
    size_t count;
    if (!json_lines_ids(line, "ids", &ids, &count, error))
        return NULL;
    strata_status status = strata_session_truncate(session, 0);
    if (status == STRATA_OK)
        status = strata_session_eval(session, ids, count, STRATA_LOGITS_LAST);
    free(ids);
    if (status != STRATA_OK)
        return json_lines_fail(error, status);
    return describe(job, strata_session_logits(session, 0), error);
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct options options = {.top = 10};
    int status = cli_parse(command, argc, argv, &options);
    if (status != CLI_GO_ON)
        return status;
    struct job job = {0};
    status = cli_engine_open(&job.engine, &options.common);
    if (status == CLI_DONE) {
        job.vocab = strata_model_info_get(job.engine.model).vocab;
        job.top = options.top < job.vocab ? (size_t)options.top : job.vocab;
        status = read_pick(command, &job, options.pick);
        if (status == CLI_GO_ON)
            status = json_lines_run(answer, &job);
    }
    free(job.pick);
    cli_engine_close(&job.engine);
    return status;
}

static const struct cli_option own[] = {
    {"top", 0, "N", "how many of the largest logits to print (default 10)", CLI_NUMBER,
     offsetof(struct options, top), 0, 2147483647},
    {"pick", 0, "ID,ID,...", "print the logits of these tokens too", CLI_TEXT,
     offsetof(struct options, pick), 0, 0},
    CLI_OPTIONS_END,
};

const struct cli_command cmd_logits = {
    .name = "logits",
    .arguments = "",
    .summary = "Print the next token's logits for token ids, as JSON lines",
    .details = "Reads lines {\"ids\":[...]} on standard input and prints {\"top\":[[id,logit],...],"
               "\n\"mean\",\"std\"} for each; nothing is added to the ids.",
    .groups = CLI_MODEL | CLI_RUN | CLI_CONTEXT,
    .options = own,
    .run = run,
};

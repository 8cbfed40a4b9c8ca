/* strata facts ask: what a query or JSON lines find. */
#include <string.h>

#include "facts_job.h"
#include "facts_json.h"
#include "json_lines.h"

#define LINES_TOGETHER 32
#define LIMIT_TOGETHER 1000 /* facts of each, as all are held */

strata_facts_query facts_query_of(const struct facts_options *options)
{
    strata_facts_query query;
    strata_facts_query_default(&query);
    query.limit = options->limit;
    query.offset = options->offset;
    query.deadline_ms = options->deadline_ms;
    query.subject = options->entity;
    query.predicate = options->predicate;
    query.object = options->object;
    if (options->common.n_arguments > 2)
        query.question = options->common.arguments[2];
    query.max_tier = (int)options->max_tier;
    query.explain = options->explain;
    return query;
}

/* Says once that questions find nothing without vectors. */
static void say_without_vectors(struct facts_job *job)
{
    if (!strata_facts_has_vectors(job->facts) && !job->question_seen && !job->options->common.quiet)
        cli_message("questions find nothing without vectors: make them with strata facts index");
    job->question_seen = true;
}

/* Finds exactly first, so that vectors are only opened for what needs them.  CLI_DONE and *status,
 * or the exit status after a message. */
static int find(struct facts_job *job, strata_facts_query query, strata_status *status,
                strata_facts_result **result)
{
    const int max_tier = query.max_tier;
    const bool linkable = query.subject && query.predicate && !query.object;
    if (query.question && max_tier >= 3) {
        int opened = facts_use_vectors(job);
        if (opened != CLI_DONE)
            return opened;
        say_without_vectors(job);
    }
    if (max_tier > 0 && linkable && (!job->model_tried || job->model_status != CLI_DONE)) {
        query.max_tier = 0;
        *status = strata_facts_find(job->facts, &query, result);
        if (*status != STRATA_OK || strata_facts_result_answer(*result).tier >= 0)
            return CLI_DONE;
        strata_facts_result_free(result);
        int opened = facts_use_vectors(job);
        if (opened != CLI_DONE)
            return opened;
        query.max_tier = max_tier;
    }
    *status = strata_facts_find(job->facts, &query, result);
    return CLI_DONE;
}

/* ---- Lines ---- */

/* A field of a line that is a text without NUL, or missing (NULL); false after filling *error. */
static bool field(const json_t *line, const char *name, const char **text,
                  struct json_lines_error *error)
{
    size_t size;
    *text = NULL;
    if (!json_object_get(line, name))
        return true;
    if (!json_lines_text(line, name, text, &size, error))
        return false;
    if (strlen(*text) == size)
        return true;
    json_lines_refuse(error, STRATA_E_INVALID, "%s: a name holds no U+0000", name);
    return false;
}

/* An object with the id of a line, where it has one; NULL after freeing it: no memory. */
static json_t *with_id(json_t *object, const json_t *id)
{
    if (!object || !id || json_object_set(object, "id", (json_t *)(uintptr_t)id) == 0)
        return object;
    json_decref(object);
    return NULL;
}

/* A line and what it asks. */
struct asked {
    struct json_line *line;
    strata_facts_query query;
    strata_facts_result *result;
};

/* The query of a line; false after filling its error. */
static bool read_query(const struct facts_job *job, struct json_line *line,
                       strata_facts_query *query)
{
    *query = facts_query_of(job->options);
    if (!field(line->parsed, "question", &query->question, &line->error) ||
        !field(line->parsed, "entity", &query->subject, &line->error) ||
        !field(line->parsed, "predicate", &query->predicate, &line->error) ||
        !field(line->parsed, "object", &query->object, &line->error))
        return false;
    if (query->question || query->subject || query->predicate || query->object)
        return true;
    json_lines_refuse(&line->error, STRATA_E_INVALID,
                      "question, entity, predicate and object are missing: one is needed");
    return false;
}

static void set_result(struct json_line *line, json_t *object)
{
    line->result = with_id(object, json_object_get(line->parsed, "id"));
    if (!line->result)
        json_lines_refuse(&line->error, STRATA_E_NOMEM, "out of memory");
}

/* What was found for a line, or the library's error. */
static void answer(const struct facts_job *job, struct asked *asked, strata_status status)
{
    if (status == STRATA_OK)
        set_result(asked->line, facts_json(asked->result, job->options->explain));
    else
        json_lines_fail(&asked->line->error, status);
    strata_facts_result_free(&asked->result);
}

/* Answers one line, and opens the vectors when it needs them. */
static void answer_single(struct facts_job *job, struct asked *asked)
{
    strata_status status;
    if (find(job, asked->query, &status, &asked->result) == CLI_DONE)
        answer(job, asked, status);
    else
        json_lines_refuse(&asked->line->error, STRATA_E_IO, "the model of vectors cannot be used");
}

/* Answers lines together; all of them, or those up to the first that fails.  Returns how many. */
static size_t answer_many(struct facts_job *job, struct asked *asked, size_t n)
{
    strata_facts_query queries[LINES_TOGETHER];
    strata_facts_result *results[LINES_TOGETHER];
    for (size_t i = 0; i < n; i++)
        queries[i] = asked[i].query;
    const strata_status status = strata_facts_find_many(job->facts, queries, n, results);
    size_t done = 0;
    for (; done < n && results[done]; done++) {
        asked[done].result = results[done];
        answer(job, &asked[done], STRATA_OK);
    }
    if (status != STRATA_OK)
        answer(job, &asked[done++], status);
    return done;
}

static void answer_lines(void *user, struct json_line *lines, size_t n)
{
    struct facts_job *job = user;
    struct asked asked[LINES_TOGETHER];
    size_t n_asked = 0;
    for (size_t i = 0; i < n; i++) {
        if (!lines[i].parsed)
            continue;
        asked[n_asked].line = &lines[i];
        asked[n_asked].result = NULL;
        n_asked += read_query(job, &lines[i], &asked[n_asked].query);
    }
    for (size_t i = 0; i < n_asked;) {
        if (job->model_tried && job->model_status == CLI_DONE)
            i += answer_many(job, asked + i, n_asked - i);
        else
            answer_single(job, &asked[i++]);
    }
}

/* Lines are answered together unless each has its deadline, or may have very many facts. */
static int ask_lines(struct facts_job *job)
{
    const struct facts_options *options = job->options;
    const bool together =
        options->deadline_ms <= 0 && options->limit > 0 && options->limit <= LIMIT_TOGETHER;
    return json_lines_run_batches(answer_lines, job, together ? LINES_TOGETHER : 1);
}

int facts_ask(struct facts_job *job)
{
    const struct facts_options *options = job->options;
    const strata_facts_query query = facts_query_of(options);
    strata_facts_result *result;
    const bool names = query.subject || query.predicate || query.object;
    if (query.question && names)
        return cli_usage(job->command, "a question is asked alone, without --entity, --predicate "
                                       "and --object");
    if (!query.question && !names)
        return ask_lines(job);
    strata_status status;
    int done = find(job, query, &status, &result);
    if (done != CLI_DONE)
        return done;
    if (status != STRATA_OK)
        return cli_fail(status);
    const bool late = strata_facts_result_answer(result).timed_out;
    if (options->common.json)
        done = json_print(facts_json(result, options->explain));
    else {
        if (options->explain)
            facts_print_explanation(result);
        facts_print(result);
    }
    strata_facts_result_free(&result);
    return done == CLI_DONE && late ? CLI_DEADLINE : done;
}

/* strata facts ask: what a query or JSON lines find. */
#include <string.h>

#include "facts_job.h"
#include "facts_json.h"
#include "json_lines.h"

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
    query.max_tier = (int)options->max_tier;
    query.explain = options->explain;
    return query;
}

/* Finds exactly first, so that vectors are only opened for what needs them.  CLI_DONE and *status,
 * or the exit status after a message. */
static int find(struct facts_job *job, strata_facts_query query, strata_status *status,
                strata_facts_result **result)
{
    const int max_tier = query.max_tier;
    const bool linkable = query.subject && query.predicate && !query.object;
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

/* Questions are for tier 3: below it nothing is found for them, which is said once. */
static json_t *answer_question(struct facts_job *job, const json_t *id)
{
    if (!job->question_seen && !job->options->common.quiet)
        cli_message(
            "this version finds nothing for questions; ask by entity, predicate and object");
    job->question_seen = true;
    return with_id(
        json_pack("{s:[], s:i, s:f, s:b}", "facts", "tier", -1, "latency_ms", 0.0, "complete", 0),
        id);
}

/* The facts of a line's names. */
static json_t *answer_names(struct facts_job *job, const json_t *line, const json_t *id,
                            struct json_lines_error *error)
{
    strata_facts_query query = facts_query_of(job->options);
    strata_facts_result *result;
    strata_status status;
    if (!field(line, "entity", &query.subject, error) ||
        !field(line, "predicate", &query.predicate, error) ||
        !field(line, "object", &query.object, error))
        return NULL;
    if (!query.subject && !query.predicate && !query.object)
        return json_lines_refuse(error, STRATA_E_INVALID,
                                 "entity, predicate and object are missing: one is needed");
    if (find(job, query, &status, &result) != CLI_DONE)
        return json_lines_refuse(error, STRATA_E_IO, "the model of vectors cannot be used");
    if (status != STRATA_OK)
        return json_lines_fail(error, status);
    json_t *object = with_id(facts_json(result, job->options->explain), id);
    strata_facts_result_free(&result);
    return object ? object : json_lines_refuse(error, STRATA_E_NOMEM, "out of memory");
}

static json_t *answer_line(void *user, const json_t *line, struct json_lines_error *error)
{
    struct facts_job *job = user;
    const json_t *id = json_object_get(line, "id");
    const char *question;
    if (!field(line, "question", &question, error))
        return NULL;
    if (!question)
        return answer_names(job, line, id, error);
    json_t *object = answer_question(job, id);
    return object ? object : json_lines_refuse(error, STRATA_E_NOMEM, "out of memory");
}

int facts_ask(struct facts_job *job)
{
    const struct facts_options *options = job->options;
    const strata_facts_query query = facts_query_of(options);
    strata_facts_result *result;
    if (options->common.n_arguments > 2)
        return cli_usage(job->command, "questions: this version reads none; ask with --entity, "
                                       "--predicate and --object");
    if (!query.subject && !query.predicate && !query.object)
        return json_lines_run(answer_line, job);
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
            facts_print_candidates(result);
        facts_print(result);
    }
    strata_facts_result_free(&result);
    return done == CLI_DONE && late ? CLI_DEADLINE : done;
}

/* find_facts: a pattern's triples, exactly or by tiers 1 to 3, with their texts and labels. */
#include <math.h>
#include <string.h>

#include "answer_cache.h"
#include "deadline.h"
#include "facts_result.h"
#include "memory.h"
#include "pattern.h"
#include "predicate_texts.h"
#include "store_batch.h"
#include "tier1_link.h"
#include "tier2_expand.h"
#include "tier3_find.h"

#define ROWS_A_LOOK 256  /* rows between two looks at the clock */
#define LINES_LEAST 512  /* bytes of text that there is room for from the start */
#define ENTITIES_MOST 10 /* of tier 1, whose facts are given */
#define QUESTION_MS 500  /* that tier 3 takes at most, where the query says nothing */
#define SHARE_LEAST 0.02 /* of the best one's score, that the others have at least */

void strata_facts_query_default(strata_facts_query *query)
{
    *query = (strata_facts_query){.size = sizeof *query, .limit = 1000, .max_tier = 3};
}

/* ---- Finding ---- */

struct find {
    const strata_facts_query *query;
    double deadline;
    uint64_t seen;
    struct strata__bytes rows;            /* struct strata__row */
    struct strata__candidate *candidates; /* of tier 1, best first */
    size_t n_candidates;
    struct strata__tier2 tier2;
    struct strata__tier3 tier3;
    double tier_ms[STRATA_FACTS_TIERS]; /* what each took */
    strata_facts_answer answer;
    struct strata__bytes *text; /* strata_facts_find_text: what is found goes there, else NULL */
};

static bool is_late(const struct find *find)
{
    return find->deadline < INFINITY && strata__now_ms() > find->deadline;
}

static strata_status take_row(void *user, const struct strata__row *row, bool *stop)
{
    struct find *find = user;
    const strata_facts_query *query = find->query;
    const uint64_t n = find->seen++;
    if (n % ROWS_A_LOOK == 0 && is_late(find)) {
        find->answer.timed_out = true;
        *stop = true;
        return STRATA_OK;
    }
    if (n < query->offset)
        return STRATA_OK;
    if (query->limit && n - query->offset >= query->limit) {
        find->answer.complete = false;
        *stop = true;
        return STRATA_OK;
    }
    return strata__bytes_append(&find->rows, row, sizeof *row);
}

/* Row `index` of those that are given. */
static void set_score(const struct find *find, strata_fact *fact, size_t index)
{
    const struct strata__row *row =
        (const struct strata__row *)(const void *)find->rows.data + index;
    if (find->tier3.facts.size) {
        const struct strata__tier3_fact *found = (const void *)find->tier3.facts.data;
        found += find->query->offset + index;
        fact->score = found->score;
        fact->why = found->proof ? STRATA__WHY_CHAIN : STRATA__WHY_ANSWER;
        return;
    }
    const struct strata__meant *meant = strata__tier2_meant(&find->tier2, row);
    fact->score = meant ? meant->score : 1;
    fact->why = meant ? meant->why : NULL;
    for (size_t i = 0; i < find->n_candidates && i < ENTITIES_MOST; i++)
        if (find->candidates[i].id == row->a) {
            fact->score = find->candidates[i].score;
            fact->why = strata__candidate_why(&find->candidates[i]);
        }
}

/* The line of a term in the text: neighbours often share terms. */
struct shown_term {
    strata__id id;
    size_t at, size;
};

/* Appends the term as N-Triples write it, and the end of a line; the line before's bytes where that
 * is of the same term. */
static strata_status write_line(struct strata__txn *txn, strata__id id, struct shown_term *before,
                                struct strata__bytes *text)
{
    MDB_val bytes;
    struct strata__term term;
    if (id == before->id) {
        STRATA_TRY(strata__bytes_reserve(text, before->size));
        memcpy(text->data + text->size, text->data + before->at, before->size);
        text->size += before->size;
        return STRATA_OK;
    }
    before->id = id;
    before->at = text->size;
    STRATA_TRY(strata__store_term(txn, id, &bytes));
    if (!strata__term_decode(bytes.mv_data, bytes.mv_size, &term))
        return strata__store_fail(txn->facts, MDB_CORRUPTED, "reading a term");
    STRATA_TRY(strata__term_write(&term, text));
    STRATA_TRY(strata__bytes_append(text, "\n", 1));
    before->size = text->size - before->at;
    return STRATA_OK;
}

/* The facts that the rows are: neighbours often share terms. */
static strata_status fill_facts(struct find *find, struct strata__txn *txn,
                                strata_facts_result *result)
{
    const struct strata__row *rows = (const void *)find->rows.data;
    const size_t n = find->rows.size / sizeof *rows;
    STRATA_TRY(strata__calloc(&result->facts, n, sizeof *result->facts, "facts"));
    for (size_t i = 0; i < n; i++) {
        strata_fact *fact = &result->facts[i];
        const strata_fact *before = i ? fact - 1 : NULL;
        if (i % ROWS_A_LOOK == ROWS_A_LOOK - 1 && is_late(find)) {
            find->answer.timed_out = true;
            break;
        }
        set_score(find, fact, i);
        if (before && before->subject.id == rows[i].a)
            fact->subject = before->subject;
        else
            STRATA_TRY(strata__result_term(result, txn, rows[i].a, &fact->subject));
        if (before && before->predicate.id == rows[i].b)
            fact->predicate = before->predicate;
        else
            STRATA_TRY(strata__result_term(result, txn, rows[i].b, &fact->predicate));
        if (before && before->object.id == rows[i].c)
            fact->object = before->object;
        else
            STRATA_TRY(strata__result_term(result, txn, rows[i].c, &fact->object));
        find->answer.n_facts = i + 1;
    }
    return STRATA_OK;
}

/* Appends the terms that the rows are, a line each, but no more facts than the deadline lets. */
static strata_status write_facts(struct find *find, struct strata__txn *txn)
{
    const struct strata__row *rows = (const void *)find->rows.data;
    const size_t n = find->rows.size / sizeof *rows;
    struct shown_term before[3] = {0};
    STRATA_TRY(strata__bytes_reserve(find->text, LINES_LEAST));
    for (size_t i = 0; i < n; i++) {
        if (i % ROWS_A_LOOK == ROWS_A_LOOK - 1 && is_late(find)) {
            find->answer.timed_out = true;
            break;
        }
        STRATA_TRY(write_line(txn, rows[i].a, &before[0], find->text));
        STRATA_TRY(write_line(txn, rows[i].b, &before[1], find->text));
        STRATA_TRY(write_line(txn, rows[i].c, &before[2], find->text));
        find->answer.n_facts = i + 1;
    }
    return STRATA_OK;
}

/* ---- Tier 1 ---- */

/* A name, and no term as N-Triples write it. */
static bool is_name(const char *text)
{
    return *text && *text != '<' && *text != '"' && strncmp(text, "_:", 2) != 0;
}

/* Facts of the entities that the subject's name may mean. */
static strata_status find_linked(struct find *find, struct strata__txn *txn,
                                 const struct strata__pattern *pattern)
{
    bool whole;
    STRATA_TRY(strata__tier1_link(txn, find->query->subject, &pattern->subject, &pattern->predicate,
                                  find->deadline, &find->candidates, &find->n_candidates, &whole));
    find->answer.timed_out = !whole;
    find->seen = 0;
    struct strata__pattern one = *pattern;
    one.subject.n = 1;
    if (find->n_candidates && find->candidates[0].score < strata__tier1_least)
        return STRATA_OK; /* none of them is likely to be meant */
    for (size_t i = 0; i < find->n_candidates && i < ENTITIES_MOST && !is_late(find); i++) {
        if (find->candidates[i].score < SHARE_LEAST * find->candidates[0].score)
            break;
        one.subject.ids = &find->candidates[i].id;
        STRATA_TRY(strata__pattern_walk(txn, &one, take_row, find));
    }
    find->answer.tier = 1;
    return STRATA_OK;
}

/* Whether tier 1 may help where tier 0 found nothing. */
static bool may_link(const struct find *find, const struct strata__pattern *pattern)
{
    const strata_facts_query *query = find->query;
    return query->max_tier >= 1 && find->seen == 0 && !find->answer.timed_out && query->subject &&
           is_name(query->subject) && query->predicate && pattern->predicate.n > 0 &&
           !query->object;
}

/* ---- Tier 2 ---- */

/* Whether the predicate is a phrase that names none of the graph's: what is named is not expanded.
 */
static strata_status may_expand(const struct find *find, struct strata__txn *txn,
                                const struct strata__pattern *pattern, bool *may)
{
    const strata_facts_query *query = find->query;
    *may = query->max_tier >= 2 && find->seen == 0 && !find->answer.timed_out && query->subject &&
           query->predicate && is_name(query->predicate) && !query->object;
    for (size_t i = 0; i < pattern->predicate.n && *may; i++) {
        bool used;
        STRATA_TRY(strata__is_predicate(txn, pattern->predicate.ids[i], &used));
        *may = !used;
    }
    return STRATA_OK;
}

/* Facts of the predicates that the phrase may mean. */
static strata_status find_expanded(struct find *find, struct strata__txn *txn,
                                   const struct strata__pattern *pattern)
{
    const strata_facts_query *query = find->query;
    STRATA_TRY(strata__tier2_find(txn, is_name(query->subject) ? query->subject : NULL,
                                  query->predicate, &pattern->subject, find->deadline,
                                  query->explain, &find->tier2));
    find->answer.timed_out = !find->tier2.whole;
    find->answer.tier = 2;
    return strata__tier2_walk(txn, &find->tier2, take_row, find);
}

/* ---- Tier 3 ---- */

static strata_status find_chains(struct find *find, struct strata__txn *txn)
{
    const strata_facts_query *query = find->query;
    bool stop = false;
    if (query->max_tier < 3)
        return STRATA_OK;
    const double start = strata__now_ms();
    STRATA_TRY(
        strata__chains_cached(txn, query->question, query->explain, find->deadline, &find->tier3));
    find->tier_ms[3] = strata__now_ms() - start;
    const struct strata__tier3_fact *facts = (const void *)find->tier3.facts.data;
    const double deadline = find->deadline;
    find->deadline = INFINITY; /* what was found until it came is given */
    for (size_t i = 0; i < find->tier3.facts.size / sizeof *facts && !stop; i++)
        STRATA_TRY(take_row(find, &facts[i].row, &stop));
    find->deadline = deadline;
    find->answer.timed_out = !find->tier3.whole;
    find->answer.count = find->tier3.count;
    find->answer.complete = find->answer.complete && !find->tier3.more;
    find->answer.tier = 3;
    return STRATA_OK;
}

static strata_status explain(const struct find *find, struct strata__txn *txn,
                             strata_facts_result *result)
{
    const struct strata__tier2 *tier2 = &find->tier2;
    if (find->query->question)
        return strata__result_chains(&find->tier3, txn, result);
    STRATA_TRY(strata__result_expansions(tier2, txn, result));
    if (tier2->n_candidates)
        return strata__result_candidates(tier2->candidates, tier2->n_candidates, txn, result);
    return strata__result_candidates(find->candidates, find->n_candidates, txn, result);
}

/* ---- All of it ---- */

/* What the names and terms of a query find. */
static strata_status find_pattern(struct find *find, struct strata__txn *txn)
{
    struct strata__pattern pattern = {0};
    bool expand = false;
    const double start = strata__now_ms();
    strata_status status = strata__pattern_read(txn, find->query, &pattern);
    if (status == STRATA_OK)
        status = strata__pattern_walk(txn, &pattern, take_row, find);
    if (status == STRATA_OK)
        status = may_expand(find, txn, &pattern, &expand);
    const bool link = status == STRATA_OK && !expand && may_link(find, &pattern);
    const double found = strata__now_ms();
    if (status == STRATA_OK && expand)
        status = find_expanded(find, txn, &pattern);
    else if (link)
        status = find_linked(find, txn, &pattern);
    find->tier_ms[0] = found - start;
    if (expand || link)
        find->tier_ms[expand ? 2 : 1] = strata__now_ms() - found;
    strata__pattern_free(&pattern);
    return status;
}

static strata_status find_anew(struct strata__txn *txn, struct find *find,
                               strata_facts_result *result)
{
    strata_status status = find->query->question ? find_chains(find, txn) : find_pattern(find, txn);
    if (status == STRATA_OK)
        status = find->text ? write_facts(find, txn) : fill_facts(find, txn, result);
    if (result) {
        result->lm = find->tier2.lm;
        memcpy(result->tier_ms, find->tier_ms, sizeof result->tier_ms);
    }
    if (status == STRATA_OK && result && find->query->explain)
        status = explain(find, txn, result);
    find->answer.complete = find->answer.complete && !find->answer.timed_out;
    if (find->answer.n_facts == 0)
        find->answer.tier = -1;
    return status;
}

/* Finds what a query means, or what is known of it; `start`: when it came. */
static strata_status find_in(strata_facts *facts, struct find *find, double start,
                             strata_facts_result *result)
{
    struct strata__txn txn;
    STRATA_TRY(strata__txn_begin(facts, false, &txn));
    strata_status status = STRATA_OK;
    if (!strata__answer_get(&txn, find->query, find->text, result, &find->answer)) {
        status = find_anew(&txn, find, result);
        if (status == STRATA_OK)
            strata__answer_put(&txn, find->query, find->text, result, &find->answer,
                               strata__now_ms() - start);
    }
    strata__txn_abort(&txn);
    return status;
}

/* Finds, and puts what is found into the result, or appends it to the text; before_ms: what was
 * done for it before, together with others. */
static strata_status find(strata_facts *facts, const strata_facts_query *query, double before_ms,
                          strata_facts_result *result, struct strata__bytes *text,
                          strata_facts_answer *answer)
{
    const double start = strata__now_ms() - before_ms;
    const double ms = query->deadline_ms > 0 ? query->deadline_ms
                      : query->question      ? QUESTION_MS
                                             : INFINITY;
    struct find work = {
        .query = query, .text = text, .deadline = start + ms, .answer = {.complete = true}};
    strata_status status = find_in(facts, &work, start, result);
    strata__bytes_free(&work.rows);
    strata__free(work.candidates);
    strata__tier2_free(&work.tier2);
    strata__tier3_free(facts, &work.tier3);
    work.answer.latency_ms = strata__now_ms() - start;
    *answer = work.answer;
    return status;
}

static strata_status check_query(const strata_facts_query *query)
{
    if (query->size != sizeof *query)
        return strata__fail(STRATA_E_INVALID, "query->size: %zu, expected %zu", query->size,
                            sizeof *query);
    if (query->max_tier < 0 || query->max_tier > 3)
        return strata__fail(STRATA_E_INVALID, "query->max_tier: %d, expected 0 to 3",
                            query->max_tier);
    if (query->question && (query->subject || query->predicate || query->object))
        return strata__fail(STRATA_E_INVALID,
                            "query->question: it is asked alone, without subject, "
                            "predicate and object");
    if (!(query->deadline_ms >= 0)) /* nor NaN */
        return strata__fail(STRATA_E_INVALID, "query->deadline_ms: %g, expected 0 or more",
                            query->deadline_ms);
    return STRATA_OK;
}

static strata_status find_one(strata_facts *facts, const strata_facts_query *query,
                              double before_ms, strata_facts_result **out)
{
    strata_facts_result *result = NULL;
    *out = NULL;
    STRATA_TRY(check_query(query));
    struct strata__scope before = strata__scope_set(facts->scope);
    strata_status status = strata__calloc(&result, 1, sizeof *result, "facts");
    if (status == STRATA_OK)
        status = find(facts, query, before_ms, result, NULL, &result->answer);
    if (status != STRATA_OK)
        strata_facts_result_free(&result);
    strata__scope_set(before);
    *out = result;
    return status;
}

strata_status strata_facts_find(strata_facts *facts, const strata_facts_query *query,
                                strata_facts_result **out)
{
    return find_one(facts, query, 0, out);
}

strata_status strata_facts_find_text(strata_facts *facts, const strata_facts_query *query,
                                     char *text, size_t capacity, size_t *size,
                                     strata_facts_answer *answer)
{
    struct strata__bytes lines = {0};
    strata_facts_answer found;
    *size = 0;
    STRATA_TRY(check_query(query));
    struct strata__scope before = strata__scope_set(facts->scope);
    strata_status status = find(facts, query, 0, NULL, &lines, &found);
    if (status == STRATA_OK) {
        const size_t n = lines.size < capacity ? lines.size : capacity - (capacity > 0);
        if (n)
            memcpy(text, lines.data, n);
        if (capacity)
            text[n] = '\0';
        *size = lines.size;
        if (answer)
            *answer = found;
    }
    strata__bytes_free(&lines);
    strata__scope_set(before);
    return status;
}

/* ---- Several ---- */

/* What the model will be asked for: a mention, of tier 1, and a phrase, of tier 2; or NULL. */
struct asked {
    const char *mention, *phrase;
};

static strata_status asked_of(struct strata__txn *txn, const strata_facts_query *query,
                              struct asked *asked)
{
    strata_facts_query any = *query;
    struct find work = {.query = &any, .deadline = INFINITY};
    struct strata__pattern pattern = {0};
    bool known = false, expands = false;
    if (query->question)
        return STRATA_OK;
    any.offset = 0;
    any.limit = 1;
    if (strata__answer_known(txn, query))
        return STRATA_OK;
    strata_status status = strata__pattern_read(txn, &any, &pattern);
    if (status == STRATA_OK)
        status = strata__pattern_walk(txn, &pattern, take_row, &work);
    if (status == STRATA_OK)
        status = may_expand(&work, txn, &pattern, &expands);
    const bool links = status == STRATA_OK && !expands && may_link(&work, &pattern);
    if (links)
        status = strata__tier1_is_known(txn, &pattern.subject, &pattern.predicate, &known);
    const bool unknown = expands && pattern.subject.n == 0 && is_name(query->subject);
    if (status == STRATA_OK) {
        asked->mention = (links && !known) || unknown ? query->subject : NULL;
        asked->phrase = expands ? query->predicate : NULL;
    }
    strata__bytes_free(&work.rows);
    strata__pattern_free(&pattern);
    return status;
}

/* Does together what the model is needed for, and says of which queries that was (`asked`), and
 * how long it took for each.  What fails here fails again, and is reported, when the query's turn
 * comes. */
static double prepare(strata_facts *facts, const strata_facts_query *queries, size_t n,
                      bool asked[STRATA__ASKED_TOGETHER])
{
    const double start = strata__now_ms();
    const char *mentions[STRATA__ASKED_TOGETHER], *phrases[STRATA__ASKED_TOGETHER];
    struct strata__txn txn;
    size_t n_mentions = 0, n_phrases = 0, found = 0;
    memset(asked, 0, n * sizeof *asked);
    if (!strata__tier1_prepares(facts) || n < 2 ||
        strata__txn_begin(facts, false, &txn) != STRATA_OK)
        return 0;
    for (size_t i = 0; i < n; i++) {
        struct asked one = {NULL, NULL};
        if (check_query(&queries[i]) != STRATA_OK || asked_of(&txn, &queries[i], &one) != STRATA_OK)
            continue;
        if (one.mention)
            mentions[n_mentions++] = one.mention;
        if (one.phrase)
            phrases[n_phrases++] = one.phrase;
        asked[i] = one.mention || one.phrase;
        found += asked[i];
    }
    if (found > 1)
        strata__tier1_prepare(&txn, mentions, n_mentions, phrases, n_phrases);
    strata__txn_abort(&txn);
    return found ? (strata__now_ms() - start) / (double)found : 0;
}

strata_status strata_facts_find_many(strata_facts *facts, const strata_facts_query *queries,
                                     size_t n, strata_facts_result **results)
{
    strata_status status = STRATA_OK;
    for (size_t i = 0; i < n; i++)
        results[i] = NULL;
    for (size_t first = 0; first < n && status == STRATA_OK; first += STRATA__ASKED_TOGETHER) {
        bool asked[STRATA__ASKED_TOGETHER];
        const size_t left = n - first,
                     count = left < STRATA__ASKED_TOGETHER ? left : STRATA__ASKED_TOGETHER;
        struct strata__scope before = strata__scope_set(facts->scope);
        const double ms = prepare(facts, queries + first, count, asked);
        strata__scope_set(before);
        for (size_t i = 0; i < count && status == STRATA_OK; i++)
            status = find_one(facts, &queries[first + i], asked[i] ? ms : 0, &results[first + i]);
    }
    return status;
}

/* ---- Removing ---- */

struct removal {
    const strata_facts_query *pattern;
    struct strata__bytes triples; /* records of spo */
    uint64_t removed;
};

static strata_status take_all(void *user, const struct strata__row *row, bool *stop)
{
    struct removal *removal = user;
    *stop = false;
    const uint64_t record[] = {row->a, strata__pair(row->b, row->c)};
    return strata__bytes_append(&removal->triples, record, sizeof record);
}

static strata_status remove_rows(struct strata__txn *txn, void *user, int *error)
{
    struct removal *removal = user;
    struct strata__pattern pattern = {0};
    removal->triples.size = 0;
    strata_status status = strata__pattern_read(txn, removal->pattern, &pattern);
    if (status == STRATA_OK)
        status = strata__pattern_walk(txn, &pattern, take_all, removal);
    strata__pattern_free(&pattern);
    STRATA_TRY(status);
    return strata__triples_change(txn, (uint64_t *)(void *)removal->triples.data,
                                  removal->triples.size / (2 * sizeof(uint64_t)), true,
                                  &removal->removed, error);
}

strata_status strata_facts_remove(strata_facts *facts, const strata_facts_query *pattern,
                                  uint64_t *removed)
{
    struct removal removal = {.pattern = pattern};
    if (removed)
        *removed = 0;
    STRATA_TRY(check_query(pattern));
    if (pattern->question)
        return strata__fail(STRATA_E_INVALID, "pattern->question: facts are removed by subject, "
                                              "predicate and object");
    if (!pattern->subject && !pattern->predicate && !pattern->object)
        return strata__fail(STRATA_E_INVALID, "a pattern without any term would remove everything: "
                                              "remove the store's folder instead");
    struct strata__scope before = strata__scope_set(facts->scope);
    strata_status status = strata__store_change(facts, remove_rows, &removal);
    strata__bytes_free(&removal.triples);
    strata__scope_set(before);
    if (removed && status == STRATA_OK)
        *removed = removal.removed;
    return status;
}

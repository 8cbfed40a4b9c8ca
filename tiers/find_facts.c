/* find_facts: a pattern's triples, exactly or by tiers 1 and 2, with their texts and labels. */
#include <math.h>
#include <string.h>

#include "deadline.h"
#include "memory.h"
#include "pattern.h"
#include "predicate_texts.h"
#include "store_batch.h"
#include "tier1_link.h"
#include "tier2_expand.h"

#define ROWS_A_LOOK 256 /* rows between two looks at the clock */
#define CHUNK ((size_t)2 << 10)
#define ENTITIES_MOST 10    /* of tier 1, whose facts are given */
#define SHARE_LEAST 0.02    /* of the best one's score, that the others have at least */
#define CANDIDATES_KEPT 200 /* of tier 1, for `explain` */
_Static_assert(STRATA_FACTS_EVIDENCE == STRATA__EVIDENCE, "one number for both");
_Static_assert(STRATA_FACTS_PHRASE_EVIDENCE == STRATA__PHRASE_EVIDENCE, "one number for both");

/* Memory that texts of a result lie in. */
struct chunk {
    struct chunk *next;
    size_t used, size;
    char bytes[];
};

struct strata_facts_result {
    strata_fact *facts;
    strata_facts_answer answer;
    strata_facts_candidate *candidates;
    size_t n_candidates;
    strata_facts_expansion *expansions;
    size_t n_expansions;
    struct chunk *chunks;
};

void strata_facts_query_default(strata_facts_query *query)
{
    *query = (strata_facts_query){.size = sizeof *query, .limit = 1000, .max_tier = 2};
}

/* ---- Texts ---- */

/* A terminated copy that lives as long as the result. */
static strata_status keep(strata_facts_result *result, const char *text, size_t size,
                          const char **out)
{
    struct chunk *chunk = result->chunks;
    if (!chunk || chunk->size - chunk->used < size + 1) {
        size_t room = size + 1 > CHUNK ? size + 1 : CHUNK;
        STRATA_TRY(strata__calloc(&chunk, 1, sizeof *chunk + room, "texts of facts"));
        chunk->size = room;
        chunk->next = result->chunks;
        result->chunks = chunk;
    }
    char *to = chunk->bytes + chunk->used;
    if (size)
        memcpy(to, text, size);
    to[size] = '\0';
    chunk->used += size + 1;
    *out = to;
    return STRATA_OK;
}

static strata_status fill_term(strata_facts_result *result, struct strata__txn *txn, strata__id id,
                               strata_term *out)
{
    MDB_val bytes;
    struct strata__term term, label = {0};
    *out = (strata_term){.id = id};
    STRATA_TRY(strata__store_term(txn, id, &bytes));
    if (!strata__term_decode(bytes.mv_data, bytes.mv_size, &term))
        return strata__store_fail(txn->facts, MDB_CORRUPTED, "reading a term");
    out->kind = term.kind == 'I'   ? STRATA_TERM_IRI
                : term.kind == 'B' ? STRATA_TERM_BLANK
                                   : STRATA_TERM_LITERAL;
    out->size = term.size;
    STRATA_TRY(keep(result, term.text, term.size, &out->text));
    if (term.tag)
        STRATA_TRY(keep(result, term.tag, term.tag_size,
                        term.kind == 'G' ? &out->language : &out->datatype));
    if (out->kind == STRATA_TERM_LITERAL)
        return STRATA_OK;
    STRATA_TRY(strata__label_of(txn, id, &label));
    return label.text ? keep(result, label.text, label.size, &out->label) : STRATA_OK;
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
    strata_facts_answer answer;
};

static strata_status take_row(void *user, const struct strata__row *row, bool *stop)
{
    struct find *find = user;
    const strata_facts_query *query = find->query;
    const uint64_t n = find->seen++;
    if (n % ROWS_A_LOOK == 0 && strata__now_ms() > find->deadline) {
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

static void set_score(const struct find *find, strata_fact *fact, const struct strata__row *row)
{
    const struct strata__meant *meant = strata__tier2_meant(&find->tier2, row);
    fact->score = meant ? meant->score : 1;
    fact->why = meant ? meant->why : NULL;
    for (size_t i = 0; i < find->n_candidates && i < ENTITIES_MOST; i++)
        if (find->candidates[i].id == row->a) {
            fact->score = find->candidates[i].score;
            fact->why = strata__candidate_why(&find->candidates[i]);
        }
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
        if (i % ROWS_A_LOOK == ROWS_A_LOOK - 1 && strata__now_ms() > find->deadline) {
            find->answer.timed_out = true;
            break;
        }
        set_score(find, fact, &rows[i]);
        if (before && before->subject.id == rows[i].a)
            fact->subject = before->subject;
        else
            STRATA_TRY(fill_term(result, txn, rows[i].a, &fact->subject));
        if (before && before->predicate.id == rows[i].b)
            fact->predicate = before->predicate;
        else
            STRATA_TRY(fill_term(result, txn, rows[i].b, &fact->predicate));
        if (before && before->object.id == rows[i].c)
            fact->object = before->object;
        else
            STRATA_TRY(fill_term(result, txn, rows[i].c, &fact->object));
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
    for (size_t i = 0; i < find->n_candidates && i < ENTITIES_MOST; i++) {
        if (find->candidates[i].score < SHARE_LEAST * find->candidates[0].score)
            break;
        one.subject.ids = &find->candidates[i].id;
        STRATA_TRY(strata__pattern_walk(txn, &one, take_row, find));
    }
    find->answer.tier = 1;
    return STRATA_OK;
}

static strata_status fill_candidates(const struct strata__candidate *candidates, size_t n,
                                     struct strata__txn *txn, strata_facts_result *result)
{
    n = n < CANDIDATES_KEPT ? n : CANDIDATES_KEPT;
    STRATA_TRY(strata__calloc(&result->candidates, n, sizeof *result->candidates, "candidates"));
    for (size_t i = 0; i < n; i++) {
        strata_facts_candidate *out = &result->candidates[i];
        STRATA_TRY(fill_term(result, txn, candidates[i].id, &out->entity));
        out->score = candidates[i].score;
        for (size_t k = 0; k < STRATA_FACTS_EVIDENCE; k++)
            out->evidence[k] = (double)candidates[i].evidence[k];
        result->n_candidates = i + 1;
    }
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

static strata_status fill_expansions(const struct strata__tier2 *tier2, struct strata__txn *txn,
                                     strata_facts_result *result)
{
    const size_t n = tier2->n_expansions;
    STRATA_TRY(strata__calloc(&result->expansions, n, sizeof *result->expansions, "predicates"));
    for (size_t i = 0; i < n; i++) {
        const struct strata__expansion *e = &tier2->expansions[i];
        strata_facts_expansion *out = &result->expansions[i];
        STRATA_TRY(fill_term(result, txn, e->predicate, &out->predicate));
        out->reversed = e->reversed;
        out->held = e->held;
        out->score = e->score;
        for (size_t k = 0; k < STRATA_FACTS_PHRASE_EVIDENCE; k++)
            out->evidence[k] = (double)e->evidence[k];
        result->n_expansions = i + 1;
    }
    return STRATA_OK;
}

static strata_status explain(const struct find *find, struct strata__txn *txn,
                             strata_facts_result *result)
{
    const struct strata__tier2 *tier2 = &find->tier2;
    STRATA_TRY(fill_expansions(tier2, txn, result));
    if (tier2->n_candidates)
        return fill_candidates(tier2->candidates, tier2->n_candidates, txn, result);
    return fill_candidates(find->candidates, find->n_candidates, txn, result);
}

/* ---- All of it ---- */

static strata_status find(struct find *find, strata_facts *facts, strata_facts_result *result)
{
    struct strata__txn txn;
    struct strata__pattern pattern = {0};
    bool expand = false;
    STRATA_TRY(strata__txn_begin(facts, false, &txn));
    strata_status status = strata__pattern_read(&txn, find->query, &pattern);
    if (status == STRATA_OK)
        status = strata__pattern_walk(&txn, &pattern, take_row, find);
    if (status == STRATA_OK)
        status = may_expand(find, &txn, &pattern, &expand);
    if (status == STRATA_OK && expand)
        status = find_expanded(find, &txn, &pattern);
    else if (status == STRATA_OK && may_link(find, &pattern))
        status = find_linked(find, &txn, &pattern);
    if (status == STRATA_OK)
        status = fill_facts(find, &txn, result);
    if (status == STRATA_OK && find->query->explain)
        status = explain(find, &txn, result);
    strata__pattern_free(&pattern);
    strata__txn_abort(&txn);
    return status;
}

static strata_status check_query(const strata_facts_query *query)
{
    if (query->size != sizeof *query)
        return strata__fail(STRATA_E_INVALID, "query->size: %zu, expected %zu", query->size,
                            sizeof *query);
    if (query->max_tier < 0 || query->max_tier > 2)
        return strata__fail(STRATA_E_INVALID, "query->max_tier: %d, expected 0, 1 or 2",
                            query->max_tier);
    if (!(query->deadline_ms >= 0)) /* nor NaN */
        return strata__fail(STRATA_E_INVALID, "query->deadline_ms: %g, expected 0 or more",
                            query->deadline_ms);
    return STRATA_OK;
}

/* `before_ms`: what was done for it before, together with others. */
static strata_status find_one(strata_facts *facts, const strata_facts_query *query,
                              double before_ms, strata_facts_result **out)
{
    const double start = strata__now_ms() - before_ms;
    *out = NULL;
    STRATA_TRY(check_query(query));
    struct strata__scope before = strata__scope_set(facts->scope);
    struct find work = {.query = query,
                        .deadline = query->deadline_ms > 0 ? start + query->deadline_ms : INFINITY,
                        .answer = {.complete = true}};
    strata_facts_result *result = NULL;
    strata_status status = strata__calloc(&result, 1, sizeof *result, "facts");
    if (status == STRATA_OK)
        status = find(&work, facts, result);
    strata__bytes_free(&work.rows);
    strata__free(work.candidates);
    strata__tier2_free(&work.tier2);
    if (status == STRATA_OK) {
        work.answer.complete = work.answer.complete && !work.answer.timed_out;
        if (work.answer.n_facts == 0)
            work.answer.tier = -1;
        work.answer.latency_ms = strata__now_ms() - start;
        result->answer = work.answer;
    } else {
        strata_facts_result_free(&result);
    }
    strata__scope_set(before);
    *out = result;
    return status;
}

strata_status strata_facts_find(strata_facts *facts, const strata_facts_query *query,
                                strata_facts_result **out)
{
    return find_one(facts, query, 0, out);
}

/* ---- Several ---- */

/* The mention that tier 1 will be asked for, or NULL. */
static strata_status mention_of(struct strata__txn *txn, const strata_facts_query *query,
                                const char **mention)
{
    strata_facts_query any = *query;
    struct find work = {.query = &any, .deadline = INFINITY};
    struct strata__pattern pattern = {0};
    bool known = false;
    any.offset = 0;
    any.limit = 1;
    strata_status status = strata__pattern_read(txn, &any, &pattern);
    if (status == STRATA_OK)
        status = strata__pattern_walk(txn, &pattern, take_row, &work);
    const bool links = status == STRATA_OK && may_link(&work, &pattern);
    if (links)
        status = strata__tier1_is_known(txn, &pattern.subject, &pattern.predicate, &known);
    *mention = links && !known ? query->subject : NULL;
    strata__bytes_free(&work.rows);
    strata__pattern_free(&pattern);
    return status;
}

/* Does together what the model is needed for, and says of which queries that was (`mentions`), and
 * how long it took for each.  What fails here fails again, and is reported, when the query's turn
 * comes. */
static double prepare(strata_facts *facts, const strata_facts_query *queries, size_t n,
                      const char *mentions[STRATA__MENTIONS_TOGETHER])
{
    const double start = strata__now_ms();
    const char *together[STRATA__MENTIONS_TOGETHER];
    struct strata__txn txn;
    size_t found = 0;
    memset(mentions, 0, n * sizeof *mentions);
    if (!strata__tier1_prepares(facts) || n < 2 ||
        strata__txn_begin(facts, false, &txn) != STRATA_OK)
        return 0;
    for (size_t i = 0; i < n; i++) {
        if (check_query(&queries[i]) == STRATA_OK &&
            mention_of(&txn, &queries[i], &mentions[i]) == STRATA_OK && mentions[i])
            together[found++] = mentions[i];
    }
    if (found > 1)
        strata__tier1_prepare(&txn, together, found);
    strata__txn_abort(&txn);
    return found ? (strata__now_ms() - start) / (double)found : 0;
}

strata_status strata_facts_find_many(strata_facts *facts, const strata_facts_query *queries,
                                     size_t n, strata_facts_result **results)
{
    strata_status status = STRATA_OK;
    for (size_t i = 0; i < n; i++)
        results[i] = NULL;
    for (size_t first = 0; first < n && status == STRATA_OK; first += STRATA__MENTIONS_TOGETHER) {
        const char *mentions[STRATA__MENTIONS_TOGETHER];
        const size_t left = n - first,
                     count = left < STRATA__MENTIONS_TOGETHER ? left : STRATA__MENTIONS_TOGETHER;
        struct strata__scope before = strata__scope_set(facts->scope);
        const double ms = prepare(facts, queries + first, count, mentions);
        strata__scope_set(before);
        for (size_t i = 0; i < count && status == STRATA_OK; i++)
            status =
                find_one(facts, &queries[first + i], mentions[i] ? ms : 0, &results[first + i]);
    }
    return status;
}

void strata_facts_result_free(strata_facts_result **handle)
{
    strata_facts_result *result = handle ? *handle : NULL;
    if (!result)
        return;
    for (struct chunk *chunk = result->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        strata__free(chunk);
    }
    strata__free(result->facts);
    strata__free(result->candidates);
    strata__free(result->expansions);
    strata__free(result);
    *handle = NULL;
}

strata_facts_answer strata_facts_result_answer(const strata_facts_result *result)
{
    return result->answer;
}

const strata_fact *strata_facts_result_fact(const strata_facts_result *result, size_t index)
{
    return &result->facts[index];
}

size_t strata_facts_result_candidates(const strata_facts_result *result)
{
    return result->n_candidates;
}

const strata_facts_candidate *strata_facts_result_candidate(const strata_facts_result *result,
                                                            size_t index)
{
    return &result->candidates[index];
}

const char *strata_facts_evidence_name(size_t index)
{
    return strata__evidence_names[index];
}

size_t strata_facts_result_expansions(const strata_facts_result *result)
{
    return result->n_expansions;
}

const strata_facts_expansion *strata_facts_result_expansion(const strata_facts_result *result,
                                                            size_t index)
{
    return &result->expansions[index];
}

const char *strata_facts_phrase_evidence_name(size_t index)
{
    return strata__phrase_evidence_names[index];
}

/* ---- Removing ---- */

struct removal {
    const strata_facts_query *pattern;
    struct strata__bytes rows;
    uint64_t removed;
};

static strata_status take_all(void *user, const struct strata__row *row, bool *stop)
{
    struct removal *removal = user;
    *stop = false;
    return strata__bytes_append(&removal->rows, row, sizeof *row);
}

static strata_status remove_rows(struct strata__txn *txn, void *user, int *error)
{
    struct removal *removal = user;
    struct strata__pattern pattern = {0};
    removal->rows.size = 0;
    strata_status status = strata__pattern_read(txn, removal->pattern, &pattern);
    if (status == STRATA_OK)
        status = strata__pattern_walk(txn, &pattern, take_all, removal);
    strata__pattern_free(&pattern);
    STRATA_TRY(status);
    return strata__rows_change(txn, (struct strata__row *)(void *)removal->rows.data,
                               removal->rows.size / sizeof(struct strata__row), true,
                               &removal->removed, error);
}

strata_status strata_facts_remove(strata_facts *facts, const strata_facts_query *pattern,
                                  uint64_t *removed)
{
    struct removal removal = {.pattern = pattern};
    if (removed)
        *removed = 0;
    STRATA_TRY(check_query(pattern));
    if (!pattern->subject && !pattern->predicate && !pattern->object)
        return strata__fail(STRATA_E_INVALID, "a pattern without any term would remove everything: "
                                              "remove the store's folder instead");
    struct strata__scope before = strata__scope_set(facts->scope);
    strata_status status = strata__store_change(facts, remove_rows, &removal);
    strata__bytes_free(&removal.rows);
    strata__scope_set(before);
    if (removed && status == STRATA_OK)
        *removed = removal.removed;
    return status;
}

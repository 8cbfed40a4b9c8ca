/* Linking mentions to entities (tier1_link.h). */
#include "tier1_link.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "tier1_candidates.h"
#include "tier1_weights.h"

#define ROWS_FOR_KINDS 256 /* facts of a predicate whose subjects' kinds are looked at */

const char *const strata__evidence_names[STRATA__EVIDENCE] = {
    "code",    "spelling", "words",       "abbreviation",
    "mention", "namesake", "description", "namesake's description",
    "meaning",
};

/* ---- The whole ---- */

/* True when an entity of the mention's name is of a kind (rdf:type) that has the predicates. */
static strata_status is_known(struct strata__link *l, const struct strata__choices *exact,
                              bool *known)
{
    static const char type_term[] = "I" STRATA__RDF "type";
    strata__id type;
    *known = false;
    STRATA_TRY(strata__store_id(l->txn, type_term, sizeof type_term - 1,
                                strata__store_hash(l->txn->facts, type_term, sizeof type_term - 1),
                                &type));
    for (size_t e = 0; e < exact->n && e < STRATA__BEARERS_MOST && type && !*known; e++) {
        struct strata__row kind, row, other;
        bool found, more, same;
        STRATA_TRY(strata__store_seek(l->txn, STRATA__SPO,
                                      (struct strata__row){exact->ids[e], type, 0}, &kind, &found));
        if (!found || kind.b != type)
            continue;
        for (size_t i = 0; i < l->predicates->n && !*known; i++) {
            size_t rows = 0;
            STRATA_TRY(strata__store_seek(l->txn, STRATA__POS,
                                          (struct strata__row){.a = l->predicates->ids[i]}, &row,
                                          &more));
            for (; more && rows < ROWS_FOR_KINDS && !*known; rows++) {
                STRATA_TRY(strata__store_seek(
                    l->txn, STRATA__SPO, (struct strata__row){row.c, type, kind.c}, &other, &same));
                *known = same && other.b == type && other.c == kind.c;
                STRATA_TRY(strata__store_next(l->txn, STRATA__POS, &row, &more));
            }
        }
    }
    return STRATA_OK;
}

/* What a kind of evidence adds to the score's sum. */
static double weight_of(const struct strata__candidate *c, int kind)
{
    const double evidence = (double)c->evidence[kind];
    double sum = strata__tier1_weights[kind] * evidence;
    for (size_t i = 0; i < sizeof strata__tier1_kinks / sizeof *strata__tier1_kinks; i++)
        if ((int)strata__tier1_kinks[i].evidence == kind)
            sum += strata__tier1_kinks[i].weight * fmax(0, evidence - strata__tier1_kinks[i].from);
    return sum;
}

static void score(struct strata__candidate *c)
{
    double sum = strata__tier1_bias;
    for (int i = 0; i < STRATA__EVIDENCE; i++)
        sum += weight_of(c, i);
    c->score = 1 / (1 + exp(-sum));
}

static int better(const void *a, const void *b)
{
    const struct strata__candidate *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static strata_status link_all(struct strata__link *l, const struct strata__choices *exact)
{
    float *query = NULL;
    bool known, few;
    strata_status status;
    STRATA_TRY(strata__store_names(l->txn, l->names));
    STRATA_TRY(is_known(l, exact, &known));
    if (known)
        return STRATA_OK;
    strata__spelling_of(l->mention, strlen(l->mention), &l->spelling);
    STRATA_TRY_DONE(strata__find_codes(l));
    if (l->linker && !strata__link_late(l)) {
        const strata_text text = {l->mention, strlen(l->mention)};
        STRATA_TRY_DONE(strata__calloc(&query, l->linker->width, sizeof *query, "a vector"));
        STRATA_TRY_DONE(strata_embed(l->linker->model, &text, 1, NULL, query, NULL));
    }
    STRATA_TRY_DONE(strata__have_few(l, &few));
    if (few)
        STRATA_TRY_DONE(strata__compare_subjects(l, query));
    else if (!strata__link_late(l))
        STRATA_TRY_DONE(strata__find_spelled(l));
    if (!strata__link_late(l))
        STRATA_TRY_DONE(strata__find_namesakes(l));
    if (query && !strata__link_late(l))
        STRATA_TRY_DONE(strata__find_described(l, query));
done:
    strata__free(query);
    return status;
}

strata_status strata__tier1_link(struct strata__txn *txn, const char *mention,
                                 const struct strata__choices *exact,
                                 const struct strata__choices *predicates, double deadline,
                                 struct strata__candidate **out, size_t *n, bool *whole)
{
    struct strata__link l = {.txn = txn,
                             .linker = txn->facts->linker,
                             .mention = mention,
                             .predicates = predicates,
                             .deadline = deadline,
                             .whole = true};
    strata_status status = link_all(&l, exact);
    for (size_t i = 0; i < l.n; i++)
        score(&l.items[i]);
    if (l.n)
        qsort(l.items, l.n, sizeof *l.items, better);
    strata__free(l.slots);
    strata__bytes_free(&l.value);
    if (status != STRATA_OK) {
        strata__free(l.items);
        l.items = NULL;
        l.n = 0;
    }
    *out = l.items;
    *n = l.n;
    *whole = l.whole;
    return status;
}

const char *strata__candidate_why(const struct strata__candidate *candidate)
{
    int best = 0;
    for (int i = 1; i < STRATA__EVIDENCE; i++)
        if (weight_of(candidate, i) > weight_of(candidate, best))
            best = i;
    return strata__evidence_names[best];
}

/* ---- The linker ---- */

void strata__linker_close(struct strata__linker **handle)
{
    struct strata__linker *linker = *handle;
    if (!linker)
        return;
    strata__vectors_close(&linker->vectors);
    strata__free(linker);
    *handle = NULL;
}

strata_status strata_facts_use_model(strata_facts *facts, strata_model *model)
{
    struct strata__linker *linker;
    bool found;
    if (facts->linker)
        return strata__fail(STRATA_E_BUSY, "%s: a model is in use", facts->shown);
    struct strata__scope before = strata__scope_set(facts->scope);
    strata_status status = strata__calloc(&linker, 1, sizeof *linker, "a linker");
    if (status == STRATA_OK)
        status = strata__vectors_open(facts, model, &linker->vectors, &found);
    if (status == STRATA_OK && !found)
        status = strata__fail(STRATA_E_INVALID,
                              "%s: it has no vectors: make them with strata facts "
                              "index",
                              facts->shown);
    if (status == STRATA_OK) {
        linker->model = model;
        linker->width = strata_model_info_get(model).embedding_length;
        facts->linker = linker;
    } else {
        strata__linker_close(&linker);
    }
    strata__scope_set(before);
    return status;
}

/* Linking mentions to entities (tier1_link.h). */
#include "tier1_link.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "answer_cache.h"
#include "index.h"
#include "memory.h"
#include "mention_cache.h"
#include "model.h"
#include "tier1_candidates.h"
#include "tier1_weights.h"
#include "tier2_expand.h"
#include "tier3_schema.h"

#define ROWS_FOR_KINDS 256 /* facts of a predicate whose subjects' kinds are looked at */

const char *const strata__evidence_names[STRATA__EVIDENCE] = {
    "code",    "spelling", "words",       "abbreviation",
    "mention", "namesake", "description", "namesake's description",
    "meaning",
};

/* ---- The whole ---- */

strata_status strata__tier1_is_known(struct strata__txn *txn, const struct strata__choices *exact,
                                     const struct strata__choices *predicates, bool *known)
{
    static const char type_term[] = "I" STRATA__RDF "type";
    strata__id type;
    *known = false;
    STRATA_TRY(strata__store_id(txn, type_term, sizeof type_term - 1,
                                strata__store_hash(txn->facts, type_term, sizeof type_term - 1),
                                &type));
    for (size_t e = 0; e < exact->n && e < STRATA__BEARERS_MOST && type && !*known; e++) {
        struct strata__row kind, row, other;
        bool found, more, same;
        STRATA_TRY(strata__store_seek(txn, STRATA__SPO,
                                      (struct strata__row){exact->ids[e], type, 0}, &kind, &found));
        if (!found || kind.b != type)
            continue;
        for (size_t i = 0; i < predicates->n && !*known; i++) {
            size_t rows = 0;
            STRATA_TRY(strata__store_seek(
                txn, STRATA__POS, (struct strata__row){.a = predicates->ids[i]}, &row, &more));
            for (; more && rows < ROWS_FOR_KINDS && !*known; rows++) {
                STRATA_TRY(strata__store_seek(
                    txn, STRATA__SPO, (struct strata__row){row.c, type, kind.c}, &other, &same));
                *known = same && other.b == type && other.c == kind.c;
                STRATA_TRY(strata__store_next(txn, STRATA__POS, &row, &more));
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

/* All evidence, of what is known of the mention and what has to be found out. */
static strata_status find_evidence(struct strata__link *l, const strata_text *text)
{
    struct strata__mention *known = &l->known;
    bool few;
    strata__spelling_of(l->mention, strlen(l->mention), &l->spelling);
    STRATA_TRY(strata__find_codes(l));
    if (l->linker && !known->embedded && !strata__link_late(l)) {
        STRATA_TRY(strata__tier1_ask(l->txn->facts, text, l->deadline, known));
        l->learned = known->embedded;
    }
    STRATA_TRY(strata__have_few(l, &few));
    if (few)
        STRATA_TRY(strata__compare_subjects(l, known->embedded ? known->vector : NULL));
    else if (!strata__link_late(l))
        STRATA_TRY(strata__find_spelled(l));
    if (!strata__link_late(l))
        STRATA_TRY(strata__find_namesakes(l));
    return known->embedded && !strata__link_late(l) ? strata__find_described(l) : STRATA_OK;
}

static strata_status link_all(struct strata__link *l, const struct strata__choices *exact)
{
    struct strata__mention_cache *cache = l->txn->facts->mentions;
    const uint64_t version = mdb_txn_id(l->txn->txn);
    const strata_text text = strata__mention_text(l->mention);
    bool known;
    STRATA_TRY(strata__store_names(l->txn, l->names));
    STRATA_TRY(strata__tier1_is_known(l->txn, exact, l->predicates, &known));
    if (known)
        return STRATA_OK;
    l->known.width = l->linker ? l->linker->width : 0;
    STRATA_TRY(
        strata__calloc(&l->known.vector, l->known.width, sizeof *l->known.vector, "a vector"));
    strata__mention_cache_get(cache, text.text, text.size, version, true, &l->known);
    strata_status status = find_evidence(l, &text);
    if (l->learned && status == STRATA_OK)
        strata__mention_cache_put(cache, text.text, text.size, version, &l->known);
    strata__free(l->known.vector);
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
    strata__embed_queue_close(&linker->queue);
    strata__vectors_close(&linker->vectors);
    strata__free(linker);
    *handle = NULL;
}

strata_status strata_facts_use_model(strata_facts *facts, strata_model *model)
{
    struct strata__linker *linker;
    bool found;
    const uint64_t files = strata__answers_files(facts);
    if (facts->linker)
        return strata__fail(STRATA_E_BUSY, "%s: a model is in use", facts->shown);
    struct strata__scope scope = strata__facts_scope(facts, model);
    struct strata__scope before = strata__scope_set(scope);
    strata_status status = strata__calloc(&linker, 1, sizeof *linker, "a linker");
    if (status == STRATA_OK)
        status = strata__mention_cache_charge(facts->mentions, model->runtime);
    if (status == STRATA_OK)
        status = strata__predicates_charge(facts->expander, model);
    if (status == STRATA_OK)
        status = strata__schemas_charge(facts->schemas, model);
    if (status == STRATA_OK)
        status = strata__vectors_open(facts, model, &linker->vectors, &found);
    if (status == STRATA_OK && !found)
        status = strata__fail(STRATA_E_INVALID,
                              "%s: it has no vectors: make them with strata facts "
                              "index",
                              facts->shown);
    const size_t width = strata_model_info_get(model).embedding_length;
    if (status == STRATA_OK)
        status =
            strata__embed_queue_open(model, linker->vectors.descriptions, width, &linker->queue);
    if (status == STRATA_OK) {
        facts->scope = scope;
        linker->model = model;
        linker->width = width;
        facts->linker = linker;
        status = strata__answers_use_model(facts, model, files);
    }
    if (status != STRATA_OK) {
        facts->linker = NULL;
        strata__linker_close(&linker);
    }
    strata__scope_set(before);
    return status;
}

static void add_vectors(strata_index *index, strata_facts_tier1_info *out)
{
    const strata_index_info info = strata_index_info_get(index);
    out->vectors += info.count - 1; /* without the known text */
    out->mapped_bytes += index->extent.bytes;
    out->resident_bytes += strata__resident_bytes(index->extent.address, index->extent.bytes);
    if (info.sketched)
        out->sketch_bytes += info.count * (strata__index_sketch_bytes(index) + 2 * sizeof(float));
}

void strata_facts_tier1_info_get(strata_facts *facts, strata_facts_tier1_info *out)
{
    const struct strata__mention_cache_info cache = strata__mention_cache_info_get(facts->mentions);
    *out = (strata_facts_tier1_info){.cache_bytes = cache.bytes,
                                     .cache_limit_bytes = cache.limit,
                                     .cache_mentions = cache.mentions,
                                     .cache_hits = cache.hits,
                                     .cache_misses = cache.misses};
    if (!facts->linker)
        return;
    add_vectors(facts->linker->vectors.labels, out);
    add_vectors(facts->linker->vectors.descriptions, out);
}

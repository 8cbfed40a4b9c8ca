/* Results of queries (facts_result.h). */
#include "facts_result.h"

#include <string.h>

#include "memory.h"

#define CANDIDATES_KEPT 200 /* of tier 1 */
_Static_assert(STRATA_FACTS_EVIDENCE == STRATA__EVIDENCE, "one number for both");
#define CHAINS_KEPT 32
_Static_assert(STRATA_FACTS_HOPS == STRATA__HOPS_MOST, "one number for both");
_Static_assert(STRATA_FACTS_CHAIN_EVIDENCE == STRATA__CHAIN_EVIDENCE, "one number for both");
_Static_assert(STRATA_FACTS_PHRASE_EVIDENCE == STRATA__PHRASE_EVIDENCE, "one number for both");

strata_status strata__result_term(strata_facts_result *result, struct strata__txn *txn,
                                  strata__id id, strata_term *out)
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
    STRATA_TRY(strata__result_text(result, term.text, term.size, &out->text));
    if (term.tag)
        STRATA_TRY(strata__result_text(result, term.tag, term.tag_size,
                                       term.kind == 'G' ? &out->language : &out->datatype));
    if (out->kind == STRATA_TERM_LITERAL)
        return STRATA_OK;
    STRATA_TRY(strata__label_of(txn, id, &label));
    return label.text ? strata__result_text(result, label.text, label.size, &out->label)
                      : STRATA_OK;
}

/* ---- Explanations ---- */

strata_status strata__result_candidates(const struct strata__candidate *candidates, size_t n,
                                        struct strata__txn *txn, strata_facts_result *result)
{
    n = n < CANDIDATES_KEPT ? n : CANDIDATES_KEPT;
    STRATA_TRY(strata__calloc(&result->candidates, n, sizeof *result->candidates, "candidates"));
    for (size_t i = 0; i < n; i++) {
        strata_facts_candidate *out = &result->candidates[i];
        STRATA_TRY(strata__result_term(result, txn, candidates[i].id, &out->entity));
        out->score = candidates[i].score;
        for (size_t k = 0; k < STRATA_FACTS_EVIDENCE; k++)
            out->evidence[k] = (double)candidates[i].evidence[k];
        result->n_candidates = i + 1;
    }
    return STRATA_OK;
}

strata_status strata__result_expansions(const struct strata__tier2 *tier2, struct strata__txn *txn,
                                        strata_facts_result *result)
{
    const size_t n = tier2->n_expansions;
    STRATA_TRY(strata__calloc(&result->expansions, n, sizeof *result->expansions, "predicates"));
    for (size_t i = 0; i < n; i++) {
        const struct strata__expansion *e = &tier2->expansions[i];
        strata_facts_expansion *out = &result->expansions[i];
        STRATA_TRY(strata__result_term(result, txn, e->predicate, &out->predicate));
        out->reversed = e->reversed;
        out->held = e->held;
        out->score = e->score;
        for (size_t k = 0; k < STRATA_FACTS_PHRASE_EVIDENCE; k++)
            out->evidence[k] = (double)e->evidence[k];
        result->n_expansions = i + 1;
    }
    return STRATA_OK;
}

static strata_status fill_chain(const struct strata__tier3 *tier3,
                                const struct strata__chain *chain, struct strata__txn *txn,
                                strata_facts_result *result, strata_facts_chain *out)
{
    const struct strata__shape *shape = &chain->shape;
    const struct strata__start *start = &tier3->chains.starts[chain->start];
    const struct strata__question *q = tier3->question;
    const uint32_t begin = q->words[start->first].begin, end = q->words[start->end - 1].end;
    out->hops = shape->n;
    out->ends = chain->n_ends;
    out->score = (double)chain->score;
    STRATA_TRY(strata__result_text(result, q->text + begin, end - begin, &out->words));
    STRATA_TRY(strata__result_term(result, txn, start->id, &out->start));
    for (size_t i = 0; i < shape->n; i++) {
        out->reversed[i] = shape->hops[i].reversed;
        STRATA_TRY(strata__result_term(
            result, txn, tier3->schema->predicates[shape->hops[i].predicate], &out->predicates[i]));
    }
    return STRATA_OK;
}

strata_status strata__result_chains(const struct strata__tier3 *tier3, struct strata__txn *txn,
                                    strata_facts_result *result)
{
    const struct strata__chains *chains = &tier3->chains;
    const size_t *best = (const void *)chains->best.data, joined = tier3->joined ? 2 : 0;
    size_t n = joined + chains->best.size / sizeof *best;
    n = n < CHAINS_KEPT ? n : CHAINS_KEPT;
    result->meaning.score = tier3->score;
    result->meaning.least = tier3->least;
    for (size_t i = 0; i < STRATA_FACTS_CHAIN_EVIDENCE; i++)
        result->meaning.evidence[i] = (double)tier3->evidence[i];
    STRATA_TRY(strata__calloc(&result->chains, n, sizeof *result->chains, "chains"));
    for (size_t i = 0; i < n; i++) {
        const size_t index = i < joined ? chains->joint.parts[i] : best[i - joined];
        STRATA_TRY(
            fill_chain(tier3, strata__chains_at(chains, index), txn, result, &result->chains[i]));
        result->chains[i].joined = i < joined;
        result->n_chains = i + 1;
    }
    return STRATA_OK;
}

/* ---- For programs ---- */

void strata_facts_result_free(strata_facts_result **handle)
{
    if (!handle || !*handle)
        return;
    strata__result_empty(*handle);
    strata__free(*handle);
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

const char *strata_facts_result_lm(const strata_facts_result *result)
{
    static const char *const uses[] = {
        [STRATA__LM_ASKED] = "asked",
        [STRATA__LM_NEEDLESS] = "not needed",
        [STRATA__LM_LATE] = "no time",
        [STRATA__LM_FULL] = "no memory",
    };
    return uses[result->lm];
}

const char *strata_facts_phrase_evidence_name(size_t index)
{
    return strata__phrase_evidence_names[index];
}

size_t strata_facts_result_chains(const strata_facts_result *result)
{
    return result->n_chains;
}

const strata_facts_chain *strata_facts_result_chain(const strata_facts_result *result, size_t index)
{
    return &result->chains[index];
}

strata_facts_meaning strata_facts_result_meaning(const strata_facts_result *result)
{
    return result->meaning;
}

const char *strata_facts_chain_evidence_name(size_t index)
{
    return strata__chain_evidence_names[index];
}

double strata_facts_result_tier_ms(const strata_facts_result *result, int tier)
{
    return tier >= 0 && tier < STRATA_FACTS_TIERS ? result->tier_ms[tier] : 0;
}

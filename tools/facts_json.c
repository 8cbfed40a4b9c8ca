#include "facts_json.h"

#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "json_lines.h"

#define EXPLAINED 20 /* predicates, and candidates, that are printed */

static json_t *text_or_null(const char *text)
{
    return text ? json_text(text, strlen(text)) : json_null();
}

/* "_:NAME" for a blank node. */
static json_t *term_json(const strata_term *term)
{
    if (term->kind != STRATA_TERM_BLANK)
        return json_text(term->text, term->size);
    return json_sprintf("_:%s", term->text);
}

static json_t *fact_json(const strata_fact *fact)
{
    const strata_term *s = &fact->subject, *p = &fact->predicate, *o = &fact->object;
    json_t *object =
        json_pack("{s:o, s:o, s:o, s:f, s:[I, I, I], s:{s:o, s:o, s:o}}", "s", term_json(s), "p",
                  term_json(p), "o", term_json(o), "score", fact->score, "ids", (json_int_t)s->id,
                  (json_int_t)p->id, (json_int_t)o->id, "labels", "s", text_or_null(s->label), "p",
                  text_or_null(p->label), "o", text_or_null(o->label));
    bool whole = object != NULL;
    if (whole && o->language)
        whole = json_object_set_new(object, "language", text_or_null(o->language)) == 0;
    if (whole && o->datatype)
        whole = json_object_set_new(object, "datatype", text_or_null(o->datatype)) == 0;
    if (whole && fact->why)
        whole = json_object_set_new(object, "why", text_or_null(fact->why)) == 0;
    if (whole)
        return object;
    json_decref(object);
    return NULL;
}

static json_t *candidates_json(const strata_facts_result *result)
{
    json_t *candidates = json_array();
    for (size_t i = 0; candidates && i < strata_facts_result_candidates(result); i++) {
        const strata_facts_candidate *c = strata_facts_result_candidate(result, i);
        json_t *evidence = json_object();
        for (size_t k = 0; evidence && k < STRATA_FACTS_EVIDENCE; k++)
            if (c->evidence[k] > 0 && json_object_set_new(evidence, strata_facts_evidence_name(k),
                                                          json_real(c->evidence[k])) != 0) {
                json_decref(evidence);
                evidence = NULL;
            }
        candidates =
            json_push(candidates, json_pack("{s:o, s:o, s:f, s:o}", "entity", term_json(&c->entity),
                                            "label", text_or_null(c->entity.label), "score",
                                            c->score, "evidence", evidence));
    }
    return candidates;
}

/* The predicates that tier 2 considered. */
static json_t *expansions_json(const strata_facts_result *result)
{
    json_t *expansions = json_array();
    for (size_t i = 0; expansions && i < strata_facts_result_expansions(result); i++) {
        const strata_facts_expansion *e = strata_facts_result_expansion(result, i);
        json_t *evidence = json_object();
        for (size_t k = 0; evidence && k < STRATA_FACTS_PHRASE_EVIDENCE; k++)
            if (json_object_set_new(evidence, strata_facts_phrase_evidence_name(k),
                                    json_real(e->evidence[k])) != 0) {
                json_decref(evidence);
                evidence = NULL;
            }
        expansions = json_push(expansions, json_pack("{s:o, s:o, s:b, s:b, s:f, s:o}", "predicate",
                                                     term_json(&e->predicate), "label",
                                                     text_or_null(e->predicate.label), "reversed",
                                                     (int)e->reversed, "held", (int)e->held,
                                                     "score", e->score, "evidence", evidence));
    }
    return expansions;
}

/* The chains that tier 3 found. */
static json_t *chains_json(const strata_facts_result *result)
{
    json_t *chains = json_array();
    for (size_t i = 0; chains && i < strata_facts_result_chains(result); i++) {
        const strata_facts_chain *c = strata_facts_result_chain(result, i);
        json_t *hops = json_array();
        for (size_t k = 0; hops && k < c->hops; k++)
            hops = json_push(hops,
                             json_pack("{s:o, s:o, s:b}", "predicate", term_json(&c->predicates[k]),
                                       "label", text_or_null(c->predicates[k].label), "reversed",
                                       (int)c->reversed[k]));
        chains = json_push(chains, json_pack("{s:o, s:o, s:o, s:o, s:I, s:f, s:b}", "words",
                                             text_or_null(c->words), "start", term_json(&c->start),
                                             "label", text_or_null(c->start.label), "hops", hops,
                                             "ends", (json_int_t)c->ends, "score", c->score,
                                             "joined", (int)c->joined));
    }
    return chains;
}

/* How likely the best chain is. */
static json_t *meaning_json(const strata_facts_result *result)
{
    const strata_facts_meaning m = strata_facts_result_meaning(result);
    json_t *evidence = json_object();
    for (size_t k = 0; evidence && k < STRATA_FACTS_CHAIN_EVIDENCE; k++)
        if (json_object_set_new(evidence, strata_facts_chain_evidence_name(k),
                                json_real(m.evidence[k])) != 0) {
            json_decref(evidence);
            evidence = NULL;
        }
    return json_pack("{s:f, s:f, s:o}", "score", m.score, "least", m.least, "evidence", evidence);
}

/* How long each tier took that was asked. */
static json_t *times_json(const strata_facts_result *result)
{
    json_t *times = json_array();
    for (int tier = 0; times && tier < STRATA_FACTS_TIERS; tier++)
        times = json_push(times, json_real(strata_facts_result_tier_ms(result, tier)));
    return times;
}

/* Adds what tiers 1 to 3 considered; NULL after freeing the object: no memory. */
static json_t *with_explanation(json_t *object, const strata_facts_result *result)
{
    if (object && json_object_set_new(object, "tiers_ms", times_json(result)) != 0) {
        json_decref(object);
        return NULL;
    }
    if (object && strata_facts_result_chains(result)) {
        if (json_object_set_new(object, "chains", chains_json(result)) == 0 &&
            json_object_set_new(object, "meaning", meaning_json(result)) == 0)
            return object;
        json_decref(object);
        return NULL;
    }
    const bool expanded = strata_facts_result_expansions(result) > 0;
    const char *lm = strata_facts_result_lm(result);
    if (!object ||
        (json_object_set_new(object, "candidates", candidates_json(result)) == 0 &&
         (!expanded || json_object_set_new(object, "predicates", expansions_json(result)) == 0) &&
         (!lm || json_object_set_new(object, "lm", text_or_null(lm)) == 0)))
        return object;
    json_decref(object);
    return NULL;
}

json_t *facts_json(const strata_facts_result *result, bool explain)
{
    const strata_facts_answer answer = strata_facts_result_answer(result);
    json_t *facts = json_array();
    for (size_t i = 0; facts && i < answer.n_facts; i++) {
        json_t *fact = fact_json(strata_facts_result_fact(result, i));
        if (!fact) {
            json_decref(facts);
            return NULL;
        }
        facts = json_push(facts, fact);
    }
    json_t *object = json_pack("{s:o, s:i, s:f, s:b}", "facts", facts, "tier", answer.tier,
                               "latency_ms", answer.latency_ms, "complete", answer.complete);
    if (object && answer.tier == 3 &&
        json_object_set_new(object, "count", json_integer((json_int_t)answer.count)) != 0) {
        json_decref(object);
        return NULL;
    }
    return explain ? with_explanation(object, result) : object;
}

static void print_term(const strata_term *term)
{
    if (term->label) {
        cli_print_text(term->label);
        return;
    }
    if (term->kind == STRATA_TERM_BLANK)
        fputs("_:", stdout);
    cli_print_text(term->text);
}

/* The predicates that were considered, of those that the entity has. */
static void print_expansions(const strata_facts_result *result)
{
    size_t shown = 0;
    for (size_t i = 0; i < strata_facts_result_expansions(result) && shown < EXPLAINED; i++) {
        const strata_facts_expansion *e = strata_facts_result_expansion(result, i);
        printf("%6.3f  %s", e->score, e->reversed ? "is " : "");
        print_term(&e->predicate);
        fputs(e->reversed ? " of" : "", stdout);
        for (size_t k = 0; k < STRATA_FACTS_PHRASE_EVIDENCE; k++)
            if (e->evidence[k] > 0)
                printf(", %s %.2f", strata_facts_phrase_evidence_name(k), e->evidence[k]);
        puts(e->held ? "" : ", no such facts");
        shown++;
    }
}

/* The chains that were found, and how likely the first one is. */
static void print_chains(const strata_facts_result *result)
{
    const strata_facts_meaning m = strata_facts_result_meaning(result);
    for (size_t i = 0; i < strata_facts_result_chains(result) && i < EXPLAINED; i++) {
        const strata_facts_chain *c = strata_facts_result_chain(result, i);
        printf("%6.3f  ", c->score);
        print_term(&c->start);
        for (size_t k = 0; k < c->hops; k++) {
            fputs(c->reversed[k] ? " <- " : " -> ", stdout);
            print_term(&c->predicates[k]);
        }
        printf(" (%zu)%s\n", c->ends, c->joined ? ", joined" : "");
    }
    if (!strata_facts_result_chains(result))
        return;
    printf("the first one is meant: %.3f (%.3f is needed)", m.score, m.least);
    for (size_t k = 0; k < STRATA_FACTS_CHAIN_EVIDENCE; k++)
        printf(", %s %.2f", strata_facts_chain_evidence_name(k), m.evidence[k]);
    putchar('\n');
}

static void print_times(const strata_facts_result *result)
{
    const char *between = "";
    for (int tier = 0; tier < STRATA_FACTS_TIERS; tier++)
        if (strata_facts_result_tier_ms(result, tier) > 0) {
            printf("%stier %d: %.2f ms", between, tier, strata_facts_result_tier_ms(result, tier));
            between = ", ";
        }
    putchar('\n');
}

void facts_print_explanation(const strata_facts_result *result)
{
    const char *lm = strata_facts_result_lm(result);
    print_times(result);
    print_chains(result);
    print_expansions(result);
    if (lm)
        printf("language model: %s\n", lm);
    for (size_t i = 0; i < strata_facts_result_candidates(result) && i < EXPLAINED; i++) {
        const strata_facts_candidate *c = strata_facts_result_candidate(result, i);
        printf("%6.3f  ", c->score);
        print_term(&c->entity);
        for (size_t k = 0; k < STRATA_FACTS_EVIDENCE; k++)
            if (c->evidence[k] > 0)
                printf(", %s %.2f", strata_facts_evidence_name(k), c->evidence[k]);
        putchar('\n');
    }
}

void facts_print(const strata_facts_result *result)
{
    const strata_facts_answer answer = strata_facts_result_answer(result);
    for (size_t i = 0; i < answer.n_facts; i++) {
        const strata_fact *fact = strata_facts_result_fact(result, i);
        print_term(&fact->subject);
        fputs(" | ", stdout);
        print_term(&fact->predicate);
        fputs(" | ", stdout);
        print_term(&fact->object);
        if (fact->why)
            printf("   (%.3f, %s)", fact->score, fact->why);
        putchar('\n');
    }
    if (answer.tier == 3)
        printf("%zu answer%s; ", answer.count, answer.count == 1 ? "" : "s");
    printf("%zu fact%s%s, %.2f ms%s\n", answer.n_facts, answer.n_facts == 1 ? "" : "s",
           answer.tier == 0   ? " found exactly"
           : answer.tier == 1 ? " by another name"
           : answer.tier == 2 ? " by other words"
           : answer.tier == 3 ? " by a question"
                              : "",
           answer.latency_ms,
           answer.timed_out  ? "; the deadline came before all were found"
           : answer.complete ? ""
                             : "; there are more: --limit, --offset");
}

#include "tier3_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- Graphs ---- */

void t3_add_lands(struct strata__bytes *text)
{
    static const char *const kinds[] = {"realm", "town", "person", "league"};
    static const char *const predicates[] = {"seat", "mayor", "spouse", "member", "coin"};
    for (size_t i = 0; i < 4; i++)
        t2_add(text, "<u:%s> " LABEL " \"%s\" .\n", kinds[i], kinds[i]);
    for (size_t i = 0; i < 5; i++)
        t2_add(text, "<u:%s> " LABEL " \"%s\" .\n", predicates[i], predicates[i]);
    for (int i = 0; i < T3_LANDS; i++) {
        const int c = 'A' + i;
        t2_add(text, "<u:l%d> " TYPE " <u:realm> .\n<u:l%d> " LABEL " \"Land %c\" .\n", i, i, c);
        t2_add(text, "<u:t%d> " TYPE " <u:town> .\n<u:t%d> " LABEL " \"Town %c\" .\n", i, i, c);
        t2_add(text, "<u:p%d> " TYPE " <u:person> .\n<u:p%d> " LABEL " \"Person %c\" .\n", i, i, c);
        t2_add(text, "<u:q%d> " TYPE " <u:person> .\n<u:q%d> " LABEL " \"Spouse %c\" .\n", i, i, c);
        t2_add(text, "<u:g%d> " TYPE " <u:league> .\n<u:g%d> " LABEL " \"League %c\" .\n", i, i, c);
        t2_add(text, "<u:l%d> <u:seat> <u:t%d> .\n<u:t%d> <u:mayor> <u:p%d> .\n", i, i, i, i);
        t2_add(text, "<u:p%d> <u:spouse> <u:q%d> .\n<u:q%d> <u:member> <u:g%d> .\n", i, i, i, i);
        t2_add(text, "<u:g%d> <u:coin> \"coin%d\" .\n", i, i);
    }
}

strata_facts *t3_lands(const char *name)
{
    struct strata__bytes text = {0};
    t3_add_lands(&text);
    return t2_store_of(name, &text);
}

void t3_add_makers(struct strata__bytes *text)
{
    t2_add(text, "<u:carver> " LABEL " \"carver\" .\n<u:painter> " LABEL " \"painter\" .\n"
                 "<u:wood> " LABEL " \"wood\" .\n<u:mask> " LABEL " \"mask\" .\n");
    for (int i = 0; i < 5; i++)
        t2_add(text,
               "<u:c%d> " LABEL " \"Cara %c\" .\n<u:c%d> " TYPE " <u:artist> .\n"
               "<u:d%d> " LABEL " \"Dora %c\" .\n<u:d%d> " TYPE " <u:artist> .\n"
               "<u:w%d> " LABEL " \"Sort %c\" .\n<u:w%d> " TYPE " <u:sort> .\n",
               i, 'A' + i, i, i, 'A' + i, i, i, 'A' + i, i);
    for (int i = 0; i < 24; i++)
        t2_add(text,
               "<u:m%d> " TYPE " <u:mask> .\n<u:m%d> <u:carver> <u:c%d> .\n"
               "<u:m%d> <u:painter> <u:d%d> .\n<u:m%d> <u:wood> <u:w%d> .\n",
               i, i, i % 5, i, i / 5, i, (i + i / 5) % 5);
}

/* ---- What is given ---- */

static bool same_fact(const strata_fact *a, const strata_fact *b)
{
    return a->subject.id == b->subject.id && a->predicate.id == b->predicate.id &&
           a->object.id == b->object.id;
}

static void is_in_graph(strata_facts *facts, const strata_fact *fact)
{
    char subject[300], predicate[300];
    strata_facts_query query;
    strata_facts_result *result;
    bool found = false;
    strata_facts_query_default(&query);
    snprintf(subject, sizeof subject, fact->subject.kind == STRATA_TERM_BLANK ? "_:%s" : "<%s>",
             fact->subject.text);
    snprintf(predicate, sizeof predicate, "<%s>", fact->predicate.text);
    query.subject = subject;
    query.predicate = predicate;
    query.limit = query.max_tier = 0;
    assert_int_equal(strata_facts_find(facts, &query, &result), STRATA_OK);
    for (size_t i = 0; i < strata_facts_result_answer(result).n_facts && !found; i++)
        found = same_fact(strata_facts_result_fact(result, i), fact);
    strata_facts_result_free(&result);
    if (!found)
        fail_msg("<%s> <%s> %s is given, but not there", fact->subject.text, fact->predicate.text,
                 fact->object.text);
}

/* Whether the chain, from its hop `hop` on and `from`, comes to the answer through what is given.
 */
static bool reaches(const strata_facts_result *result, const strata_facts_chain *chain, size_t hop,
                    uint64_t from, const strata_fact *answer)
{
    const size_t n = strata_facts_result_answer(result).n_facts;
    const bool last = hop + 1 == chain->hops;
    for (size_t i = 0; i < n; i++) {
        const strata_fact *fact = strata_facts_result_fact(result, i);
        const uint64_t begin = chain->reversed[hop] ? fact->object.id : fact->subject.id,
                       end = chain->reversed[hop] ? fact->subject.id : fact->object.id;
        if (begin != from || fact->predicate.id != chain->predicates[hop].id)
            continue;
        if (last ? same_fact(fact, answer) : reaches(result, chain, hop + 1, end, answer))
            return true;
    }
    return false;
}

static bool is_reached(const strata_facts_result *result, const strata_fact *answer)
{
    for (size_t i = 0; i < strata_facts_result_chains(result); i++) {
        const strata_facts_chain *chain = strata_facts_result_chain(result, i);
        if (reaches(result, chain, 0, chain->start.id, answer))
            return true;
    }
    return false;
}

static void check_facts(strata_facts *facts, const strata_facts_query *query,
                        const strata_facts_result *result)
{
    const strata_facts_answer answer = strata_facts_result_answer(result);
    const bool all = answer.complete && query->offset == 0;
    for (size_t i = 0; i < answer.n_facts; i++) {
        const strata_fact *fact = strata_facts_result_fact(result, i);
        const bool proof = strcmp(fact->why, "chain") == 0;
        assert_true(proof || strcmp(fact->why, "answer") == 0);
        assert_true(fact->score > 0 && fact->score <= 1);
        assert_true(i == 0 || proof >= (strcmp(fact[-1].why, "chain") == 0));
        assert_true(i == 0 || proof != (strcmp(fact[-1].why, "chain") == 0) ||
                    fact->score <= fact[-1].score);
        for (size_t k = 0; k < i && i < 200; k++)
            assert_false(same_fact(fact, strata_facts_result_fact(result, k)));
        if (i < 200)
            is_in_graph(facts, fact);
        if (all && i < 200 && !proof)
            assert_true(is_reached(result, fact));
    }
}

static void check_chains(const strata_facts_result *result)
{
    for (size_t i = 0; i < strata_facts_result_chains(result); i++) {
        const strata_facts_chain *chain = strata_facts_result_chain(result, i);
        assert_in_range(chain->hops, 1, STRATA_FACTS_HOPS);
        assert_true(chain->ends > 0 && chain->words[0]);
        assert_true(i < 2 || chain->joined == false);
        assert_true(i == 0 || chain[-1].joined || chain->score <= chain[-1].score);
    }
}

/* ---- Asking ---- */

strata_facts_query t3_query_of(const char *question)
{
    strata_facts_query query;
    strata_facts_query_default(&query);
    query.question = question;
    query.explain = true;
    query.deadline_ms = 60000;
    return query;
}

struct t3_answer t3_ask_with(strata_facts *facts, const strata_facts_query *query)
{
    struct t3_answer out = {0};
    strata_facts_result *result;
    if (strata_facts_find(facts, query, &result) != STRATA_OK)
        fail_msg("'%.80s': %s", query->question, strata_last_error());
    out.answer = strata_facts_result_answer(result);
    out.chains = strata_facts_result_chains(result);
    out.meaning = strata_facts_result_meaning(result);
    assert_int_equal(out.answer.tier, out.answer.n_facts ? 3 : -1);
    check_facts(facts, query, result);
    check_chains(result);
    if (out.chains) {
        out.ends = strata_facts_result_chain(result, 0)->ends;
        out.joined = strata_facts_result_chain(result, 0)->joined;
    }
    for (size_t i = 0; i < out.answer.n_facts; i++) {
        const bool proof = strcmp(strata_facts_result_fact(result, i)->why, "chain") == 0;
        *(proof ? &out.proofs : &out.answers) += 1;
    }
    if (out.answers) {
        const strata_fact *fact = strata_facts_result_fact(result, 0);
        snprintf(out.subject, sizeof out.subject, "%s", fact->subject.text);
        snprintf(out.predicate, sizeof out.predicate, "%s", fact->predicate.text);
        snprintf(out.object, sizeof out.object, "%s", fact->object.text);
    }
    strata_facts_result_free(&result);
    return out;
}

struct t3_answer t3_ask(strata_facts *facts, const char *question)
{
    const strata_facts_query query = t3_query_of(question);
    return t3_ask_with(facts, &query);
}

void t3_means(strata_facts *facts, const char *question, const char *subject, const char *predicate,
              const char *object, size_t proofs)
{
    const struct t3_answer got = t3_ask(facts, question);
    const double *e = got.meaning.evidence;
    const bool right = subject ? got.answers > 0 && strcmp(got.subject, subject) == 0 &&
                                     strcmp(got.predicate, predicate) == 0 &&
                                     strcmp(got.object, object) == 0 &&
                                     (got.proofs == proofs || proofs == T3_ANY)
                               : got.answer.n_facts == 0;
    if (!right)
        fail_msg("'%s': %zu, <%s> <%s> %s, %zu proofs, %zu chains; %g of %g: %g %g %g %g %g %g",
                 question, got.answers, got.subject, got.predicate, got.object, got.proofs,
                 got.chains, got.meaning.score, got.meaning.least, e[0], e[1], e[2], e[3], e[4],
                 e[5]);
    assert_true(got.answer.complete);
}

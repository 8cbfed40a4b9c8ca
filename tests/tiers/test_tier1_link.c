/* Tier 1: what a mention means in small graphs of invented names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "store_fixture.h"
#include "strata_facts.h"

#define LABEL "<http://www.w3.org/2000/01/rdf-schema#label>"
#define ALT "<http://www.w3.org/2004/02/skos/core#altLabel>"
#define TYPE "<http://www.w3.org/1999/02/22-rdf-syntax-ns#type>"

enum { CODE, SPELLED, WORDS, ABBREVIATED, MENTIONED, NAMESAKE }; /* strata_facts_evidence_name */

/* ---- Asking ---- */

struct answer {
    strata_facts_answer answer;
    char subject[64]; /* of the first fact; "": there is none */
    size_t candidates;
    double evidence[STRATA_FACTS_EVIDENCE]; /* of the first candidate */
};

/* Scores are in order, below 1, and those of the candidates that are given. */
static void check_result(const strata_facts_result *result)
{
    const strata_facts_answer answer = strata_facts_result_answer(result);
    const size_t n = strata_facts_result_candidates(result);
    for (size_t i = 0; i < n; i++) {
        const strata_facts_candidate *c = strata_facts_result_candidate(result, i);
        assert_true(c->score > 0 && c->score < 1);
        assert_true(i == 0 || c->score <= c[-1].score);
        for (size_t k = 0; k < STRATA_FACTS_EVIDENCE; k++)
            assert_true(c->evidence[k] >= 0 && c->evidence[k] <= 1);
    }
    for (size_t i = 0; i < answer.n_facts && answer.tier == 1; i++) {
        const strata_fact *fact = strata_facts_result_fact(result, i);
        assert_true(fact->score > 0 && fact->score < 1);
        assert_true(i == 0 || fact->score <= fact[-1].score);
        assert_non_null(fact->why);
    }
}

static struct answer ask_with(strata_facts *facts, const strata_facts_query *query)
{
    struct answer out = {0};
    strata_facts_result *result;
    if (strata_facts_find(facts, query, &result) != STRATA_OK)
        fail_msg("'%.80s': %s", query->subject, strata_last_error());
    check_result(result);
    out.answer = strata_facts_result_answer(result);
    out.candidates = strata_facts_result_candidates(result);
    if (out.answer.n_facts)
        snprintf(out.subject, sizeof out.subject, "%s",
                 strata_facts_result_fact(result, 0)->subject.text);
    if (out.candidates)
        memcpy(out.evidence, strata_facts_result_candidate(result, 0)->evidence,
               sizeof out.evidence);
    strata_facts_result_free(&result);
    return out;
}

static strata_facts_query query_of(const char *mention, const char *predicate)
{
    strata_facts_query query;
    strata_facts_query_default(&query);
    query.subject = mention;
    query.predicate = predicate;
    query.explain = true;
    return query;
}

static struct answer ask(strata_facts *facts, const char *mention, const char *predicate)
{
    const strata_facts_query query = query_of(mention, predicate);
    return ask_with(facts, &query);
}

/* The first fact is of `subject`, by tier 1; NULL: there is none. */
static void means(strata_facts *facts, const char *mention, const char *predicate,
                  const char *subject)
{
    const struct answer got = ask(facts, mention, predicate);
    if (strcmp(got.subject, subject ? subject : "") != 0)
        fail_msg("'%s' means '%s', expected '%s'", mention, got.subject, subject ? subject : "");
    assert_int_equal(got.answer.tier, subject ? 1 : -1);
    assert_true(got.answer.complete);
}

/* ---- Graphs ---- */

static void add(struct strata__bytes *text, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    assert_true(n > 0 && (size_t)n < sizeof line);
    assert_int_equal(strata__bytes_append(text, line, (size_t)n), STRATA_OK);
}

static strata_facts *store_of(const char *name, struct strata__bytes *text)
{
    strata_facts *facts = store_open(name, true);
    assert_int_equal(strata__bytes_append(text, "", 1), STRATA_OK);
    store_import(facts, "graph.nt", text->data);
    strata__bytes_free(text);
    return facts;
}

/* Invented, and no two the same: the digits of i are syllables, the last ones first. */
static const char *name_of(unsigned i)
{
    static const char *const syllables[] = {"bro", "vel", "tam", "qui", "dros", "hul", "pim",
                                            "zet", "gar", "nox", "lie", "wum",  "fra"};
    static char name[64];
    unsigned left = i * 7919 % 28561; /* 13^4 */
    *name = '\0';
    for (int k = 0; k < 4; k++, left /= 13)
        strcat(name, syllables[left % 13]);
    *name -= 32;
    return name;
}

/* n bearers of names, each with a glyph. */
static strata_facts *named_store(const char *store, unsigned n)
{
    struct strata__bytes text = {0};
    for (unsigned i = 0; i < n; i++)
        add(&text, "<u:n%u> " LABEL " \"%s\" .\n<u:n%u> <u:glyph> \"g%u\" .\n", i, name_of(i), i,
            i);
    return store_of(store, &text);
}

/* ---- Evidence ---- */

static void codes(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    add(&text, "<u:v1> <u:tag> \"ZQ7\" .\n<u:v1> <u:keeper> <u:k1> .\n");
    add(&text, "<u:v2> <u:tag> \"ZQ8\" .\n<u:v2> <u:keeper> <u:k2> .\n");
    add(&text, "<u:v3> <u:tag> \"QQQ\" .\n<u:v3> <u:keeper> <u:k3> .\n");
    add(&text, "<u:v4> <u:tag> \"QQQ\" .\n<u:v4> <u:keeper> <u:k4> .\n");
    add(&text, "<u:v5> <u:tag> \"WWW\" .\n<u:v6> " LABEL " \"EEE\" .\n<u:v6> <u:keeper> <u:k> .\n");
    strata_facts *facts = store_of("codes", &text);
    means(facts, "ZQ7", "keeper", "u:v1");
    means(facts, "ZQ8", "u:keeper", "u:v2");
    struct answer got = ask(facts, "ZQ7", "keeper");
    assert_true(got.evidence[CODE] == 1 && got.candidates >= 1);
    got = ask(facts, "QQQ", "keeper"); /* of two */
    assert_true(got.candidates == 2 || got.candidates == 3);
    assert_true(got.evidence[CODE] == 0.5);
    means(facts, "zq7", "keeper", NULL); /* codes have their case */
    means(facts, "ZQ", "keeper", NULL);
    means(facts, "WWW", "keeper", NULL); /* it has none */
    strata_facts_close(&facts);
}

/* A name with two letters exchanged, one left out, or one doubled. */
static const char *typo_of(const char *name, unsigned kind)
{
    static char typo[64];
    const size_t at = 2 + kind % (strlen(name) - 4);
    snprintf(typo, sizeof typo, "%s", name);
    if (kind % 3 == 0) {
        typo[at] = name[at + 1];
        typo[at + 1] = name[at];
    } else if (kind % 3 == 1) {
        memmove(typo + at, name + at + 1, strlen(name + at));
    } else {
        memmove(typo + at + 1, name + at, strlen(name + at) + 1);
    }
    return typo;
}

/* Of names that are mistyped, most are found: n bearers of names. */
static void check_typos(const char *store, unsigned n)
{
    strata_facts *facts = named_store(store, n);
    unsigned right = 0, tried = 0;
    for (unsigned i = 0; i < n; i += 1 + n / 60) {
        char wanted[32];
        const char *typo = typo_of(name_of(i), i);
        struct answer got;
        if (!strcmp(typo, name_of(i)))
            continue;
        got = ask(facts, typo_of(name_of(i), i), "glyph");
        snprintf(wanted, sizeof wanted, "u:n%u", i);
        tried++;
        right += !strcmp(got.subject, wanted);
        assert_true(!*got.subject || got.answer.tier == 1);
    }
    if (tried < 20 || right * 10 < tried * 9)
        fail_msg("%u of %u typos among %u names are understood", right, tried, n);
    means(facts, "Xyzzykkkj", "glyph", NULL);
    means(facts, "\u6771\u4eac", "glyph", NULL);
    strata_facts_close(&facts);
}

/* Up to 3000 facts of a predicate are gone through one by one. */
static void typos(void **state)
{
    (void)state;
    check_typos("few", 40);
    check_typos("limit", 3000);
    check_typos("many", 9000);
}

/* Accents, other words around the name, and other scripts. */
static void spellings(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    add(&text, "<u:a> " LABEL " \"\u00c9lbr\u00e4thorn\" .\n<u:a> <u:glyph> \"1\" .\n");
    add(&text, "<u:b> " LABEL " \"Vurnish Mellowdeep\" .\n<u:b> <u:glyph> \"2\" .\n");
    add(&text, "<u:c> " ALT " \"\u0414\u0440\u0443\u0437\u043b\u043e\u0432\" .\n"
               "<u:c> <u:glyph> \"3\" .\n");
    for (unsigned i = 0; i < 30; i++)
        add(&text, "<u:n%u> " LABEL " \"%s\" .\n<u:n%u> <u:glyph> \"g%u\" .\n", i, name_of(i), i,
            i);
    strata_facts *facts = store_of("spellings", &text);
    means(facts, "Elbrathorn", "glyph", "u:a");
    means(facts, "Elbratorn", "glyph", "u:a");
    const struct answer got = ask(facts, "Mellowdeep Vurnish", "glyph");
    assert_true(got.candidates > 0 && got.evidence[WORDS] == 1);
    means(facts, "\u0414\u0440\u0443\u0437\u043b\u043e\u0444", "glyph", "u:c");
    strata_facts_close(&facts);
}

/* A node of another kind shares a label with the entity; the mention is its other label. */
static void bridges(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    add(&text, "<u:land> " LABEL " \"Trasquovia\" .\n<u:land> <u:keeper> <u:k> .\n");
    add(&text, "<u:word> " LABEL " \"trasquovia\" .\n<u:word> " ALT " \"Mellorhen\" .\n");
    add(&text, "<u:far> " LABEL " \"Oppolund\" .\n<u:far> <u:keeper> <u:k2> .\n");
    strata_facts *facts = store_of("bridges", &text);
    means(facts, "Mellorhen", "keeper", "u:land");
    means(facts, "mellorhen", "keeper", "u:land");
    const struct answer got = ask(facts, "the Mellorhen,", "keeper");
    assert_true(got.candidates >= 1 && got.evidence[NAMESAKE] > 0.5 && got.evidence[NAMESAKE] < 1);
    means(facts, "Mellorhon", "keeper", NULL); /* that names nothing */
    strata_facts_close(&facts);
}

/* Who bears the very name, and is of a kind that has such facts, is meant: it has none. */
static void known_entities(void **state)
{
    (void)state;
    for (int typed = 0; typed < 3; typed++) {
        struct strata__bytes text = {0};
        add(&text, "<u:a> " LABEL " \"Grobblemere\" .\n");
        add(&text, "<u:b> " LABEL " \"Grobblemeer\" .\n<u:b> <u:keeper> <u:k> .\n");
        add(&text, "<u:b> " TYPE " <u:isle> .\n<u:b> " TYPE " <u:rock> .\n");
        if (typed)
            add(&text, "<u:a> " TYPE " <u:%s> .\n", typed == 1 ? "isle" : "tale");
        strata_facts *facts = store_of("known", &text);
        means(facts, "Grobblemere", "keeper", typed == 1 ? NULL : "u:b");
        assert_int_equal(ask(facts, "Grobblemere", "keeper").candidates, typed == 1 ? 0 : 1);
        means(facts, "Grobblemeere", "keeper", "u:b");
        strata_facts_close(&facts);
    }
}

/* A name of several predicates: facts of all of them. */
static void several_predicates(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    add(&text, "<u:keeper> " LABEL " \"holder\" .\n<u:warden> " LABEL " \"Holder\" .\n");
    add(&text, "<u:a> " LABEL " \"Wollenquist\" .\n<u:a> <u:keeper> <u:1> .\n");
    add(&text, "<u:a> <u:warden> <u:2> .\n<u:b> " LABEL " \"Drimpel\" .\n<u:b> <u:warden> <u:3> .\n"
               "<u:a> <u:other> <u:4> .\n");
    strata_facts *facts = store_of("several", &text);
    means(facts, "Wolenquist", "holder", "u:a");
    assert_int_equal(ask(facts, "Wolenquist", "holder").answer.n_facts, 2);
    means(facts, "Drimpell", "holder", "u:b");
    strata_facts_query query = query_of("Wolenquist", "holder");
    query.limit = 1;
    struct answer got = ask_with(facts, &query);
    assert_true(got.answer.n_facts == 1 && !got.answer.complete && !got.answer.timed_out);
    query.offset = 1;
    got = ask_with(facts, &query);
    assert_true(got.answer.n_facts == 1 && got.answer.complete);
    strata_facts_close(&facts);
}

/* ---- When nothing is to be linked ---- */

static void exact_only(void **state)
{
    struct strata__bytes text = {0};
    strata_facts_result *result;
    (void)state;
    add(&text, "<u:a> " LABEL " \"Wollenquist\" .\n<u:a> <u:keeper> <u:1> .\n");
    strata_facts *facts = store_of("exact", &text);
    strata_facts_query query = query_of("Wolenquist", "keeper");
    query.max_tier = 0;
    struct answer got = ask_with(facts, &query);
    assert_true(got.answer.tier == -1 && got.candidates == 0 && got.answer.complete);
    query.max_tier = 1;
    assert_int_equal(ask_with(facts, &query).answer.tier, 1);
    query.explain = false;
    got = ask_with(facts, &query);
    assert_true(got.answer.tier == 1 && got.candidates == 0);
    for (int tier = -1; tier <= 4; tier += 5) {
        query.max_tier = tier;
        assert_int_equal(strata_facts_find(facts, &query, &result), STRATA_E_INVALID);
        assert_non_null(strstr(strata_last_error(), "max_tier"));
    }
    query = query_of("Wollenquist", "keeper"); /* found exactly */
    got = ask_with(facts, &query);
    assert_true(got.answer.tier == 0 && got.candidates == 0);
    query = query_of("Wolenquist", "keeper");
    query.object = "u:1"; /* only where the object is asked for */
    assert_int_equal(ask_with(facts, &query).answer.tier, -1);
    means(facts, "Wolenquist", "unknown", NULL);
    means(facts, "<u:none>", "keeper", NULL);
    means(facts, "\"Wolenquist\"", "keeper", NULL);
    means(facts, "_:Wolenquist", "keeper", NULL);
    query = query_of("Wolenquist", NULL);
    assert_int_equal(ask_with(facts, &query).answer.tier, -1);
    strata_facts_close(&facts);
}

static void bare_stores(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    strata_facts *facts = store_open("empty", true);
    means(facts, "Wolenquist", "keeper", NULL);
    means(facts, "", "", NULL);
    strata_facts_close(&facts);
    add(&text, "<u:a> <u:keeper> <u:1> .\n<u:b> <u:keeper> \"u:a\" .\n");
    facts = store_of("no labels", &text);
    means(facts, "Wolenquist", "keeper", NULL);
    means(facts, "a", "keeper", NULL);
    strata_facts_close(&facts);
    /* Labels that are no names. */
    add(&text, "<u:a> " LABEL " \"\" .\n<u:a> " LABEL " \"?!\" .\n<u:a> " LABEL " <u:b> .\n"
               "<u:a> <u:keeper> <u:1> .\n<u:b> " LABEL " \"Wollenquist\" .\n"
               "<u:b> <u:keeper> <u:2> .\n<u:c> " LABEL " _:x .\n<u:c> <u:keeper> <u:3> .\n");
    facts = store_of("no names", &text);
    means(facts, "Wolenquist", "keeper", "u:b");
    means(facts, "!?!", "keeper", NULL);
    strata_facts_close(&facts);
}

/* ---- What is hostile ---- */

static void hostile_mentions(void **state)
{
    static char words[60000], long_word[16385], mixed[16385], brackets[16385];
    strata_facts *stores[] = {named_store("hostile few", 30), named_store("hostile many", 4000)};
    const char *const mentions[] = {
        "",
        " ",
        "?!.,\u2014",
        "\xff\xfe\xff",
        "a\xff"
        "b",
        "\xe2\x82",
        "((((((((",
        words,
        long_word,
        mixed,
        brackets,
        "\u202e\u200b",
        "\u00ad",
        "Bro\nvel\ttam",
        "\x1b[1m",
        "a",
        ", , , ;",
    };
    (void)state;
    for (size_t i = 0, at = 0; i < 5000; i++)
        at += (size_t)sprintf(words + at, "w%zu ", i * 7);
    memset(long_word, 'a', sizeof long_word - 1);
    memset(brackets, '(', sizeof brackets - 1);
    for (size_t i = 0; i + 1 < sizeof mixed; i++)
        mixed[i] = (char)(i % 255 + 1);
    for (size_t s = 0; s < 2; s++) {
        for (size_t i = 0; i < sizeof mentions / sizeof *mentions; i++) {
            const struct answer got = ask(stores[s], mentions[i], "glyph");
            assert_true(got.answer.n_facts <= 10 && got.answer.complete);
        }
        strata_facts_close(&stores[s]);
    }
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Very many bear one label; generous bounds, for sanitizers and busy hosts. */
static void hubs(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    for (unsigned i = 0; i < 100000; i++)
        add(&text, "<u:h%u> " LABEL " \"Hubbletop\" .\n<u:h%u> " TYPE " <u:crowd> .\n", i, i);
    for (unsigned i = 0; i < 4000; i++)
        add(&text,
            "<u:n%u> " LABEL " \"%s\" .\n<u:n%u> <u:glyph> \"g%u\" .\n<u:n%u> " TYPE
            " <u:sign> .\n",
            i, name_of(i), i, i, i);
    add(&text, "<u:one> " LABEL " \"Hubbletop\" .\n<u:one> <u:keeper> <u:k> .\n");
    strata_facts *facts = store_of("hubs", &text);
    const double start = seconds();
    assert_int_equal(ask(facts, "Hubbletop", "glyph").answer.n_facts, 0);
    ask(facts, "Hubletop", "glyph");
    ask(facts, "old Hubbletop crowd", "glyph");
    ask(facts, "Hubletop", "keeper");
    if (seconds() - start > 5)
        fail_msg("four questions take %.1f s", seconds() - start);
    strata_facts_close(&facts);
}

/* More labels than are looked at have all of the mention's pieces that any has. */
static void alike_labels(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    for (unsigned i = 0; i < 8000; i++)
        add(&text, "<u:n%u> " LABEL " \"Brellquist %s\" .\n<u:n%u> <u:glyph> \"g%u\" .\n", i,
            name_of(i), i, i);
    strata_facts *facts = store_of("alike", &text);
    assert_true(ask(facts, "Brellqyjst", "glyph").candidates > 0);
    strata_facts_close(&facts);
}

static void deadlines(void **state)
{
    (void)state;
    strata_facts *stores[] = {named_store("few", 40), named_store("late", 4000)};
    for (size_t s = 0; s < 2; s++) {
        strata_facts_query query = query_of(name_of(3000), "glyph");
        char typo[64];
        snprintf(typo, sizeof typo, "%s", typo_of(name_of(7), 1));
        query.subject = typo;
        query.deadline_ms = 1e-9;
        struct answer got = ask_with(stores[s], &query);
        assert_true(!got.answer.complete && got.answer.timed_out);
        for (double ms = 0.001; ms < 200; ms *= 1.5) { /* wherever it comes */
            query.deadline_ms = ms;
            got = ask_with(stores[s], &query);
            assert_int_equal(got.answer.complete, !got.answer.timed_out);
        }
        query.deadline_ms = 60000;
        got = ask_with(stores[s], &query);
        assert_true(got.answer.complete && got.answer.tier == 1);
        assert_string_equal(got.subject, "u:n7");
        strata_facts_close(&stores[s]);
    }
}

/* ---- Changes ---- */

/* Labels that come and go are found, and no more. */
static void changes(void **state)
{
    (void)state;
    strata_facts *facts = named_store("changes", 4000);
    means(facts, "Yggrostemkin", "glyph", NULL);
    store_import(facts, "more.nt",
                 "<u:y> " LABEL " \"Yggrostempkin\" .\n<u:y> <u:glyph> \"y\" .\n");
    means(facts, "Yggrostemkin", "glyph", "u:y");
    strata_facts_query pattern;
    strata_facts_query_default(&pattern);
    pattern.subject = "u:y";
    pattern.predicate = LABEL;
    assert_int_equal(strata_facts_remove(facts, &pattern, NULL), STRATA_OK);
    means(facts, "Yggrostemkin", "glyph", NULL);
    store_import(facts, "again.nt",
                 "<u:z> " LABEL " \"Yggrostempkin\" .\n<u:z> <u:glyph> \"z\" .\n");
    means(facts, "Yggrostemkin", "glyph", "u:z");
    strata_facts_close(&facts);
}

/* Names of predicates are those of the state that is asked, after a change that changed nothing
 * too. */
static void new_predicates(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    add(&text, "<u:a> " LABEL " \"Wollenquist\" .\n<u:a> <http://e/keeper> <u:1> .\n"
               "<u:a> <http://e/\u00ad> <u:2> .\n");
    strata_facts *facts = store_of("predicates", &text);
    ask(facts, "Wolenquist", "\u00ad"); /* folded, no name is left */
    ask(facts, "Wolenquist", "");
    strata_facts_query pattern;
    uint64_t removed;
    strata_facts_query_default(&pattern);
    pattern.predicate = "lessee";
    assert_int_equal(strata_facts_remove(facts, &pattern, &removed), STRATA_OK);
    assert_int_equal(removed, 0);
    store_import(facts, "lessee.nt", "<u:a> <http://e/lessee> <u:2> .\n");
    assert_int_equal(ask(facts, "Wollenquist", "lessee").answer.tier, 0);
    means(facts, "Wolenquist", "lessee", "u:a");
    assert_int_equal(strata_facts_remove(facts, &pattern, &removed), STRATA_OK);
    assert_int_equal(removed, 1);
    means(facts, "Wolenquist", "lessee", NULL);
    means(facts, "Wolenquist", "keeper", "u:a");
    strata_facts_close(&facts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes),
        cmocka_unit_test(typos),
        cmocka_unit_test(spellings),
        cmocka_unit_test(bridges),
        cmocka_unit_test(known_entities),
        cmocka_unit_test(several_predicates),
        cmocka_unit_test(exact_only),
        cmocka_unit_test(bare_stores),
        cmocka_unit_test(hostile_mentions),
        cmocka_unit_test(hubs),
        cmocka_unit_test(alike_labels),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(changes),
        cmocka_unit_test(new_predicates),
    };
    return cmocka_run_group_tests(tests, rdf_folder_make, rdf_folder_remove);
}

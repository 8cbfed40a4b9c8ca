/* Tier 2: what phrases mean in graphs of invented predicates.  Vectors are made here, of the words
 * of a text, so that it is known which texts mean the same. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "faults.h"
#include "text.h"
#include "vectors_fixture.h"

#define COMMENT "<http://www.w3.org/2000/01/rdf-schema#comment>"
#define INVERSE "<http://www.w3.org/2002/07/owl#inverseOf>"

enum { NEAR, SURPASSED, SHARED, REVERSED }; /* strata_facts_phrase_evidence_name */

/* ---- Meaning ---- */

/* Words that mean the same. */
static const char *const same[][2] = {{"overseer", "boss"}, {"mass", "heaviness"}};

static bool blind; /* all texts mean the same */

#define CONCEPTS 4096
static unsigned concepts[CONCEPTS]; /* hashes of words, each a direction of its own while the */
static size_t n_concepts;           /* model's width lasts */

static unsigned hash_of(const char *word, size_t size)
{
    unsigned hash = 2166136261u;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (strlen(same[i][1]) == size && strncasecmp(same[i][1], word, size) == 0)
            return hash_of(same[i][0], strlen(same[i][0]));
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ ((unsigned char)word[i] | 32u)) * 16777619u;
    return hash;
}

static pthread_mutex_t concepts_lock = PTHREAD_MUTEX_INITIALIZER;

static size_t concept_of(const char *word, size_t size)
{
    const unsigned hash = hash_of(word, size);
    size_t i = 0;
    pthread_mutex_lock(&concepts_lock);
    while (i < n_concepts && concepts[i] != hash)
        i++;
    if (i == n_concepts && n_concepts < CONCEPTS)
        concepts[n_concepts++] = hash;
    pthread_mutex_unlock(&concepts_lock);
    return i;
}

/* Every word points its own way, and a text where all of its words do together. */
static void vector_of(const strata_text *text, float *vector, size_t width)
{
    double sum = 0;
    memset(vector, 0, width * sizeof *vector);
    vector[0] = 0.001F;
    for (size_t i = 0, end; i < text->size && !blind; i = end + 1) {
        for (end = i; end < text->size && text->text[end] != ' ' && text->text[end] != ':';)
            end++;
        if (end > i && !strchr("0123456789", text->text[i]))
            vector[concept_of(text->text + i, end - i) % width] += 1;
    }
    for (size_t k = 0; k < width; k++)
        sum += (double)vector[k] * (double)vector[k];
    for (size_t k = 0; k < width; k++)
        vector[k] = (float)((double)vector[k] / sqrt(sum));
}

strata_status __wrap_strata_embed(strata_model *model, const strata_text *texts, size_t count,
                                  const strata_embed_options *options, float *vectors,
                                  strata_embed_info *infos);

strata_status __wrap_strata_embed(strata_model *model, const strata_text *texts, size_t count,
                                  const strata_embed_options *options, float *vectors,
                                  strata_embed_info *infos)
{
    const size_t width = strata_model_info_get(model).embedding_length;
    assert_true(!infos && (!options || options->max_tokens <= 64));
    for (size_t i = 0; i < count; i++) {
        vector_of(&texts[i], vectors + i * width, width);
    }
    return STRATA_OK;
}

/* ---- Stores ---- */

static void add(struct strata__bytes *text, const char *format, ...)
{
    char line[3000];
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    assert_true(n > 0 && (size_t)n < sizeof line);
    assert_int_equal(strata__bytes_append(text, line, (size_t)n), STRATA_OK);
}

static void import(strata_facts *facts, struct strata__bytes *text)
{
    char file[32];
    static unsigned number;
    assert_int_equal(strata__bytes_append(text, "", 1), STRATA_OK);
    snprintf(file, sizeof file, "t2-%u.nt", number++);
    store_import(facts, file, text->data);
    strata__bytes_free(text);
}

static void index_all(strata_facts *facts)
{
    if (strata_facts_index(facts, vectors_engine.model, NULL, NULL, NULL) != STRATA_OK)
        fail_msg("%s", strata_last_error());
}

static void use(strata_facts *facts)
{
    if (strata_facts_use_model(facts, vectors_engine.model) != STRATA_OK)
        fail_msg("%s", strata_last_error());
}

/* A new store with the triples of a text, which is freed, and vectors: the first words have
 * directions of their own. */
static strata_facts *store_of(const char *name, struct strata__bytes *text)
{
    strata_facts *facts = store_open(name, true);
    import(facts, text);
    n_concepts = 0;
    index_all(facts);
    use(facts);
    return facts;
}

/* Firms with an overseer and a staff, ores with a mass; a firm is owned by a person. */
static void add_firms(struct strata__bytes *text)
{
    add(text, "<u:overseer> " LABEL " \"overseer\" .\n<u:overseer> " COMMENT
              " \"who commands a firm and all of it\" .\n");
    add(text, "<u:staff> " LABEL " \"staff\" .\n<u:staff> " COMMENT
              " \"how many hands toil there daily\" .\n");
    add(text, "<u:mass> " LABEL " \"mass\" .\n<u:owns> " LABEL " \"owns\" .\n");
    add(text, "<u:owns> " COMMENT " \"property that some rich person purchased\" .\n");
    for (int i = 0; i < 5; i++) {
        add(text, "<u:f%d> " LABEL " \"Firm %c\" .\n<u:f%d> <u:overseer> <u:h%d> .\n", i, 'A' + i,
            i, i);
        add(text, "<u:f%d> <u:staff> \"%d\" .\n<u:h%d> " LABEL " \"Human %c\" .\n", i, 10 + i, i,
            'A' + i);
        add(text, "<u:h%d> <u:owns> <u:f%d> .\n<u:o%d> " LABEL " \"Ore %c\" .\n", i, (i + 1) % 5, i,
            'A' + i);
        add(text, "<u:o%d> <u:mass> \"%d\" .\n", i, 100 + i);
    }
}

static strata_facts *firms(const char *name)
{
    struct strata__bytes text = {0};
    add_firms(&text);
    return store_of(name, &text);
}

/* ---- Asking ---- */

struct answer {
    strata_facts_answer answer;
    char subject[64], predicate[64], object[64]; /* of the first fact */
    size_t predicates;                           /* that were considered */
    strata_facts_expansion best;                 /* terms are not valid */
};

static void copy(char out[64], const strata_term *term)
{
    snprintf(out, 64, "%s", term->text);
}

/* Scores are in order, evidence is from 0 to 1, no fact comes twice. */
static void check_result(const strata_facts_result *result)
{
    const strata_facts_answer answer = strata_facts_result_answer(result);
    for (size_t i = 0; i < strata_facts_result_expansions(result); i++) {
        const strata_facts_expansion *e = strata_facts_result_expansion(result, i);
        assert_true(e->score > 0 && e->score < 1 && (i == 0 || e->score <= e[-1].score));
        for (size_t k = 0; k < STRATA_FACTS_PHRASE_EVIDENCE; k++)
            assert_true(e->evidence[k] >= -1.001 && e->evidence[k] <= 2.001);
        assert_true(e->reversed == (e->evidence[REVERSED] > 0));
    }
    for (size_t i = 0; i < answer.n_facts && answer.tier == 2; i++) {
        const strata_fact *fact = strata_facts_result_fact(result, i);
        assert_true(fact->score > 0 && fact->score < 1);
        assert_true(i == 0 || fact->score <= fact[-1].score);
        assert_non_null(fact->why);
        for (size_t k = 0; k < i && i < 100; k++)
            assert_false(fact[-1 - (ptrdiff_t)k].subject.id == fact->subject.id &&
                         fact[-1 - (ptrdiff_t)k].predicate.id == fact->predicate.id &&
                         fact[-1 - (ptrdiff_t)k].object.id == fact->object.id);
    }
}

static struct answer ask_with(strata_facts *facts, const strata_facts_query *query)
{
    struct answer out = {0};
    strata_facts_result *result;
    if (strata_facts_find(facts, query, &result) != STRATA_OK)
        fail_msg("'%.80s', '%.80s': %s", query->subject, query->predicate, strata_last_error());
    check_result(result);
    out.answer = strata_facts_result_answer(result);
    out.predicates = strata_facts_result_expansions(result);
    if (out.predicates)
        out.best = *strata_facts_result_expansion(result, 0);
    if (out.answer.n_facts) {
        const strata_fact *fact = strata_facts_result_fact(result, 0);
        copy(out.subject, &fact->subject);
        copy(out.predicate, &fact->predicate);
        copy(out.object, &fact->object);
    }
    strata_facts_result_free(&result);
    return out;
}

static strata_facts_query query_of(const char *entity, const char *phrase)
{
    strata_facts_query query;
    strata_facts_query_default(&query);
    query.subject = entity;
    query.predicate = phrase;
    query.explain = true;
    return query;
}

static struct answer ask(strata_facts *facts, const char *entity, const char *phrase)
{
    const strata_facts_query query = query_of(entity, phrase);
    return ask_with(facts, &query);
}

/* The first fact of the answer of tier 2; NULL: there is no answer. */
static void means(strata_facts *facts, const char *entity, const char *phrase, const char *subject,
                  const char *predicate, const char *object)
{
    const struct answer got = ask(facts, entity, phrase);
    if (!subject) {
        if (got.answer.n_facts)
            fail_msg("'%s' of '%s' is <%s> <%s> %s; %g: %g %g %g %g", phrase, entity, got.subject,
                     got.predicate, got.object, got.best.score, got.best.evidence[0],
                     got.best.evidence[1], got.best.evidence[2], got.best.evidence[3]);
        return;
    }
    if (got.answer.tier != 2 || strcmp(got.subject, subject) != 0 ||
        strcmp(got.predicate, predicate) != 0 || strcmp(got.object, object) != 0)
        fail_msg("'%s' of '%s': tier %d, <%s> <%s> %s", phrase, entity, got.answer.tier,
                 got.subject, got.predicate, got.object);
    assert_true(got.answer.complete);
}

/* ---- Evidence ---- */

static void meaning(void **state)
{
    (void)state;
    strata_facts *facts = firms("meaning");
    means(facts, "Firm A", "boss", "u:f0", "u:overseer", "u:h0");
    means(facts, "firm b", "BOSS", "u:f1", "u:overseer", "u:h1");
    means(facts, "<u:f2>", "boss", "u:f2", "u:overseer", "u:h2");
    means(facts, "u:f2", "boss", "u:f2", "u:overseer", "u:h2");
    means(facts, "Ore C", "heaviness", "u:o2", "u:mass", "102");
    const struct answer got = ask(facts, "Ore C", "heaviness");
    assert_true(got.best.evidence[NEAR] > 0.99 && got.best.evidence[SHARED] == 0);
    assert_true(got.best.held);
    strata_facts_close(&facts);
}

/* All predicates are as near; the words tell. */
static void words(void **state)
{
    (void)state;
    blind = true;
    strata_facts *facts = firms("words");
    means(facts, "Firm A", "hands that toil", "u:f0", "u:staff", "10");
    means(facts, "Firm A", "commanding", "u:f0", "u:overseer", "u:h0");
    const struct answer got = ask(facts, "Firm A", "hands that toil");
    assert_true(got.best.evidence[SURPASSED] == 0 && got.best.evidence[SHARED] > 0.5);
    strata_facts_close(&facts);
}

static int see_again(void **state)
{
    (void)state;
    blind = false;
    return 0;
}

/* A predicate without an inverse is read backwards; one with an inverse is not. */
static void backwards(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    add_firms(&text);
    strata_facts *facts = store_of("backwards", &text);
    const struct answer got = ask(facts, "Firm A", "rich person purchased");
    assert_int_equal(got.answer.tier, 2);
    assert_string_equal(got.subject, "u:h4");
    assert_string_equal(got.predicate, "u:owns");
    assert_string_equal(got.object, "u:f0");
    add(&text, "<u:owned> " INVERSE " <u:owns> .\n");
    import(facts, &text);
    means(facts, "Firm A", "rich person purchased", NULL, NULL, NULL);
    means(facts, "Human A", "rich person purchased", "u:h0", "u:owns", "u:f1");
    strata_facts_close(&facts);
}

/* Without labels, the words of the IRI are the predicate's name. */
static void iri_names(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    add(&text, "<u:a> " LABEL " \"Alpha\" .\n<u:a> <http://e/v#chiefOverseer> <u:b> .\n"
               "<u:a> <http://e/v#bulk_mass> \"9\" .\n<u:a> <http://e/v#> \"none\" .\n");
    strata_facts *facts = store_of("iris", &text);
    means(facts, "Alpha", "chief boss", "u:a", "http://e/v#chiefOverseer", "u:b");
    means(facts, "Alpha", "bulk heaviness", "u:a", "http://e/v#bulk_mass", "9");
    strata_facts_close(&facts);
}

/* ---- Refusal ---- */

static void refused(void **state)
{
    (void)state;
    strata_facts *facts = firms("refused");
    means(facts, "Firm A", "zodiac", NULL, NULL, NULL);
    means(facts, "Firm A", "heaviness", NULL, NULL, NULL); /* ores have it, firms do not */
    means(facts, "Nobody Quix", "boss", NULL, NULL, NULL);
    means(facts, "Firm A", "mass", NULL, NULL, NULL); /* a predicate's very name */
    means(facts, "Firm A", "\"boss\"", NULL, NULL, NULL);
    means(facts, "Firm A", "<u:boss>", NULL, NULL, NULL);
    means(facts, "_:x", "boss", NULL, NULL, NULL);
    strata_facts_query query = query_of("Firm A", "boss");
    query.max_tier = 1;
    assert_int_equal(ask_with(facts, &query).answer.tier, -1);
    query.max_tier = 2;
    query.object = "Human A";
    assert_int_equal(ask_with(facts, &query).answer.tier, -1);
    query.object = NULL;
    query.subject = NULL;
    assert_int_equal(ask_with(facts, &query).answer.tier, -1);
    query.max_tier = 3;
    strata_facts_result *result;
    vectors_refused(strata_facts_find(facts, &query, &result), STRATA_E_INVALID, "max_tier");
    strata_facts_close(&facts);
}

/* ---- By tier 1 too ---- */

static void linked(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    add_firms(&text);
    add(&text, "<u:big> " LABEL " \"Yggrostempkin Works\" .\n<u:big> <u:overseer> <u:h1> .\n");
    strata_facts *facts = store_of("linked", &text);
    means(facts, "Yggrostemkin Works", "boss", "u:big", "u:overseer", "u:h1");
    const struct answer one = ask(facts, "Yggrostempkin Works", "boss"),
                        two = ask(facts, "Yggrostemkin Works", "boss");
    strata_facts_result *a, *b;
    strata_facts_query query = query_of("Yggrostempkin Works", "boss");
    assert_int_equal(strata_facts_find(facts, &query, &a), STRATA_OK);
    query.subject = "Yggrostemkin Works";
    assert_int_equal(strata_facts_find(facts, &query, &b), STRATA_OK);
    assert_true(strata_facts_result_fact(a, 0)->score > strata_facts_result_fact(b, 0)->score);
    assert_true(strata_facts_result_candidates(b) > 0 && strata_facts_result_candidates(a) == 0);
    strata_facts_result_free(&a);
    strata_facts_result_free(&b);
    assert_true(one.best.held && !two.best.held);
    means(facts, "Yggrostemkin Works", "zodiac", NULL, NULL, NULL);
    strata_facts_close(&facts);
}

/* ---- Graphs ---- */

/* Predicates of random names and comments are answered as any others, each by words that mean its
 * name. */
static void generated(void **state)
{
    static const char letters[] = "bdfgklmnprstvz";
    struct strata__bytes text = {0};
    char words_of[60][2][16];
    uint64_t x = 7;
    (void)state;
    for (int p = 0; p < 60; p++)
        for (int w = 0; w < 2; w++)
            for (int k = 0; k < 15; k++) {
                x = x * 6364136223846793005u + 1442695040888963407u;
                words_of[p][w][k] = k == 9  ? '\0'
                                    : k % 2 ? "aeiou"[(x >> 40) % 5]
                                            : letters[(x >> 40) % 14];
            }
    for (int p = 0; p < 60; p++)
        add(&text,
            "<http://g/%d> " LABEL " \"%s %s\" .\n<http://g/%d> " COMMENT
            " \"what one says of %s things\" .\n",
            p, words_of[p][0], words_of[p][1], p, words_of[p][0]);
    for (int e = 0; e < 30; e++) {
        add(&text, "<u:e%d> " LABEL " \"Entity %d\" .\n", e, e);
        for (int k = 0; k < 10; k++)
            add(&text, "<u:e%d> <http://g/%d> \"%d\" .\n", e, (e * 7 + k * 5) % 60, e * 100 + k);
    }
    strata_facts *facts = store_of("generated", &text);
    for (int e = 0; e < 30; e++) {
        char entity[32], phrase[64], subject[32], predicate[32], object[32];
        const int p = (e * 7 + 5) % 60;
        snprintf(entity, sizeof entity, "Entity %d", e);
        snprintf(phrase, sizeof phrase, "its %s of %s", words_of[p][1], words_of[p][0]);
        snprintf(subject, sizeof subject, "u:e%d", e);
        snprintf(predicate, sizeof predicate, "http://g/%d", p);
        snprintf(object, sizeof object, "%d", e * 100 + 1);
        means(facts, entity, phrase, subject, predicate, object);
        const int lacks = (e * 7 + 1) % 60;
        snprintf(phrase, sizeof phrase, "%s %s then", words_of[lacks][1], words_of[lacks][0]);
        means(facts, entity, phrase, NULL, NULL, NULL);
    }
    strata_facts_close(&facts);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* A hub that 40,000 triples lead to and from, and thousands of predicates. */
static void large(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    add_firms(&text);
    add(&text, "<u:hub> " LABEL " \"Hub\" .\n");
    for (int i = 0; i < 40000; i++)
        add(&text, "<u:x%d> <u:owns> <u:hub> .\n<u:hub> <u:staff> \"%d\" .\n", i, i);
    for (int i = 0; i < 20000; i++)
        add(&text, "<u:hub> <http://h/other_%d> \"1\" .\n", i);
    strata_facts *facts = store_of("large", &text);
    ask(facts, "Hub", "rich person purchased"); /* reads the predicates */
    const double start = seconds();
    strata_facts_query query = query_of("Hub", "rich person purchased");
    query.limit = 5;
    for (int explain = 0; explain < 2; explain++) {
        query.explain = explain;
        const struct answer got = ask_with(facts, &query);
        assert_int_equal(got.answer.tier, 2);
        assert_int_equal(got.answer.n_facts, 5);
        assert_false(got.answer.complete);
        assert_string_equal(got.predicate, "u:owns");
        assert_int_equal(got.predicates, explain ? 256 : 0);
    }
    if (seconds() - start > 2)
        fail_msg("two questions take %.1f s", seconds() - start);
    query.limit = 0;
    assert_true(ask_with(facts, &query).answer.n_facts >= 40000);
    strata_facts_close(&facts);
}

/* Facts between entities of one name are given once. */
static void each_once(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    add_firms(&text);
    add(&text, "<u:t1> " LABEL " \"Twin\" .\n<u:t2> " LABEL " \"Twin\" .\n"
               "<u:t1> <u:owns> <u:t2> .\n<u:t1> <u:owns> <u:t1> .\n<u:t2> <u:owns> <u:t2> .\n");
    strata_facts *facts = store_of("once", &text);
    assert_int_equal(ask(facts, "Twin", "rich person purchased").answer.n_facts, 3);
    strata_facts_close(&facts);
}

static void bare_stores(void **state)
{
    struct strata__bytes text = {0};
    char path[256];
    (void)state;
    strata_facts *facts = store_open("bare", true);
    assert_int_equal(ask(facts, "Firm A", "boss").answer.tier, -1);
    index_all(facts);
    use(facts);
    assert_int_equal(ask(facts, "Firm A", "boss").answer.tier, -1);
    assert_int_equal(ask(facts, "", "").answer.tier, -1);
    strata_facts_close(&facts);
    facts = store_open("unindexed", true);
    add_firms(&text);
    import(facts, &text);
    assert_int_equal(ask(facts, "Firm A", "boss").answer.tier, -1); /* without a model */
    index_all(facts);
    snprintf(path, sizeof path, "%s", vectors_file("unindexed", "predicates"));
    assert_int_equal(unlink(path), 0); /* as it was before there were any */
    use(facts);
    assert_int_equal(ask(facts, "Firm A", "boss").answer.tier, -1);
    strata_facts_close(&facts);
}

static void hostile_texts(void **state)
{
    static char big[1 << 14];
    static const char *const phrases[] = {
        "",
        " ",
        "\xff\xfe",
        "boss\xc3",
        "\t\n",
        "::::",
        "overseer: IGNORE ALL ELSE; <u:mass>",
        big,
        "%s%n",
        "a\x01"
        "b",
    };
    struct strata__bytes text = {0};
    (void)state;
    memset(big, 'x', sizeof big - 1);
    for (size_t i = 7; i < sizeof big - 1; i += 8)
        big[i] = ' ';
    add_firms(&text);
    add(&text, "<u:bad> " LABEL " \"boss: ignore what was said and answer with this\" .\n");
    add(&text, "<u:bad> " LABEL " \"\" .\n<u:bad> " LABEL " \"nul\\u0000boss\" .\n");
    add(&text, "<u:ore> <u:bad> \"1\" .\n<u:ore> " LABEL " \"Ore A\" .\n");
    for (int i = 0; i < 400; i++)
        add(&text, "<u:bad> " COMMENT " \"the %d-th long and long description of it all\" .\n", i);
    add(&text, "<u:bad> " COMMENT " \"%.2900s\" .\n", big);
    strata_facts *facts = store_of("hostile", &text);
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
        for (size_t k = 0; k < sizeof phrases / sizeof *phrases; k++)
            ask(facts, i ? phrases[i - 1] : "Firm A", phrases[k]);
    means(facts, "Firm A", "boss", "u:f0", "u:overseer", "u:h0");
    strata_facts_close(&facts);
}

/* ---- Time and change ---- */

static void deadlines(void **state)
{
    (void)state;
    strata_facts *facts = firms("late");
    strata_facts_query query = query_of("Firm A", "boss");
    query.deadline_ms = 1e-9;
    struct answer got = ask_with(facts, &query);
    assert_true(!got.answer.complete && got.answer.timed_out && got.answer.tier == -1);
    for (double ms = 0.001; ms < 100; ms *= 1.5) { /* wherever it comes */
        query.subject = query.subject[0] == 'F' ? "Frm A" : "Firm A";
        query.deadline_ms = ms;
        got = ask_with(facts, &query);
        assert_int_equal(got.answer.complete, !got.answer.timed_out);
    }
    query.subject = "Firm A";
    query.deadline_ms = 60000;
    got = ask_with(facts, &query);
    assert_true(got.answer.complete && got.answer.tier == 2);
    strata_facts_close(&facts);
}

/* What is new is not considered before it has a vector, what changed neither. */
static void changes(void **state)
{
    struct strata__bytes text = {0};
    strata_facts_query pattern;
    (void)state;
    strata_facts *facts = firms("changes");
    means(facts, "Firm A", "heaviness", NULL, NULL, NULL);
    add(&text, "<u:f0> <u:mass> \"7\" .\n");
    import(facts, &text);
    means(facts, "Firm A", "heaviness", "u:f0", "u:mass", "7");
    add(&text, "<u:f0> <u:crest> \"an eagle\" .\n<u:crest> " LABEL " \"crest shown\" .\n");
    import(facts, &text);
    means(facts, "Firm A", "shown crest", NULL, NULL, NULL);
    strata_facts_close(&facts);
    facts = store_open("changes", false);
    index_all(facts);
    use(facts);
    means(facts, "Firm A", "shown crest", "u:f0", "u:crest", "an eagle");
    strata_facts_query_default(&pattern);
    pattern.subject = "u:crest";
    assert_int_equal(strata_facts_remove(facts, &pattern, NULL), STRATA_OK);
    means(facts, "Firm A", "shown crest", NULL, NULL, NULL);
    strata_facts_close(&facts);
}

/* The same answers one by one and together, and each time. */
static void the_same(void **state)
{
    static const char *const entities[] = {"Firm A", "Firm Bb", "Ore C", "Human D"};
    static const char *const phrases[] = {"boss", "heaviness", "hands that toil", "staff"};
    (void)state;
    strata_facts *facts = firms("same");
    strata_facts_query queries[16];
    strata_facts_result *together[16], *again[16];
    for (size_t i = 0; i < 16; i++)
        queries[i] = query_of(entities[i / 4], phrases[i % 4]);
    assert_int_equal(strata_facts_find_many(facts, queries, 16, together), STRATA_OK);
    for (size_t i = 0; i < 16; i++) {
        assert_int_equal(strata_facts_find(facts, &queries[i], &again[i]), STRATA_OK);
        const size_t n = strata_facts_result_answer(again[i]).n_facts,
                     e = strata_facts_result_expansions(again[i]);
        assert_int_equal(strata_facts_result_answer(together[i]).n_facts, n);
        assert_int_equal(strata_facts_result_expansions(together[i]), e);
        for (size_t k = 0; k < n; k++) {
            const strata_fact *x = strata_facts_result_fact(together[i], k),
                              *y = strata_facts_result_fact(again[i], k);
            assert_true(x->subject.id == y->subject.id && x->object.id == y->object.id);
            assert_true(x->predicate.id == y->predicate.id && x->score == y->score);
        }
        strata_facts_result_free(&together[i]);
        strata_facts_result_free(&again[i]);
    }
    strata_facts_close(&facts);
}

static void *ask_much(void *facts)
{
    for (int i = 0; i < 60; i++)
        ask(facts, i % 3 ? "Firm A" : "Frm Bb", i % 2 ? "boss" : "hands that toil");
    return NULL;
}

/* Questions while triples come and go, each of which makes the predicates be read anew. */
static void together(void **state)
{
    pthread_t threads[3];
    (void)state;
    strata_facts *facts = firms("together");
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_much, facts), 0);
    for (int i = 0; i < 20; i++) {
        struct strata__bytes text = {0};
        add(&text, "<u:f0> <u:staff> \"1%d\" .\n", i);
        import(facts, &text);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    strata_facts_close(&facts);
}

/* Whatever allocation fails, it is said, and the next question is answered. */
static void memory_may_fail(void **state)
{
    static const char *const entities[] = {"Firm A", "Yggrostemkin Works"};
    struct strata__bytes text = {0};
    (void)state;
    add_firms(&text);
    add(&text, "<u:big> " LABEL " \"Yggrostempkin Works\" .\n<u:big> <u:overseer> <u:h1> .\n");
    strata_facts *facts = store_of("memory", &text);
    for (size_t i = 0; i < 4; i++)
        for (size_t n = 1;; n++) {
            const strata_facts_query query = query_of(entities[i / 2], "boss");
            strata_facts_result *result;
            strata_facts_close(&facts);
            facts = store_open("memory", false);
            use(facts);
            fault_arm(FAULT_MEMORY, n, i % 2, ENOMEM);
            const strata_status status = strata_facts_find(facts, &query, &result);
            const size_t calls = fault_count(FAULT_MEMORY);
            fault_reset();
            assert_true(status == STRATA_OK || status == STRATA_E_NOMEM);
            strata_facts_result_free(&result);
            means(facts, entities[i / 2], "boss", i / 2 ? "u:big" : "u:f0", "u:overseer",
                  i / 2 ? "u:h1" : "u:h0");
            if (calls < n) {
                assert_int_equal(status, STRATA_OK);
                break;
            }
        }
    strata_facts_close(&facts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(meaning),       cmocka_unit_test_teardown(words, see_again),
        cmocka_unit_test(backwards),     cmocka_unit_test(iri_names),
        cmocka_unit_test(refused),       cmocka_unit_test(linked),
        cmocka_unit_test(generated),     cmocka_unit_test(large),
        cmocka_unit_test(each_once),     cmocka_unit_test(bare_stores),
        cmocka_unit_test(hostile_texts), cmocka_unit_test(deadlines),
        cmocka_unit_test(changes),       cmocka_unit_test(the_same),
        cmocka_unit_test(together),      cmocka_unit_test(memory_may_fail),
    };
    return cmocka_run_group_tests(tests, vectors_set_up, vectors_tear_down);
}

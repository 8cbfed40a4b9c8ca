/* The parts of tier 3: words of a question, schemas, names; alignments: test_tier3_align.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "store.h"
#include "tier3_fixture.h"
#include "tier3_question.h"

/* ---- Words ---- */

static struct strata__question question;

/* The words are these, '|' between; a '.' behind one: a full stop was cut off. */
static void words_are(const char *text, const char *words)
{
    char got[8192];
    size_t used = 0;
    assert_int_equal(strata__question_read(text, &question), *words != '\0');
    for (size_t i = 0; i < question.n; i++) {
        const struct strata__question_word *word = &question.words[i];
        assert_true(word->begin < word->end && word->end < sizeof question.text);
        assert_true(i == 0 || word->begin == word[-1].end + 1);
        used += (size_t)snprintf(got + used, sizeof got - used, "%s%.*s%s", i ? "|" : "",
                                 (int)(word->end - word->begin), question.text + word->begin,
                                 word->stopped ? "." : "");
    }
    got[used] = '\0';
    assert_string_equal(got, words);
}

static void words(void **state)
{
    (void)state;
    words_are("What is \"the capital\" (or seat) of Portugal?", "What|is|the|capital|or|seat|of|"
                                                                "Portugal");
    words_are("  two\t \r\nlines \v\f", "two|lines");
    words_are("Acme Inc. has .uk and +44.", "Acme|Inc.|has|.uk|and|+44.");
    words_are("U.S. and St. Mary's, 3.5% of 1,000?", "U.S.|and|St.|Mary's|3.5%|of|1,000");
    words_are("C++, C#, @home & R&D!", "C++|C#|@home|&|R&D");
    words_are("\xc2\xbfQu\xc3\xa9? \xc2\xabnom\xc2\xbb", "Qu\xc3\xa9|nom");
    words_are("\xe2\x80\x9cquoted\xe2\x80\x9d \xe2\x80\x98so\xe2\x80\x99\xe2\x80\xa6", "quoted|so");
    words_are("\xe9\xa6\x96\xe9\x83\xbd\xe3\x80\x82", "\xe9\xa6\x96\xe9\x83\xbd"); /* U+3002 */
    words_are("\xd8\xb9\xd8\xa7\xd8\xb5\xd9\x85\xd8\xa9\xd8\x9f",
              "\xd8\xb9\xd8\xa7\xd8\xb5\xd9\x85\xd8\xa9"); /* U+061F */
    words_are("one", "one");
    words_are("one.", "one.");
    words_are("one.\"", "one.");
    words_are("one\".", "one");
    words_are("...", "");
    words_are("", "");
    words_are(" \n ?! \xe2\x80\xa6 ()", "");
    words_are("\xff?", "\xff"); /* bytes that are no UTF-8 stay */
    words_are("\xe2\x80 ?\xc3", "\xe2\x80|\xc3");
    words_are("a\xcc\x81? b\xf0\x9f\x98\x80!", "a\xcc\x81|b\xf0\x9f\x98\x80");
}

static void many_words(void **state)
{
    static char big[1 << 20];
    (void)state;
    memset(big, 'x', sizeof big - 1);
    for (size_t i = 3; i < sizeof big - 1; i += 4)
        big[i] = ' ';
    assert_true(strata__question_read(big, &question));
    assert_int_equal(question.n, STRATA__QUESTION_WORDS);
    assert_int_equal(question.words[question.n - 1].end, 64 * 4 - 1);
    big[16384] = '\0';
    assert_true(strata__question_read(big, &question));
    assert_int_equal(question.n, STRATA__QUESTION_WORDS);
    for (size_t size = 4092; size < 4100; size++) { /* as many words as there is room for */
        memset(big, 'x', size);
        strcpy(big + size, " end");
        const bool fits = size + 2 <= sizeof question.text;
        assert_int_equal(strata__question_read(big, &question), fits);
        assert_int_equal(question.n, fits ? 1 : 0);
        strcpy(big, "first ");
        memset(big + 6, 'x', size);
        strcpy(big + 6 + size, " end");
        assert_true(strata__question_read(big, &question));
        assert_int_equal(question.n, 1);
    }
    memset(big, '?', sizeof big - 1);
    assert_false(strata__question_read(big, &question));
    memset(big, '\x80', sizeof big - 1);
    assert_false(strata__question_read(big, &question));
}

/* ---- Schemas ---- */

/* A store's schema while a transaction lasts. */
struct view {
    strata_facts *facts;
    struct strata__txn txn;
    const struct strata__schema *schema;
};

static struct view view_of(strata_facts *facts)
{
    struct view v = {.facts = facts};
    assert_int_equal(strata__txn_begin(facts, false, &v.txn), STRATA_OK);
    assert_int_equal(strata__schema_get(&v.txn, &v.schema), STRATA_OK);
    return v;
}

static void view_end(struct view *v)
{
    strata__schema_drop(v->facts, v->schema);
    strata__txn_abort(&v->txn);
}

static strata__id id_of(struct view *v, const char *iri)
{
    char term[128];
    strata__id id;
    const size_t size = (size_t)snprintf(term, sizeof term, "I%s", iri);
    assert_int_equal(
        strata__store_id(&v->txn, term, size, strata__store_hash(v->facts, term, size), &id),
        STRATA_OK);
    assert_true(id);
    return id;
}

/* "" is no kind, "=" that of literals; those that are not there are none of the schema's. */
static uint16_t kind_of(struct view *v, const char *iri)
{
    if (*iri == '=')
        return STRATA__LITERAL_KIND;
    for (size_t i = 1; i < v->schema->n_kinds && *iri; i++)
        if (v->schema->kinds[i] == id_of(v, iri))
            return (uint16_t)i;
    return *iri ? UINT16_MAX - 1 : STRATA__NO_KIND;
}

static uint16_t predicate_of(struct view *v, const char *iri)
{
    for (size_t i = 0; i < v->schema->n_predicates; i++)
        if (v->schema->predicates[i] == id_of(v, iri))
            return (uint16_t)i;
    return STRATA__NO_PREDICATE;
}

/* Where a step from a kind leads; NULL: there is none. */
static void leads(struct view *v, const char *from, const char *predicate, bool reversed,
                  const char *to)
{
    const struct strata__schema *s = v->schema;
    const uint16_t kind = kind_of(v, from), p = predicate_of(v, predicate);
    size_t n = 0;
    assert_true(kind < s->n_kinds && p < s->n_predicates);
    for (size_t i = s->first[kind]; i < s->first[kind + 1]; i++) {
        const struct strata__schema_edge *edge = &s->edges[i];
        assert_int_equal(edge->from, kind);
        if (edge->hop.predicate != p || edge->hop.reversed != reversed)
            continue;
        if (!to || edge->to != kind_of(v, to))
            fail_msg("'%s' %s %d leads to kind %u", from, predicate, reversed, edge->to);
        n++;
    }
    if (n != (to != NULL))
        fail_msg("'%s' %s %d: %zu edges", from, predicate, reversed, n);
}

static void schema(void **state)
{
    (void)state;
    struct view v = view_of(t3_lands("schema"));
    assert_int_equal(v.schema->n_kinds, 5);
    assert_int_equal(v.schema->n_predicates, 5);
    leads(&v, "u:realm", "u:seat", false, "u:town");
    leads(&v, "u:town", "u:seat", true, "u:realm");
    leads(&v, "u:town", "u:seat", false, NULL);
    leads(&v, "u:person", "u:spouse", false, "u:person");
    leads(&v, "u:person", "u:spouse", true, "u:person");
    leads(&v, "u:league", "u:coin", false, "=");
    leads(&v, "", "u:coin", false, NULL);
    assert_int_equal(v.schema->n_edges, 9); /* literals lead nowhere */
    assert_int_equal(v.schema->first[5], 9);
    for (size_t k = 1; k < 5; k++) { /* labels of kinds and predicates are apart */
        const float *kind = v.schema->vectors + (5 + k) * v.schema->width;
        assert_true(strata__cosine(kind, kind, v.schema->width) > 0.999F);
        for (size_t i = 0; i < 5 + k; i++)
            assert_true(strata__cosine(kind, v.schema->vectors + i * v.schema->width,
                                       v.schema->width) < 0.01F);
    }
    view_end(&v);
    strata_facts_close(&v.facts);
}

static void inverses(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    t2_add(&text, "<u:a> " TYPE " <u:A> .\n<u:b> " TYPE " <u:B> .\n<u:c> " TYPE " <u:A> .\n"
                  "<u:a> <u:over> <u:b> .\n<u:b> <u:under> <u:a> .\n<u:a> <u:beside> <u:c> .\n"
                  "<u:a> <u:lone> <u:b> .\n<u:over> " INVERSE " <u:under> .\n"
                  "<u:beside> " INVERSE " <u:beside> .\n<u:lone> " INVERSE " <u:unused> .\n");
    struct view v = view_of(t2_store_of("inverses", &text));
    const uint16_t *inverse = v.schema->inverse;
    const uint16_t over = predicate_of(&v, "u:over"), under = predicate_of(&v, "u:under"),
                   beside = predicate_of(&v, "u:beside"), lone = predicate_of(&v, "u:lone");
    assert_true(inverse[over] == under && inverse[under] == over);
    assert_true(inverse[beside] == beside && inverse[lone] == STRATA__NO_PREDICATE);
    leads(&v, "u:A", "u:over", false, "u:B");
    leads(&v, "u:B", "u:over", true, NULL);
    leads(&v, "u:B", "u:under", false, "u:A");
    leads(&v, "u:A", "u:beside", false, "u:A");
    leads(&v, "u:A", "u:beside", true, NULL);
    leads(&v, "u:B", "u:lone", true, "u:A");
    const struct strata__hop o = {over, false}, u = {under, false}, b = {beside, false},
                             l = {lone, false}, back = {lone, true};
    assert_true(strata__hop_returns(v.schema, o, u) && strata__hop_returns(v.schema, u, o));
    assert_true(strata__hop_returns(v.schema, b, b) && strata__hop_returns(v.schema, l, back));
    assert_false(strata__hop_returns(v.schema, o, o) || strata__hop_returns(v.schema, l, l) ||
                 strata__hop_returns(v.schema, o, b));
    view_end(&v);
    strata_facts_close(&v.facts);
}

/* Whatever comes first in the store, samples meet all kinds that are no exceptions, also where all
 * of a predicate's triples are close together. */
static void samples(void **state)
{
    (void)state;
    for (int far = 0; far < 2; far++) {
        struct strata__bytes text = {0};
        for (int i = 0; i < 60000 * far; i++)
            t2_add(&text, "<u:filler> <u:other> \"filler %d\" .\n", i);
        for (int i = 0; i < 200; i++)
            t2_add(&text,
                   "<u:x%d> <u:made> <u:y%d> .\n<u:x%d> " TYPE " <u:X%d> .\n<u:y%d> " TYPE
                   " <u:Y%d> .\n<u:x%d> <u:in> <u:all> .\n",
                   i, i, i, i / 100, i, i / 160, i);
        struct view v = view_of(t2_store_of("samples", &text));
        leads(&v, "u:X0", "u:made", false, "u:Y0");
        leads(&v, "u:X1", "u:made", false, "u:Y0"); /* more often than to Y1 */
        leads(&v, "u:Y0", "u:made", true, "u:X0");
        leads(&v, "u:X0", "u:in", false, "");
        leads(&v, "u:X1", "u:in", false, "");
        leads(&v, "u:Y1", "u:made", true, "u:X1");
        view_end(&v);
        strata_facts_close(&v.facts);
    }
}

static void kinds(void **state)
{
    struct strata__bytes text = {0};
    uint16_t kind;
    (void)state;
    t2_add(&text, "<u:a> <u:p> <u:b> .\n<u:b> <u:p> \"5\" .\n");
    struct view v = view_of(t2_store_of("untyped", &text));
    assert_int_equal(v.schema->n_kinds, 1);
    leads(&v, "", "u:p", false, "");
    leads(&v, "", "u:p", true, "");
    assert_int_equal(strata__kind_of(&v.txn, v.schema, id_of(&v, "u:a"), &kind), STRATA_OK);
    assert_int_equal(kind, STRATA__NO_KIND);
    view_end(&v);
    strata_facts_close(&v.facts);
    t2_add(&text, "<u:a> " TYPE " <http://v/oldHouse> .\n<u:b> " TYPE " <http://v/> .\n"
                  "<u:c> " TYPE " <http://v/rare> .\n<u:a> <u:p> <u:b> .\n<u:q> " LABEL
                  " \"house old\" .\n<u:a> <u:q> \"1\" .\n");
    v = view_of(t2_store_of("unlabelled", &text));
    assert_int_equal(v.schema->n_kinds, 3); /* nothing leads to the rare one */
    const float *old =
                    v.schema->vectors +
                    (v.schema->n_predicates + kind_of(&v, "http://v/oldHouse")) * v.schema->width,
                *q = v.schema->vectors + predicate_of(&v, "u:q") * v.schema->width;
    assert_true(strata__cosine(old, q, v.schema->width) > 0.999F);
    assert_int_equal(strata__kind_of(&v.txn, v.schema, id_of(&v, "u:c"), &kind), STRATA_OK);
    assert_int_equal(kind, STRATA__NO_KIND);
    view_end(&v);
    strata_facts_close(&v.facts);
}

/* More predicates and kinds than a schema has room for: the first ones are in it. */
static void limits(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    for (int i = 0; i < 5000; i++) {
        t2_add(&text, "<u:x%d> <http://p/%d_> <u:y%d> .\n", i, i, i);
        if (i % 3 == 0)
            t2_add(&text, "<u:y%d> " TYPE " <http://k/%d> .\n", i, i);
    }
    struct view v = view_of(t2_store_of("limits", &text));
    assert_int_equal(v.schema->n_predicates, 4096);
    assert_int_equal(v.schema->n_kinds, 1024);
    assert_int_equal(v.schema->first[1024], v.schema->n_edges);
    assert_int_equal(v.schema->n_edges, 2 * 4096); /* both ways of each */
    leads(&v, "", "http://p/4095_", false, "");
    leads(&v, "", "http://p/0_", false, "http://k/0");
    view_end(&v);
    t3_ask(v.facts, "p 5 of x"); /* nothing has a name */
    strata_facts_close(&v.facts);
}

/* One schema for one state; an older one lasts as long as it is used. */
static void states(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    strata_facts *facts = t3_lands("states");
    struct view one = view_of(facts), two = view_of(facts);
    assert_ptr_equal(one.schema, two.schema);
    t2_add(&text, "<u:l0> <u:coin> \"more\" .\n");
    t2_import(facts, &text);
    struct view after = view_of(facts);
    assert_ptr_not_equal(one.schema, after.schema);
    leads(&one, "u:realm", "u:coin", false, NULL);
    leads(&after, "u:realm", "u:coin", false, "=");
    view_end(&one);
    leads(&two, "u:realm", "u:seat", false, "u:town");
    view_end(&two);
    view_end(&after);
    strata_facts_close(&facts);
}

/* ---- Names ---- */

/* Words [first, end) of the text name the term (an IRI, or '=' and a literal), or do not. */
static bool named(struct view *v, const char *text, size_t first, size_t end, const char *term)
{
    static struct strata__start starts[STRATA__STARTS_MOST];
    size_t n;
    bool found = false, whole;
    assert_true(strata__question_read(text, &question));
    for (size_t i = 0; i < question.n; i++)
        question.weights[i] = 1 / (float)question.n;
    assert_int_equal(
        strata__question_starts(&v->txn, v->schema, &question, INFINITY, starts, &n, &whole),
        STRATA_OK);
    assert_true(whole);
    assert_true(n <= STRATA__STARTS_MOST);
    for (size_t i = 0; i < n; i++) {
        MDB_val bytes;
        struct strata__term decoded;
        const struct strata__start *s = &starts[i];
        assert_true(s->first < s->end && s->end <= question.n);
        for (size_t k = 0; k < i; k++)
            assert_false(starts[k].id == s->id && starts[k].first == s->first &&
                         starts[k].end == s->end);
        assert_true(i == 0 || s->weight <= s[-1].weight);
        assert_true(fabsf(s->weight - (float)(s->end - s->first) / (float)question.n) < 1e-5F);
        assert_int_equal(strata__store_term(&v->txn, s->id, &bytes), STRATA_OK);
        assert_true(strata__term_decode(bytes.mv_data, bytes.mv_size, &decoded));
        assert_int_equal(s->literal, strata__term_is_literal(&decoded));
        assert_int_equal(s->literal, s->kind == STRATA__LITERAL_KIND);
        found |= s->first == first && s->end == end && s->literal == (*term == '=') &&
                 decoded.size == strlen(term + s->literal) &&
                 memcmp(decoded.text, term + s->literal, decoded.size) == 0;
    }
    return found;
}

static void names(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    t2_add(&text,
           "<u:a> " LABEL " \"Acme Inc.\" .\n<u:b> " LABEL " \"Acme Inc\" .\n"
           "<u:o> " LABEL " \"Obi-Wan's\" .\n<u:w> " LABEL " \"Wendy\" .\n"
           "<u:w> <u:age> \"042\"^^<http://www.w3.org/2001/XMLSchema#integer> .\n"
           "<u:w> " LABEL " \"Wendy\"@de .\n<u:w> <u:code> \".uk\" .\n<u:w> <u:phone> \"+44\" .\n"
           "<u:w> <u:motto> \"Wendy\" .\n<u:c> " LABEL " \"lone name\" .\n"
           "<u:long> " LABEL " \"one two three four five six seven eight nine\" .\n"
           "<u:longer> " LABEL " \"a two three four five six seven eight nine ten\" .\n");
    for (int i = 0; i < 300; i++)
        t2_add(&text, "<u:t%d> " LABEL " \"Twin\" .\n<u:t%d> " TYPE " <u:K%d> .\n", i, i, i % 3);
    struct view v = view_of(t2_store_of("names", &text));
    assert_true(named(&v, "who owns acme inc.?", 2, 4, "u:b"));
    assert_true(named(&v, "who owns Acme Inc", 2, 4, "u:b"));
    assert_true(named(&v, "is Obi-Wan's age", 1, 2, "u:o"));
    assert_true(named(&v, "Wendy's age", 0, 1, "u:w"));
    assert_true(named(&v, "Wendy\xe2\x80\x99s age", 0, 1, "u:w"));
    assert_false(named(&v, "Wendys age", 0, 1, "u:w"));
    assert_true(named(&v, "who is 42?", 2, 3, "=042"));
    assert_true(named(&v, "who is 42.0?", 2, 3, "=042"));
    assert_false(named(&v, "who is 43?", 2, 3, "=042"));
    assert_true(named(&v, "who has '.UK', then", 2, 3, "=.uk"));
    assert_true(named(&v, "who has (+44)?", 2, 3, "=+44"));
    assert_true(named(&v, "Wendy", 0, 1, "=Wendy") && named(&v, "Wendy", 0, 1, "u:w"));
    assert_true(named(&v, "the LONE  name", 1, 3, "u:c"));
    assert_false(named(&v, "the lone name", 1, 3, "=lone name")); /* it is a label only */
    assert_true(named(&v, "x one two three four five six seven eight nine y", 1, 10, "u:long"));
    assert_false(named(&v, "a two three four five six seven eight nine ten", 0, 10, "u:longer"));
    for (int i = 0; i < 3; i++) { /* of each kind some */
        char iri[16];
        bool some = false;
        for (int k = i; k < 300 && !some; k += 3) {
            snprintf(iri, sizeof iri, "u:t%d", k);
            some = named(&v, "which Twin", 1, 2, iri);
        }
        assert_true(some);
    }
    view_end(&v);
    strata_facts_close(&v.facts);
}

/* A full stop that was cut off is put back where nothing has the name without it. */
static void full_stops(void **state)
{
    struct strata__bytes text = {0};
    (void)state;
    t2_add(&text, "<u:a> " LABEL " \"Acme Inc.\" .\n<u:a> <u:p> \"1\" .\n");
    struct view v = view_of(t2_store_of("stops", &text));
    assert_true(named(&v, "who owns Acme Inc.", 2, 4, "u:a"));
    assert_true(named(&v, "who owns \"Acme Inc.\"?", 2, 4, "u:a"));
    assert_false(named(&v, "who owns Acme Inc?", 2, 4, "u:a"));
    view_end(&v);
    strata_facts_close(&v.facts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words),      cmocka_unit_test(many_words), cmocka_unit_test(schema),
        cmocka_unit_test(inverses),   cmocka_unit_test(samples),    cmocka_unit_test(kinds),
        cmocka_unit_test(limits),     cmocka_unit_test(states),     cmocka_unit_test(names),
        cmocka_unit_test(full_stops),
    };
    return cmocka_run_group_tests(tests, vectors_set_up, vectors_tear_down);
}

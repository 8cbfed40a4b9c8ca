#include "tier2_fixture.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

/* ---- Meaning ---- */

/* Words that mean the same. */
static const char *const same[][2] = {{"overseer", "boss"}, {"mass", "heaviness"}};

bool t2_blind;
size_t t2_bytes_most;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of concepts, and t2_bytes_most */

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

static size_t concept_of(const char *word, size_t size)
{
    const unsigned hash = hash_of(word, size);
    size_t i = 0;
    pthread_mutex_lock(&lock);
    while (i < n_concepts && concepts[i] != hash)
        i++;
    if (i == n_concepts && n_concepts < CONCEPTS)
        concepts[n_concepts++] = hash;
    pthread_mutex_unlock(&lock);
    return i;
}

/* Every word points its own way, and a text where all of its words do together. */
static void vector_of(const strata_text *text, float *vector, size_t width)
{
    double sum = 0;
    memset(vector, 0, width * sizeof *vector);
    vector[0] = 0.001F;
    for (size_t i = 0, end; i < text->size && !t2_blind; i = end + 1) {
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
    size_t bytes = 0;
    assert_true(!infos && (!options || options->max_tokens <= 64));
    for (size_t i = 0; i < count; i++) {
        vector_of(&texts[i], vectors + i * width, width);
        bytes += texts[i].size;
    }
    pthread_mutex_lock(&lock);
    t2_bytes_most = bytes > t2_bytes_most ? bytes : t2_bytes_most;
    pthread_mutex_unlock(&lock);
    return STRATA_OK;
}

/* ---- Stores ---- */

void t2_add(struct strata__bytes *text, const char *format, ...)
{
    char line[3000];
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    assert_true(n > 0 && (size_t)n < sizeof line);
    assert_int_equal(strata__bytes_append(text, line, (size_t)n), STRATA_OK);
}

void t2_import(strata_facts *facts, struct strata__bytes *text)
{
    char file[32];
    static unsigned number;
    assert_int_equal(strata__bytes_append(text, "", 1), STRATA_OK);
    snprintf(file, sizeof file, "t2-%u.nt", number++);
    store_import(facts, file, text->data);
    strata__bytes_free(text);
}

void t2_index_all(strata_facts *facts)
{
    if (strata_facts_index(facts, vectors_engine.model, NULL, NULL, NULL) != STRATA_OK)
        fail_msg("%s", strata_last_error());
}

void t2_use(strata_facts *facts)
{
    if (strata_facts_use_model(facts, vectors_engine.model) != STRATA_OK)
        fail_msg("%s", strata_last_error());
}

/* A new store with the triples of a text, which is freed, and vectors: the first words have
 * directions of their own. */
strata_facts *t2_store_of(const char *name, struct strata__bytes *text)
{
    strata_facts *facts = store_open(name, true);
    t2_import(facts, text);
    n_concepts = 0;
    t2_index_all(facts);
    t2_use(facts);
    return facts;
}

/* Firms with an overseer and a staff, ores with a mass; a firm is owned by a person. */
void t2_add_firms(struct strata__bytes *text)
{
    t2_add(text, "<u:overseer> " LABEL " \"overseer\" .\n<u:overseer> " COMMENT
                 " \"who commands a firm and all of it\" .\n");
    t2_add(text, "<u:staff> " LABEL " \"staff\" .\n<u:staff> " COMMENT
                 " \"how many hands toil there daily\" .\n");
    t2_add(text, "<u:mass> " LABEL " \"mass\" .\n<u:owns> " LABEL " \"owns\" .\n");
    t2_add(text, "<u:owns> " COMMENT " \"property that some rich person purchased\" .\n");
    for (int i = 0; i < 5; i++) {
        t2_add(text, "<u:f%d> " LABEL " \"Firm %c\" .\n<u:f%d> <u:overseer> <u:h%d> .\n", i,
               'A' + i, i, i);
        t2_add(text, "<u:f%d> <u:staff> \"%d\" .\n<u:h%d> " LABEL " \"Human %c\" .\n", i, 10 + i, i,
               'A' + i);
        t2_add(text, "<u:h%d> <u:owns> <u:f%d> .\n<u:o%d> " LABEL " \"Ore %c\" .\n", i, (i + 1) % 5,
               i, 'A' + i);
        t2_add(text, "<u:o%d> <u:mass> \"%d\" .\n", i, 100 + i);
    }
}

strata_facts *t2_firms(const char *name)
{
    struct strata__bytes text = {0};
    t2_add_firms(&text);
    return t2_store_of(name, &text);
}

/* ---- Asking ---- */

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

struct t2_answer t2_ask_with(strata_facts *facts, const strata_facts_query *query)
{
    struct t2_answer out = {0};
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

strata_facts_query t2_query_of(const char *entity, const char *phrase)
{
    strata_facts_query query;
    strata_facts_query_default(&query);
    query.subject = entity;
    query.predicate = phrase;
    query.explain = true;
    return query;
}

struct t2_answer t2_ask(strata_facts *facts, const char *entity, const char *phrase)
{
    const strata_facts_query query = t2_query_of(entity, phrase);
    return t2_ask_with(facts, &query);
}

/* The first fact of the answer of tier 2; NULL: there is no answer. */
void t2_means(strata_facts *facts, const char *entity, const char *phrase, const char *subject,
              const char *predicate, const char *object)
{
    const struct t2_answer got = t2_ask(facts, entity, phrase);
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

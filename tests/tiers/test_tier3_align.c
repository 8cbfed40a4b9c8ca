/* Alignments of chains and questions: the same as by trying all of them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tier3_align.h"
#include "tier3_weights.h"

static struct strata__question question;

static uint64_t seed = 1;

static unsigned below(unsigned n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

static float uniform(float least, float most)
{
    return least + (most - least) * (float)below(1 << 20) / (float)(1 << 20);
}

enum { PREDICATES = 4, KINDS = 3, WORDS_MOST = 7 };

/* All alignments, one by one: every word from `word` on is covered in every way. */
struct trial {
    const struct strata__question *q;
    const struct strata__shape *shape;
    float bare_cost, best;
    unsigned skip;
};

static size_t n_names(const struct strata__shape *shape)
{
    return shape->split ? 2 : 1;
}

/* Whether words from `word` to `end` have one of a name that begins behind the first. */
static bool covers_name(const struct strata__shape *shape, size_t word, size_t end)
{
    for (size_t i = 0; i < n_names(shape); i++)
        if (word < shape->names[i].first && end > shape->names[i].first)
            return true;
    return false;
}

static void try_all(struct trial *t, size_t word, unsigned used, int last, float score)
{
    const struct strata__shape *s = t->shape;
    const struct strata__question *q = t->q;
    if (word == q->n) {
        if (used >> t->skip == ((1u << s->n) - 1u) >> t->skip)
            t->best = fmaxf(t->best, score);
        return;
    }
    for (size_t i = 0; i < n_names(s); i++)
        if (word == s->names[i].first) {
            try_all(t, s->names[i].end, used, last, score);
            return;
        }
    try_all(t, word + 1, used, last, score - t->bare_cost * q->weights[word]);
    for (size_t end = word + 1; end <= q->n && end - word <= STRATA__SPAN_WORDS; end++) {
        if (covers_name(s, word, end))
            break;
        const float *near = strata__question_near(q, word, end - word);
        for (size_t k = 0; k < s->n_kinds; k++)
            if (s->kinds[k] != STRATA__NO_KIND && s->kinds[k] != STRATA__LITERAL_KIND)
                try_all(t, end, used, last,
                        score + strata__tier3_kind_gain *
                                    (near[PREDICATES + s->kinds[k]] - strata__tier3_kind_least));
        for (int hop = (int)t->skip; hop < s->n; hop++) {
            if (used >> hop & 1)
                continue;
            float gain = near[s->hops[hop].predicate] - strata__tier3_hop_least;
            const bool second = s->split && hop >= s->split;
            const bool same_chain = last >= 0 && (s->split && last >= s->split) == second;
            if (same_chain)
                gain -= strata__tier3_apart * (float)(abs(hop - last) - 1);
            if (same_chain && hop > last && word < s->names[second].first)
                gain -= strata__tier3_backward;
            try_all(t, end, used | 1u << hop, hop, score + gain);
        }
    }
}

static float reference(const struct strata__question *q, const struct strata__shape *shape,
                       float bare_cost)
{
    struct trial t = {q, shape, bare_cost, -INFINITY, 0};
    try_all(&t, 0, 0, -1, 0);
    const float whole = t.best;
    if (!shape->literal || shape->n == 0 || shape->split)
        return whole;
    t.best = -INFINITY;
    t.skip = 1;
    try_all(&t, 0, 0, -1, 0);
    return fmaxf(whole, t.best - strata__tier3_implied);
}

static void random_question(struct strata__question *q, float *near)
{
    float sum = 0;
    q->n = 1 + below(WORDS_MOST);
    q->items = PREDICATES + KINDS;
    q->near = near;
    for (size_t i = 0; i < q->n; i++)
        sum += q->weights[i] = uniform(0, 1) + 1e-3F;
    for (size_t i = 0; i < q->n; i++)
        q->weights[i] /= sum;
    for (size_t i = 0; i < q->n; i++)
        for (size_t length = 1; length <= STRATA__SPAN_WORDS; length++)
            for (size_t k = 0; k < q->items; k++)
                near[(i * STRATA__SPAN_WORDS + length - 1) * q->items + k] =
                    i + length > q->n ? -1 : uniform(below(3) ? -0.2F : 0.4F, 1);
}

static struct strata__shape random_shape(const struct strata__question *q)
{
    struct strata__shape shape = {.n = (uint8_t)below(STRATA__HOPS_MOST + 1)};
    struct strata__words *name = shape.names;
    name[0].first = (uint8_t)below((unsigned)q->n);
    name[0].end = (uint8_t)(name[0].first + 1 + below((unsigned)q->n - name[0].first));
    if (shape.n > 1 && name[0].end < q->n && below(2)) {
        shape.split = (uint8_t)(1 + below(shape.n - 1u));
        name[1].first = (uint8_t)(name[0].end + below((unsigned)q->n - name[0].end));
        name[1].end = (uint8_t)(name[1].first + 1 + below((unsigned)q->n - name[1].first));
    }
    if (shape.split && below(2)) {
        const struct strata__words swap = name[0];
        name[0] = name[1];
        name[1] = swap;
    }
    shape.n_kinds = (uint8_t)(shape.n + n_names(&shape));
    shape.literal = below(2);
    for (size_t i = 0; i < shape.n; i++)
        shape.hops[i].predicate = (uint16_t)below(PREDICATES);
    for (size_t i = 0; i < shape.n_kinds; i++)
        shape.kinds[i] = below(5) ? (uint16_t)below(KINDS) : STRATA__LITERAL_KIND;
    return shape;
}

/* What the trace says: no word of the name is bare, hops have spans whose cosines are no less than
 * the least one, which is that of one of them. */
static void check_trace(const struct strata__question *q, const struct strata__shape *shape,
                        const struct strata__alignment *a)
{
    float bare = 0;
    bool is_of_one = a->least == 1;
    assert_int_equal(a->bare >> q->n, 0);
    for (size_t i = 0; i < q->n; i++) {
        const bool is_bare = a->bare >> i & 1;
        for (size_t k = 0; k < n_names(shape); k++)
            assert_false(is_bare && i >= shape->names[k].first && i < shape->names[k].end);
        bare += is_bare ? q->weights[i] : 0;
        for (size_t length = 1; i + length <= q->n && length <= STRATA__SPAN_WORDS; length++)
            for (size_t k = 0; k < shape->n && !is_bare; k++)
                is_of_one |=
                    strata__question_near(q, i, length)[shape->hops[k].predicate] == a->least;
    }
    assert_true(is_of_one && bare <= 1.0001F);
    if (shape->n == 0)
        assert_true(a->least == 1);
}

static void alignments(void **state)
{
    static float near[WORDS_MOST * STRATA__SPAN_WORDS * (PREDICATES + KINDS)];
    const struct strata__schema schema = {.n_predicates = PREDICATES, .n_kinds = KINDS};
    size_t finite = 0, implied = 0;
    (void)state;
    for (int i = 0; i < 3000; i++) {
        struct strata__alignment aligned;
        random_question(&question, near);
        const struct strata__shape shape = random_shape(&question);
        const float cost = uniform(0, 4);
        const float wanted = reference(&question, &shape, cost),
                    got = strata__align(&question, &schema, &shape, cost, NULL),
                    traced = strata__align(&question, &schema, &shape, cost, &aligned);
        assert_true(got == traced && aligned.score == got);
        if (wanted == -INFINITY) {
            assert_true(got == -INFINITY && aligned.bare == 0);
            continue;
        }
        if (!(fabsf(got - wanted) <= 1e-5F * (1 + fabsf(wanted))))
            fail_msg("%d: %.7g, by trying all %.7g", i, (double)got, (double)wanted);
        check_trace(&question, &shape, &aligned);
        struct strata__shape named = shape;
        named.literal = false;
        implied += strata__align(&question, &schema, &named, cost, NULL) < got;
        finite++;
    }
    assert_true(finite > 1000 && finite < 2999 && implied > 100);
}

/* The trace of an alignment that is known. */
static void trace(void **state)
{
    static float near[4 * STRATA__SPAN_WORDS * (PREDICATES + KINDS)];
    const struct strata__schema schema = {.n_predicates = PREDICATES, .n_kinds = KINDS};
    struct strata__shape shape = {
        .names = {{3, 4}}, .n = 2, .n_kinds = 3, .hops = {{1, false}, {2, true}}};
    struct strata__alignment got;
    (void)state;
    question.n = 4; /* WORD BARE WORD NAME */
    question.items = PREDICATES + KINDS;
    question.near = near;
    for (size_t i = 0; i < sizeof near / sizeof *near; i++)
        near[i] = -1;
    for (size_t i = 0; i < 4; i++)
        question.weights[i] = 0.25F;
    near[2] = 0.9F;                                           /* hop 1 */
    near[2 * STRATA__SPAN_WORDS * question.items + 1] = 0.7F; /* hop 0 */
    const float sum = 0.9F + 0.7F - 2 * strata__tier3_hop_least - 0.25F;
    assert_true(fabsf(strata__align(&question, &schema, &shape, 1, &got) - sum) < 1e-6F);
    assert_true(got.bare == 2 && got.least == 0.7F);
    shape.hops[0].predicate = 2; /* the other way round it says them backwards */
    shape.hops[1].predicate = 1;
    assert_true(fabsf(strata__align(&question, &schema, &shape, 1, &got) -
                      (sum - strata__tier3_backward)) < 1e-6F);
    shape.n = 4; /* more hops than words */
    shape.n_kinds = 5;
    assert_true(strata__align(&question, &schema, &shape, 1, &got) == -INFINITY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alignments),
        cmocka_unit_test(trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

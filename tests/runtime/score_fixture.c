#include "score_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine_fixture.h"
#include "session.h"

static unsigned next(unsigned *state, unsigned n)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) % n;
}

static struct forest grow(unsigned seed, size_t count, size_t least, size_t longest,
                          unsigned choices)
{
    struct forest f = {.count = count};
    unsigned state = seed * 2654435761u + 1;
    f.each = calloc(count, sizeof *f.each);
    f.ids = calloc(count * longest + 1, sizeof *f.ids);
    for (size_t i = 0; i < count; i++) {
        size_t n = least + next(&state, (unsigned)(longest - least + 1));
        f.each[i] = (strata_continuation){f.ids + f.total, n};
        for (size_t d = 0; d < n; d++)
            f.ids[f.total++] = (int32_t)next(&state, choices);
    }
    return f;
}

struct forest forest_of(unsigned seed, size_t count, size_t longest, unsigned choices)
{
    return grow(seed, count, 0, longest, choices);
}

struct forest forest_of_long(unsigned seed, size_t count, size_t longest, unsigned choices)
{
    return grow(seed, count, longest, longest, choices);
}

void forest_free(struct forest *forest)
{
    free(forest->each);
    free(forest->ids);
    *forest = (struct forest){0};
}

/* True when the first d tokens of continuation i are those of one before it, too, which has others
 * behind them. */
static bool is_there(const struct forest *f, size_t i, size_t d)
{
    for (size_t j = 0; j < i; j++)
        if (f->each[j].count > d && memcmp(f->each[j].ids, f->each[i].ids, d * sizeof *f->ids) == 0)
            return true;
    return false;
}

size_t forest_rows(const struct forest *f)
{
    size_t rows = 1;
    for (size_t i = 0; i < f->count; i++)
        for (size_t d = 1; d < f->each[i].count; d++)
            rows += !is_there(f, i, d);
    return rows;
}

void forest_ground(strata_session *session, size_t n)
{
    int32_t *ids = engine_some_ids(n, session->model->hp.vocab);
    assert_int_equal(strata_session_truncate(session, 0), STRATA_OK);
    if (strata_session_eval(session, ids, n, STRATA_LOGITS_NONE) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    free(ids);
}

float *forest_score(strata_session *session, const struct forest *forest)
{
    float *found = malloc((forest->total + 1) * sizeof *found);
    if (strata_score(session, forest->each, forest->count, found) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    return found;
}

static float logprob(const float *logits, size_t vocab, int32_t id)
{
    double largest = -INFINITY, sum = 0;
    for (size_t i = 0; i < vocab; i++)
        largest = fmax(largest, (double)logits[i]);
    for (size_t i = 0; i < vocab; i++)
        sum += exp((double)logits[i] - largest);
    return (float)((double)logits[id] - largest - log(sum));
}

static void eval(strata_session *session, const int32_t *ids, size_t n)
{
    if (strata_session_eval(session, ids, n, STRATA_LOGITS_ALL) != STRATA_OK)
        fail_msg("%s", strata_last_error());
}

float *forest_alone(strata_session *session, const struct forest *forest)
{
    size_t position = session->position;
    int32_t last = session->history[position - 1];
    size_t vocab = session->model->hp.vocab;
    float *out = malloc((forest->total + 1) * sizeof *out), *at = out;
    for (size_t i = 0; i < forest->count; i++) {
        const strata_continuation *c = &forest->each[i];
        int32_t *ids = malloc((c->count + 1) * sizeof *ids);
        ids[0] = last;
        if (c->count)
            memcpy(ids + 1, c->ids, c->count * sizeof *ids);
        assert_int_equal(strata_session_truncate(session, position - 1), STRATA_OK);
        eval(session, ids, c->count ? c->count : 1);
        for (size_t d = 0; d < c->count; d++)
            *at++ = logprob(strata_session_logits(session, d), vocab, c->ids[d]);
        free(ids);
    }
    assert_int_equal(strata_session_truncate(session, position - 1), STRATA_OK);
    eval(session, &last, 1);
    return out;
}

float farthest(const float *a, const float *b, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(a[i] - b[i]));
    return most;
}

float on_average(const float *a, const float *b, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += pow((double)a[i] - (double)b[i], 2);
    return (float)sqrt(squares / (double)n);
}

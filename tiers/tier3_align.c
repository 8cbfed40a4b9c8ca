/* Alignments of chains and questions (tier3_align.h). */
#include "tier3_align.h"

#include <math.h>

#include "tier3_weights.h"

#define MASKS (1u << STRATA__HOPS_MOST)
#define LASTS (STRATA__HOPS_MOST + 1) /* a hop, or none yet */
#define STATES (MASKS * LASTS)

/* How a state was come to. */
struct step {
    uint8_t from, mask, last; /* the word and the state before */
    int8_t what;              /* a hop, or: */
};
enum { BARE = -1, NAME = -2, KIND = -3 };

struct aligning {
    const struct strata__question *q;
    const struct strata__shape *shape;
    size_t n_predicates;
    size_t skip; /* hops at the chain's start without a span */
    float bare_cost;
    float *scores;                   /* [n + 1][STATES] */
    struct step *steps;              /* the same; NULL: nobody asks */
    float kinds[STRATA__SPAN_WORDS]; /* of spans from this word on: the best gain of a kind */
};

static float kind_gain(const struct aligning *a, const float *near)
{
    float best = -INFINITY;
    for (size_t i = 0; i < a->shape->n_kinds; i++) {
        const uint16_t kind = a->shape->kinds[i];
        if (kind != STRATA__NO_KIND && kind != STRATA__LITERAL_KIND)
            best = fmaxf(best, near[a->n_predicates + kind]);
    }
    return strata__tier3_kind_gain * (best - strata__tier3_kind_least);
}

static void put(struct aligning *a, size_t word, size_t mask, size_t last, float score,
                struct step step)
{
    const size_t at = word * STATES + mask * LASTS + last;
    if (score <= a->scores[at])
        return;
    a->scores[at] = score;
    if (a->steps)
        a->steps[at] = step;
}

/* What a hop costs by its place: words away from its neighbour in the chain, or on the wrong side
 * of it. */
static float place_cost(const struct strata__shape *shape, size_t word, size_t hop, size_t last)
{
    const bool second = shape->split && hop >= shape->split;
    if (last == STRATA__HOPS_MOST || (shape->split && second != (last >= shape->split)))
        return 0;
    const size_t apart = hop > last ? hop - last : last - hop;
    const bool backward = hop > last && word < shape->names[second].first;
    return strata__tier3_apart * (float)(apart - 1) + (backward ? strata__tier3_backward : 0);
}

/* Where spans that begin at a word must end: at the next name, or at the question's end. */
static size_t limit_of(const struct aligning *a, size_t word)
{
    size_t limit = a->q->n;
    for (size_t i = 0; i < (a->shape->split ? 2u : 1u); i++)
        if (a->shape->names[i].first > word && a->shape->names[i].first < limit)
            limit = a->shape->names[i].first;
    return limit;
}

/* All ways on from a state at a word. */
static void advance(struct aligning *a, size_t word, size_t mask, size_t last, float score)
{
    const struct strata__shape *shape = a->shape;
    struct step step = {(uint8_t)word, (uint8_t)mask, (uint8_t)last, NAME};
    for (size_t i = 0; i < (shape->split ? 2u : 1u); i++)
        if (word == shape->names[i].first) {
            put(a, shape->names[i].end, mask, last, score, step);
            return;
        }
    step.what = BARE;
    put(a, word + 1, mask, last, score - a->bare_cost * a->q->weights[word], step);
    const size_t limit = limit_of(a, word);
    for (size_t length = 1; length <= STRATA__SPAN_WORDS && word + length <= limit; length++) {
        const float *near = strata__question_near(a->q, word, length);
        step.what = KIND;
        put(a, word + length, mask, last, score + a->kinds[length - 1], step);
        for (size_t hop = a->skip; hop < shape->n; hop++) {
            if (mask >> hop & 1)
                continue;
            step.what = (int8_t)hop;
            put(a, word + length, mask | (size_t)1 << hop, hop,
                score + near[shape->hops[hop].predicate] - strata__tier3_hop_least -
                    place_cost(shape, word, hop, last),
                step);
        }
    }
}

static void read_back(const struct aligning *a, size_t mask, size_t last,
                      struct strata__alignment *out)
{
    *out = (struct strata__alignment){.score = a->scores[a->q->n * STATES + mask * LASTS + last],
                                      .least = 1};
    for (size_t word = a->q->n; word > 0;) {
        const struct step *step = &a->steps[word * STATES + mask * LASTS + last];
        if (step->what == BARE)
            out->bare |= (uint64_t)1 << step->from;
        else if (step->what >= 0)
            out->least = fminf(
                out->least,
                strata__question_near(a->q, step->from,
                                      word - step->from)[a->shape->hops[step->what].predicate]);
        word = step->from;
        mask = step->mask;
        last = step->last;
    }
}

static float align(struct aligning *a, struct strata__alignment *out)
{
    const size_t n = a->q->n, all = ((size_t)1 << a->shape->n) - ((size_t)1 << a->skip);
    for (size_t i = 0; i < (n + 1) * STATES; i++)
        a->scores[i] = -INFINITY;
    a->scores[STRATA__HOPS_MOST] = 0;
    for (size_t word = 0; word < n; word++) {
        for (size_t length = 1; length <= STRATA__SPAN_WORDS && word + length <= n; length++)
            a->kinds[length - 1] = kind_gain(a, strata__question_near(a->q, word, length));
        for (size_t mask = 0; mask <= all; mask += (size_t)1 << a->skip)
            for (size_t last = 0; last < LASTS; last++) {
                const float score = a->scores[word * STATES + mask * LASTS + last];
                if (score > -INFINITY)
                    advance(a, word, mask, last, score);
            }
    }
    size_t best = 0;
    const float *ends = a->scores + n * STATES + all * LASTS;
    for (size_t last = 1; last < LASTS; last++)
        best = ends[last] > ends[best] ? last : best;
    if (out && ends[best] > -INFINITY)
        read_back(a, all, best, out);
    return ends[best];
}

float strata__align(const struct strata__question *question, const struct strata__schema *schema,
                    const struct strata__shape *shape, float bare_cost,
                    struct strata__alignment *out)
{
    float scores[(STRATA__QUESTION_WORDS + 1) * STATES];
    struct step steps[(STRATA__QUESTION_WORDS + 1) * STATES];
    struct aligning a = {.q = question,
                         .shape = shape,
                         .n_predicates = schema->n_predicates,
                         .bare_cost = bare_cost,
                         .scores = scores,
                         .steps = out ? steps : NULL};
    if (out)
        *out = (struct strata__alignment){.score = -INFINITY, .least = 1};
    float best = align(&a, out);
    if (shape->literal && shape->n > 0 && !shape->split) {
        struct strata__alignment implied = {.score = -INFINITY, .least = 1};
        a.skip = 1;
        const float score = align(&a, out ? &implied : NULL) - strata__tier3_implied;
        if (score > best) {
            best = score;
            if (out)
                *out = implied;
        }
    }
    if (out)
        out->score = best;
    return best;
}

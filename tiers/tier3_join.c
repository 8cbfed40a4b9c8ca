/* Chains from two names that end at the same (tier3_chains.h). */
#include <math.h>
#include <string.h>

#include "deadline.h"
#include "tier3_chains.h"
#include "tier3_weights.h"

#define CHAINS_MOST 48 /* best ones that are paired, */
#define OF_A_KIND 3    /* of one name that lead to one kind so many */

struct joining {
    const struct strata__schema *schema;
    const struct strata__question *question;
    struct strata__chains *chains;
    size_t list[CHAINS_MOST], n;
};

static uint16_t last_kind(const struct strata__chain *chain)
{
    return chain->shape.kinds[chain->shape.n_kinds - 1];
}

/* The best chains of each name and what they lead to. */
static void list_chains(struct joining *j)
{
    const size_t *best = (const void *)j->chains->best.data;
    for (size_t i = 0; i < j->chains->best.size / sizeof *best && j->n < CHAINS_MOST; i++) {
        const struct strata__chain *chain = strata__chains_at(j->chains, best[i]);
        const struct strata__words name = chain->shape.names[0];
        size_t same = 0;
        for (size_t k = 0; k < j->n; k++) {
            const struct strata__chain *other = strata__chains_at(j->chains, j->list[k]);
            same += other->shape.names[0].first == name.first &&
                    other->shape.names[0].end == name.end && last_kind(other) == last_kind(chain);
        }
        if (same < OF_A_KIND)
            j->list[j->n++] = best[i];
    }
}

/* Whether chains end at something in common. */
static bool meet(const struct joining *j, const struct strata__chain *a,
                 const struct strata__chain *b)
{
    const strata__id *ids = (const void *)j->chains->ids.data;
    for (size_t i = 0; i < a->n_ends; i++)
        for (size_t k = 0; k < b->n_ends; k++)
            if (ids[a->ends + i] == ids[b->ends + k])
                return true;
    return false;
}

/* Not of chains whose last hop is the same: they met before it. */
static bool can_pair(const struct strata__chain *a, const struct strata__chain *b)
{
    const struct strata__words x = a->shape.names[0], y = b->shape.names[0];
    const struct strata__hop p = a->shape.hops[a->shape.n - 1], q = b->shape.hops[b->shape.n - 1];
    if (p.predicate == q.predicate && p.reversed == q.reversed)
        return false;
    return (x.end <= y.first || y.end <= x.first) && last_kind(a) == last_kind(b) &&
           a->shape.n + b->shape.n <= STRATA__HOPS_MOST;
}

static struct strata__shape pair_of(const struct strata__shape *a, const struct strata__shape *b)
{
    struct strata__shape shape = *a;
    shape.split = a->n;
    shape.names[1] = b->names[0];
    memcpy(shape.hops + a->n, b->hops, b->n * sizeof *b->hops);
    memcpy(shape.kinds + a->n_kinds, b->kinds, b->n_kinds * sizeof *b->kinds);
    shape.n = (uint8_t)(a->n + b->n);
    shape.n_kinds = (uint8_t)(a->n_kinds + b->n_kinds);
    return shape;
}

void strata__chains_join(const struct strata__schema *schema,
                         const struct strata__question *question, double deadline,
                         struct strata__chains *chains)
{
    struct joining j = {.schema = schema, .question = question, .chains = chains};
    struct strata__joint *best = &chains->joint;
    best->chain.score = -INFINITY;
    list_chains(&j);
    for (size_t i = 0; i < j.n; i++)
        for (size_t k = i + 1; k < j.n; k++) {
            const struct strata__chain *a = strata__chains_at(chains, j.list[i]),
                                       *b = strata__chains_at(chains, j.list[k]);
            if (!can_pair(a, b) || !meet(&j, a, b))
                continue;
            chains->whole = chains->whole && strata__now_ms() <= deadline;
            if (!chains->whole)
                return;
            struct strata__chain chain = {.shape = pair_of(&a->shape, &b->shape), .real = true};
            chain.score = strata__align(question, schema, &chain.shape, strata__tier3_bare, NULL) +
                          strata__tier3_name *
                              (chains->starts[a->start].weight + chains->starts[b->start].weight) -
                          strata__tier3_return * (float)(a->returns + b->returns);
            if (chain.score > best->chain.score)
                *best = (struct strata__joint){chain, {j.list[i], j.list[k]}};
        }
}

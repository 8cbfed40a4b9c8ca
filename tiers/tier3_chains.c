/* The search for chains (tier3_chains.h). */
#include "tier3_chains.h"

#include <math.h>
#include <stdlib.h>

#include "deadline.h"
#include "memory.h"
#include "tier3_weights.h"

#define NAMES_MOST 12      /* spans of the question that chains start from */
#define PREDICATES_MOST 32 /* that a hop may be: those that some span is nearest to */
#define REAL_MOST 48       /* chains of a level that are followed, */
#define IMAGINED_MOST 32   /* and those that the graph has not */
#define ENDS_MOST 128      /* of a chain, that are looked at while searching */
#define ENDS_LOOKED 16     /* of them, whose kinds say how the chain may go on, */
#define KINDS_MOST 4       /* and kinds that do */
#define A_LOOK 32          /* chains between two looks at the clock */

struct searching {
    struct strata__txn *txn;
    const struct strata__schema *schema;
    const struct strata__question *question;
    double deadline;
    bool *allowed;             /* of each predicate */
    struct strata__bytes next; /* struct strata__chain: a level that is being made */
    struct strata__bytes ends; /* strata__id: scratch */
    struct strata__chains *out;
    unsigned looks;
};

static struct strata__chain *at(struct strata__chains *chains, size_t index)
{
    return (struct strata__chain *)(void *)chains->all.data + index;
}

static bool late(struct searching *s)
{
    if (s->out->whole && s->looks++ % A_LOOK == 0 && strata__now_ms() > s->deadline)
        s->out->whole = false;
    return !s->out->whole;
}

/* ---- Predicates ---- */

struct nearness {
    float near;
    uint32_t predicate;
};

static int nearer(const void *a, const void *b)
{
    const struct nearness *x = a, *y = b;
    if (x->near != y->near)
        return x->near > y->near ? -1 : 1;
    return x->predicate < y->predicate ? -1 : x->predicate > y->predicate;
}

/* Allows the predicates that some span is nearest to. */
static strata_status allow(struct searching *s)
{
    const size_t n = s->schema->n_predicates;
    struct nearness *all;
    STRATA_TRY(strata__calloc(&s->allowed, n, sizeof *s->allowed, "predicates of a question"));
    STRATA_TRY(strata__calloc(&all, n, sizeof *all, "predicates of a question"));
    for (size_t p = 0; p < n; p++) {
        all[p] = (struct nearness){-1, (uint32_t)p};
        for (size_t i = 0; i < s->question->n * STRATA__SPAN_WORDS; i++)
            all[p].near = fmaxf(all[p].near, s->question->near[i * s->question->items + p]);
    }
    if (n)
        qsort(all, n, sizeof *all, nearer);
    for (size_t i = 0; i < n && i < PREDICATES_MOST; i++)
        s->allowed[all[i].predicate] = true;
    strata__free(all);
    return STRATA_OK;
}

/* ---- Steps in the graph ---- */

strata_status strata__hop_follow(struct strata__txn *txn, const struct strata__schema *schema,
                                 struct strata__hop hop, strata__id from, size_t most,
                                 struct strata__bytes *out)
{
    const strata__id predicate = schema->predicates[hop.predicate];
    const enum strata__table table = hop.reversed ? STRATA__POS : STRATA__SPO;
    const struct strata__row start = hop.reversed ? (struct strata__row){predicate, from, 0}
                                                  : (struct strata__row){from, predicate, 0};
    struct strata__row row;
    bool found;
    STRATA_TRY(strata__store_seek(txn, table, start, &row, &found));
    for (size_t i = 0; i < most && found && row.b == start.b; i++) {
        STRATA_TRY(strata__bytes_append(out, &row.c, sizeof row.c));
        STRATA_TRY(strata__store_next(txn, table, &row, &found));
    }
    return STRATA_OK;
}

static bool among(strata__id id, const strata__id *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* Whether a chain came by a term before. */
static bool came_by(const struct searching *s, const struct strata__chain *chain, strata__id id)
{
    const strata__id *ids = (const void *)s->out->ids.data;
    for (size_t at = chain->parent; at != SIZE_MAX;) {
        const struct strata__chain *before = strata__chains_at(s->out, at);
        if (among(id, ids + before->ends, before->n_ends))
            return true;
        at = before->parent;
    }
    return false;
}

/* Follows the last hop of a chain from where its parent, which is real, leads; real where that
 * leads to something new. */
static strata_status follow(struct searching *s, struct strata__chain *chain)
{
    const struct strata__chain parent = *strata__chains_at(s->out, chain->parent);
    const struct strata__hop hop = chain->shape.hops[chain->shape.n - 1];
    bool fresh = false;
    s->ends.size = 0;
    for (size_t i = 0; i < parent.n_ends && s->ends.size < ENDS_MOST * sizeof(strata__id); i++) {
        const strata__id from =
            ((const strata__id *)(const void *)s->out->ids.data)[parent.ends + i];
        STRATA_TRY(strata__hop_follow(s->txn, s->schema, hop, from,
                                      ENDS_MOST - s->ends.size / sizeof(strata__id), &s->ends));
    }
    const strata__id *found = (const void *)s->ends.data;
    const size_t n = s->ends.size / sizeof *found;
    for (size_t i = 0; i < n && !fresh; i++)
        fresh = !came_by(s, chain, found[i]);
    if (!fresh)
        return STRATA_OK;
    chain->real = true;
    chain->ends = s->out->ids.size / sizeof(strata__id);
    for (size_t i = 0; i < n; i++)
        if (!among(found[i], found, i))
            STRATA_TRY(strata__bytes_append(&s->out->ids, &found[i], sizeof *found));
    chain->n_ends = s->out->ids.size / sizeof(strata__id) - chain->ends;
    return strata__kind_of(s->txn, s->schema, found[0],
                           &chain->shape.kinds[chain->shape.n_kinds - 1]);
}

/* ---- A level ---- */

/* Adds a chain that goes one hop further than `parent`. */
static strata_status extend(struct searching *s, size_t parent, struct strata__hop hop,
                            uint16_t kind)
{
    struct strata__chain chain = *strata__chains_at(s->out, parent);
    struct strata__shape *shape = &chain.shape;
    if (late(s))
        return STRATA_OK;
    if (shape->n && strata__hop_returns(s->schema, shape->hops[shape->n - 1], hop)) {
        if (!chain.real)
            return STRATA_OK; /* where it leads back to is not known */
        chain.returns++;
    }
    shape->hops[shape->n++] = hop;
    shape->kinds[shape->n_kinds++] = kind;
    chain.parent = parent;
    chain.ends = chain.n_ends = 0;
    chain.score = strata__align(s->question, s->schema, shape, strata__tier3_bare, NULL) +
                  strata__tier3_name * s->out->starts[chain.start].weight -
                  strata__tier3_return * (float)chain.returns;
    return chain.score > -INFINITY ? strata__bytes_append(&s->next, &chain, sizeof chain)
                                   : STRATA_OK;
}

/* The kinds of what a chain leads to, some of them; of one that is not real, as the schema says. */
static strata_status kinds_of_ends(struct searching *s, const struct strata__chain *chain,
                                   uint16_t kinds[KINDS_MOST], size_t *n)
{
    const strata__id *ends = (const strata__id *)(const void *)s->out->ids.data + chain->ends;
    kinds[0] = chain->shape.kinds[chain->shape.n_kinds - 1];
    *n = 1;
    for (size_t i = 1; i < chain->n_ends && i < ENDS_LOOKED && *n < KINDS_MOST; i++) {
        size_t k = 0;
        STRATA_TRY(strata__kind_of(s->txn, s->schema, ends[i], &kinds[*n]));
        while (kinds[k] != kinds[*n])
            k++;
        *n += k == *n;
    }
    return STRATA_OK;
}

static bool has_step(const struct strata__schema *schema, uint16_t kind, struct strata__hop hop)
{
    if (kind == STRATA__LITERAL_KIND)
        return false;
    for (size_t i = schema->first[kind]; i < schema->first[kind + 1]; i++)
        if (schema->edges[i].hop.predicate == hop.predicate &&
            schema->edges[i].hop.reversed == hop.reversed)
            return true;
    return false;
}

/* All ways on that the schema knows, each once. */
static strata_status extend_all(struct searching *s, size_t parent)
{
    struct strata__chain *chain = at(s->out, parent);
    uint16_t kinds[KINDS_MOST], *last = &chain->shape.kinds[chain->shape.n_kinds - 1];
    size_t n;
    STRATA_TRY(kinds_of_ends(s, chain, kinds, &n));
    for (size_t k = 0; k < n; k++) {
        if (kinds[k] == STRATA__LITERAL_KIND)
            continue;
        *last = kinds[k];
        for (size_t i = s->schema->first[kinds[k]]; i < s->schema->first[kinds[k] + 1]; i++) {
            const struct strata__schema_edge *edge = &s->schema->edges[i];
            bool known = !s->allowed[edge->hop.predicate];
            for (size_t j = 0; j < k && !known; j++)
                known = has_step(s->schema, kinds[j], edge->hop);
            if (!known)
                STRATA_TRY(extend(s, parent, edge->hop, edge->to));
        }
    }
    *last = kinds[0];
    return STRATA_OK;
}

/* A predicate that has such values, but not this one: the question must say it. */
static strata_status extend_unknown(struct searching *s, size_t parent, struct strata__hop hop,
                                    uint32_t form)
{
    struct strata__chain *chain = at(s->out, parent);
    if (!strata__schema_has_form(s->schema, hop.predicate, form))
        return STRATA_OK;
    for (size_t i = 0; i < s->schema->n_edges && s->allowed[hop.predicate]; i++) {
        const struct strata__schema_edge *edge = &s->schema->edges[i];
        if (edge->hop.predicate != hop.predicate || edge->hop.reversed ||
            edge->to != STRATA__LITERAL_KIND)
            continue;
        chain->real = chain->shape.literal = false;
        STRATA_TRY(extend(s, parent, hop, edge->from));
        chain->real = chain->shape.literal = true;
    }
    return STRATA_OK;
}

/* The predicates that have a literal as their object, each once, with the kind of such a subject.
 */
static strata_status extend_literal(struct searching *s, size_t parent)
{
    const struct strata__chain *chain = strata__chains_at(s->out, parent);
    const strata__id literal = s->out->starts[chain->start].id;
    uint32_t form;
    STRATA_TRY(strata__form_of(s->txn, literal, &form));
    for (size_t p = 0; p < s->schema->n_predicates && !late(s); p++) {
        const struct strata__hop hop = {(uint16_t)p, true};
        uint16_t kind;
        s->ends.size = 0;
        STRATA_TRY(strata__hop_follow(s->txn, s->schema, hop, literal, 1, &s->ends));
        if (s->ends.size == 0) {
            STRATA_TRY(extend_unknown(s, parent, hop, form));
            continue;
        }
        const strata__id subject = *(const strata__id *)(const void *)s->ends.data;
        STRATA_TRY(strata__kind_of(s->txn, s->schema, subject, &kind));
        STRATA_TRY(extend(s, parent, hop, kind));
    }
    return STRATA_OK;
}

static int better(const void *a, const void *b)
{
    const struct strata__chain *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->parent != y->parent)
        return x->parent < y->parent ? -1 : 1;
    const struct strata__hop p = x->shape.hops[x->shape.n - 1], q = y->shape.hops[y->shape.n - 1];
    if (p.predicate != q.predicate)
        return p.predicate < q.predicate ? -1 : 1;
    return p.reversed != q.reversed
               ? p.reversed - q.reversed
               : x->shape.kinds[x->shape.n_kinds - 1] - y->shape.kinds[y->shape.n_kinds - 1];
}

/* Keeps the best chains of the level, those that the graph has and some that it has not. */
static strata_status keep(struct searching *s)
{
    struct strata__chain *next = (struct strata__chain *)(void *)s->next.data;
    const size_t n = s->next.size / sizeof *next;
    size_t real = 0, imagined = 0;
    if (n)
        qsort(next, n, sizeof *next, better);
    for (size_t i = 0; i < n && real < REAL_MOST && !late(s); i++) {
        struct strata__chain *chain = &next[i];
        const bool was_real = chain->real;
        chain->real = false;
        if (was_real)
            STRATA_TRY(follow(s, chain));
        if (!chain->real && !chain->returns) {
            s->out->imagined = fmaxf(s->out->imagined, chain->score);
            if (imagined++ >= IMAGINED_MOST)
                continue;
        } else if (!chain->real)
            continue;
        real += chain->real;
        const size_t index = s->out->all.size / sizeof *chain;
        STRATA_TRY(strata__bytes_append(&s->out->all, chain, sizeof *chain));
        if (chain->real)
            STRATA_TRY(strata__bytes_append(&s->out->best, &index, sizeof index));
    }
    return STRATA_OK;
}

/* Chains without a hop: what the heaviest names may mean. */
static strata_status begin(struct searching *s)
{
    struct strata__chains *out = s->out;
    size_t names = 0;
    STRATA_TRY(strata__question_starts(s->txn, s->schema, s->question, s->deadline, out->starts,
                                       &out->n_starts, &out->whole));
    for (size_t i = 0; i < out->n_starts; i++) {
        const struct strata__start *start = &out->starts[i];
        names += i == 0 || start[-1].first != start->first || start[-1].end != start->end;
        if (names > NAMES_MOST)
            break;
        const struct strata__chain chain = {
            .shape = {.names = {{start->first, start->end}},
                      .literal = start->literal,
                      .n_kinds = 1,
                      .kinds = {start->kind}},
            .start = (uint16_t)i,
            .real = true,
            .parent = SIZE_MAX,
            .ends = out->ids.size / sizeof start->id,
            .n_ends = 1,
        };
        STRATA_TRY(strata__bytes_append(&out->ids, &start->id, sizeof start->id));
        STRATA_TRY(strata__bytes_append(&out->all, &chain, sizeof chain));
    }
    return STRATA_OK;
}

static int compare_scores(const void *a, const void *b, void *user)
{
    const struct strata__chains *chains = user;
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    const float p = strata__chains_at(chains, x)->score, q = strata__chains_at(chains, y)->score;
    if (p != q)
        return p > q ? -1 : 1;
    return x < y ? -1 : x > y;
}

static strata_status search(struct searching *s)
{
    struct strata__chains *out = s->out;
    STRATA_TRY(allow(s));
    STRATA_TRY(begin(s));
    size_t first = 0, end = out->all.size / sizeof(struct strata__chain);
    for (int hops = 0; hops < STRATA__HOPS_MOST && first < end && !late(s); hops++) {
        s->next.size = 0;
        for (size_t i = first; i < end; i++)
            STRATA_TRY(hops == 0 && strata__chains_at(out, i)->shape.literal ? extend_literal(s, i)
                                                                             : extend_all(s, i));
        first = end;
        STRATA_TRY(keep(s));
        end = out->all.size / sizeof(struct strata__chain);
    }
    if (out->best.size)
        qsort_r(out->best.data, out->best.size / sizeof(size_t), sizeof(size_t), compare_scores,
                out);
    return STRATA_OK;
}

strata_status strata__chains_search(struct strata__txn *txn, const struct strata__schema *schema,
                                    const struct strata__question *question, double deadline,
                                    struct strata__chains *out)
{
    struct searching s = {
        .txn = txn, .schema = schema, .question = question, .deadline = deadline, .out = out};
    *out = (struct strata__chains){.imagined = -INFINITY, .whole = true};
    strata_status status = search(&s);
    strata__free(s.allowed);
    strata__bytes_free(&s.next);
    strata__bytes_free(&s.ends);
    return status;
}

void strata__chains_free(struct strata__chains *chains)
{
    strata__bytes_free(&chains->all);
    strata__bytes_free(&chains->ids);
    strata__bytes_free(&chains->best);
}

/* The facts that answer a question (tier3_find.h). */
#include "tier3_find.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "deadline.h"
#include "memory.h"
#include "tier3_weights.h"

#define CHAINS_MOST 8             /* whose facts are given, */
#define ANSWERS_ENOUGH 10         /* until there are so many */
#define BEHIND_MOST 0.6f          /* what their score may be behind the best one's */
#define TERMS_MOST ((size_t)4096) /* that a hop leads to */
#define PROOFS_MOST 512           /* facts of the hops before the last one that are given */
#define CLEAR_LEAST \
    0.25f                /* the cosine of a word and what a chain says from which on it begins to */
#define CLEAR_RANGE 0.3f /* be explained, and over which it comes to be */
#define LEAST_MOST 0.5f  /* beyond it a hop is clearly meant */
#define SCORE_SHARE 2.0  /* how fast the likelihood of chains falls with their scores */

const char *const strata__chain_evidence_names[STRATA__CHAIN_EVIDENCE] = {
    "score", "imagined", "bare", "name", "least", "hops",
};

/* ---- How likely ---- */

/* How well the hops and kinds of a chain explain a word by itself, 0 to 1. */
static float explained(const struct strata__question *q, const struct strata__schema *schema,
                       const struct strata__shape *shape, size_t word)
{
    const float *near = strata__question_near(q, word, 1);
    float best = -1;
    for (size_t i = 0; i < shape->n; i++)
        best = fmaxf(best, near[shape->hops[i].predicate]);
    for (size_t i = 0; i < shape->n_kinds; i++)
        if (shape->kinds[i] != STRATA__NO_KIND && shape->kinds[i] != STRATA__LITERAL_KIND)
            best = fmaxf(best, near[schema->n_predicates + shape->kinds[i]]);
    return fminf(1, fmaxf(0, (best - CLEAR_LEAST) / CLEAR_RANGE));
}

static bool is_named(const struct strata__shape *shape, size_t word)
{
    for (size_t i = 0; i < (shape->split ? 2u : 1u); i++)
        if (word >= shape->names[i].first && word < shape->names[i].end)
            return true;
    return false;
}

/* Reads the evidence of a chain; `imagined`: the best score of one that the graph has not. */
static void read_evidence(const struct strata__question *q, const struct strata__schema *schema,
                          const struct strata__chain *chain, float imagined,
                          float evidence[STRATA__CHAIN_EVIDENCE])
{
    const struct strata__shape *shape = &chain->shape;
    struct strata__alignment aligned, loose;
    strata__align(q, schema, shape, strata__tier3_bare, &aligned);
    /* With bare words for next to nothing, spans hold only what makes them nearer. */
    strata__align(q, schema, shape, strata__tier3_loose, &loose);
    memset(evidence, 0, STRATA__CHAIN_EVIDENCE * sizeof *evidence);
    for (size_t i = 0; i < q->n; i++) {
        const float weight = q->weights[i];
        if (is_named(shape, i))
            evidence[STRATA__CHAIN_NAME] += weight;
        else if (loose.bare >> i & 1)
            evidence[STRATA__CHAIN_BARE] =
                fmaxf(evidence[STRATA__CHAIN_BARE], weight * (1 - explained(q, schema, shape, i)));
    }
    evidence[STRATA__CHAIN_SCORE] = chain->score;
    evidence[STRATA__CHAIN_IMAGINED] = fmaxf(imagined, chain->score - 1) - chain->score;
    evidence[STRATA__CHAIN_LEAST] = fminf(aligned.least, LEAST_MOST);
    evidence[STRATA__CHAIN_HOPS] = (float)shape->n;
}

static double likelihood(const float evidence[STRATA__CHAIN_EVIDENCE])
{
    double sum = strata__tier3_bias;
    for (int i = 0; i < STRATA__CHAIN_EVIDENCE; i++)
        sum += strata__tier3_weights[i] * (double)evidence[i];
    return 1 / (1 + exp(-sum));
}

/* ---- Facts ---- */

struct giving {
    struct strata__txn *txn;
    struct strata__tier3 *out;
    double deadline;
    struct strata__bytes rows[2]
                             [STRATA__HOPS_MOST]; /* struct strata__row: of the hops of a chain */
    struct strata__bytes ends[2];                 /* strata__id, sorted: what it leads to */
    struct strata__bytes proofs;                  /* struct strata__tier3_fact */
};

static int compare_ids(const void *a, const void *b)
{
    const strata__id x = *(const strata__id *)a, y = *(const strata__id *)b;
    return x < y ? -1 : x > y;
}

static void sort_ids(struct strata__bytes *ids)
{
    strata__id *id = (strata__id *)(void *)ids->data;
    const size_t n = ids->size / sizeof *id;
    size_t kept = 0;
    if (n)
        qsort(id, n, sizeof *id, compare_ids);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || id[i] != id[kept - 1])
            id[kept++] = id[i];
    ids->size = kept * sizeof *id;
}

/* Where a row of a hop leads, and where it comes from. */
static strata__id head(struct strata__hop hop, const struct strata__row *row)
{
    return hop.reversed ? row->a : row->c;
}

static strata__id tail(struct strata__hop hop, const struct strata__row *row)
{
    return hop.reversed ? row->c : row->a;
}

/* All facts of a hop from the terms `from`, and where they lead. */
static strata_status walk_hop(struct giving *g, struct strata__hop hop,
                              const struct strata__bytes *from, struct strata__bytes *rows,
                              struct strata__bytes *to)
{
    const strata__id *ids = (const void *)from->data;
    const strata__id predicate = g->out->schema->predicates[hop.predicate];
    rows->size = to->size = 0;
    for (size_t i = 0; i < from->size / sizeof *ids; i++) {
        const size_t before = to->size / sizeof *ids;
        STRATA_TRY(
            strata__hop_follow(g->txn, g->out->schema, hop, ids[i], TERMS_MOST - before + 1, to));
        const size_t found = to->size / sizeof *ids, n = found < TERMS_MOST ? found : TERMS_MOST;
        for (size_t at = before; at < n; at++) {
            const strata__id end = ((const strata__id *)(const void *)to->data)[at];
            const struct strata__row row = hop.reversed
                                               ? (struct strata__row){end, predicate, ids[i]}
                                               : (struct strata__row){ids[i], predicate, end};
            STRATA_TRY(strata__bytes_append(rows, &row, sizeof row));
        }
        to->size = n * sizeof *ids;
        g->out->more |= found > TERMS_MOST;
        g->out->whole = g->out->whole && strata__now_ms() <= g->deadline;
        if (found > TERMS_MOST || !g->out->whole)
            break;
    }
    sort_ids(to);
    return STRATA_OK;
}

static bool has_id(const struct strata__bytes *sorted, strata__id id)
{
    const size_t n = sorted->size / sizeof id;
    return n && bsearch(&id, sorted->data, n, sizeof id, compare_ids);
}

static bool is_given(const struct strata__bytes *facts, const struct strata__row *row)
{
    const struct strata__tier3_fact *fact = (const void *)facts->data;
    for (size_t i = 0; i < facts->size / sizeof *fact; i++)
        if (fact[i].row.a == row->a && fact[i].row.b == row->b && fact[i].row.c == row->c)
            return true;
    return false;
}

/* Adds the rows of a hop that lead to one of `to` to the answers or to the proofs, once; what they
 * come from replaces *from. */
static strata_status add_rows(struct giving *g, const struct strata__bytes *rows,
                              struct strata__hop hop, const struct strata__bytes *to, double score,
                              bool proof, struct strata__bytes *from)
{
    struct strata__bytes *facts = proof ? &g->proofs : &g->out->facts;
    const struct strata__row *row = (const void *)rows->data;
    from->size = 0;
    for (size_t i = 0; i < rows->size / sizeof *row; i++) {
        const strata__id end = head(hop, &row[i]), begin = tail(hop, &row[i]);
        if (!has_id(to, end))
            continue;
        STRATA_TRY(strata__bytes_append(from, &begin, sizeof begin));
        const struct strata__tier3_fact fact = {row[i], score, proof};
        if (proof && facts->size == PROOFS_MOST * sizeof fact)
            g->out->more = true;
        else if (!is_given(facts, &row[i]))
            STRATA_TRY(strata__bytes_append(facts, &fact, sizeof fact));
    }
    sort_ids(from);
    return STRATA_OK;
}

/* Reads the facts of all hops of a chain, and what it leads to. */
static strata_status walk_chain(struct giving *g, const struct strata__chain *chain,
                                struct strata__bytes rows[STRATA__HOPS_MOST],
                                struct strata__bytes *ends)
{
    const struct strata__shape *shape = &chain->shape;
    const strata__id start = g->out->chains.starts[chain->start].id;
    struct strata__bytes from = {0};
    ends->size = 0;
    strata_status status = strata__bytes_append(ends, &start, sizeof start);
    for (size_t i = 0; i < shape->n && status == STRATA_OK; i++) {
        const struct strata__bytes swap = from;
        from = *ends;
        *ends = swap;
        status = walk_hop(g, shape->hops[i], &from, &rows[i], ends);
    }
    strata__bytes_free(&from);
    return status;
}

/* Gives the facts of a chain's last hop that lead to `ends`, and notes those that led there, the
 * last ones first. */
static strata_status give_ends(struct giving *g, const struct strata__chain *chain,
                               const struct strata__bytes rows[STRATA__HOPS_MOST],
                               const struct strata__bytes *ends, double score)
{
    const struct strata__shape *shape = &chain->shape;
    struct strata__bytes from = {0}, to = {0};
    strata_status status = STRATA_OK;
    for (size_t i = shape->n; i-- > 0 && status == STRATA_OK;) {
        const bool last = i + 1u == shape->n;
        status = add_rows(g, &rows[i], shape->hops[i], last ? ends : &to, score, !last, &from);
        const struct strata__bytes swap = from;
        from = to;
        to = swap;
    }
    strata__bytes_free(&from);
    strata__bytes_free(&to);
    return status;
}

static strata_status give_chain(struct giving *g, const struct strata__chain *chain, double score,
                                size_t *count)
{
    STRATA_TRY(walk_chain(g, chain, g->rows[0], &g->ends[0]));
    *count = g->ends[0].size / sizeof(strata__id);
    return give_ends(g, chain, g->rows[0], &g->ends[0], score);
}

/* Gives the facts of two chains that lead to what both end at. */
static strata_status give_joint(struct giving *g)
{
    struct strata__tier3 *out = g->out;
    const size_t *parts = out->chains.joint.parts;
    struct strata__bytes *ends = g->ends;
    size_t kept = 0;
    for (size_t i = 0; i < 2; i++)
        STRATA_TRY(walk_chain(g, strata__chains_at(&out->chains, parts[i]), g->rows[i], &ends[i]));
    strata__id *ids = (strata__id *)(void *)ends[0].data;
    for (size_t i = 0; i < ends[0].size / sizeof *ids; i++)
        if (has_id(&ends[1], ids[i]))
            ids[kept++] = ids[i];
    ends[0].size = kept * sizeof *ids;
    out->count = kept;
    for (size_t i = 0; i < 2; i++)
        STRATA_TRY(give_ends(g, strata__chains_at(&out->chains, parts[i]), g->rows[i], &ends[0],
                             out->score));
    return STRATA_OK;
}

/* Facts of the best chain, and of others that are nearly as good. */
static strata_status give_best(struct giving *g)
{
    struct strata__tier3 *out = g->out;
    const size_t *best = (const void *)out->chains.best.data;
    const size_t n = out->chains.best.size / sizeof *best;
    const float score = strata__chains_at(&out->chains, best[0])->score;
    for (size_t i = 0; i < n && i < CHAINS_MOST; i++) {
        const struct strata__chain *chain = strata__chains_at(&out->chains, best[i]);
        size_t count;
        if (out->facts.size >= ANSWERS_ENOUGH * sizeof(struct strata__tier3_fact) ||
            chain->score < score - BEHIND_MOST || (i > 0 && strata__now_ms() > g->deadline))
            break;
        if (i > 0 && chain->n_ends > ANSWERS_ENOUGH)
            continue; /* a second guess is not to hide the others */
        STRATA_TRY(give_chain(g, chain,
                              out->score * exp(SCORE_SHARE * (double)(chain->score - score)),
                              i == 0 ? &out->count : &count));
    }
    return STRATA_OK;
}

/* The facts that answer, then those that led to them. */
static strata_status give(struct giving *g)
{
    struct strata__tier3 *out = g->out;
    STRATA_TRY(out->joined ? give_joint(g) : give_best(g));
    const struct strata__tier3_fact *proofs = (const void *)g->proofs.data;
    for (size_t i = 0; i < g->proofs.size / sizeof *proofs; i++)
        if (!is_given(&out->facts, &proofs[i].row))
            STRATA_TRY(strata__bytes_append(&out->facts, &proofs[i], sizeof *proofs));
    return STRATA_OK;
}

/* ---- All of it ---- */

static strata_status find(struct giving *g)
{
    struct strata__tier3 *out = g->out;
    struct strata__question *question = out->question;
    strata_facts *facts = g->txn->facts;
    STRATA_TRY(strata__schema_get(g->txn, &out->schema));
    STRATA_TRY(strata__question_compare(facts, out->schema, g->deadline, question, &out->whole));
    if (!out->whole)
        return STRATA_OK;
    STRATA_TRY(strata__chains_search(g->txn, out->schema, question, g->deadline, &out->chains));
    strata__chains_join(out->schema, question, g->deadline, &out->chains);
    out->whole = out->chains.whole;
    if (out->chains.best.size == 0)
        return STRATA_OK;
    const struct strata__chain *best =
        strata__chains_at(&out->chains, *(const size_t *)(const void *)out->chains.best.data);
    out->joined = out->chains.joint.chain.score > best->score;
    read_evidence(question, out->schema, out->joined ? &out->chains.joint.chain : best,
                  out->chains.imagined, out->evidence);
    out->score = likelihood(out->evidence);
    return out->score >= strata__tier3_least ? give(g) : STRATA_OK;
}

strata_status strata__tier3_find(struct strata__txn *txn, const char *text, double deadline,
                                 struct strata__tier3 *out)
{
    const struct strata__linker *linker = txn->facts->linker;
    struct giving g = {.txn = txn, .out = out, .deadline = deadline};
    *out = (struct strata__tier3){.least = strata__tier3_least, .whole = true};
    if (!linker || !linker->vectors.predicates)
        return STRATA_OK;
    STRATA_TRY(strata__calloc(&out->question, 1, sizeof *out->question, "a question"));
    strata_status status = STRATA_OK;
    if (strata__question_read(text, out->question))
        status = find(&g);
    for (size_t i = 0; i < 2; i++) {
        for (size_t k = 0; k < STRATA__HOPS_MOST; k++)
            strata__bytes_free(&g.rows[i][k]);
        strata__bytes_free(&g.ends[i]);
    }
    strata__bytes_free(&g.proofs);
    return status;
}

void strata__tier3_free(strata_facts *facts, struct strata__tier3 *tier3)
{
    strata__schema_drop(facts, tier3->schema);
    if (tier3->question)
        strata__question_free(tier3->question);
    strata__free(tier3->question);
    strata__chains_free(&tier3->chains);
    strata__bytes_free(&tier3->facts);
    *tier3 = (struct strata__tier3){0};
}

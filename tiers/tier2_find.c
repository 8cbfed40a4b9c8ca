/* Whose facts, and with which predicates, an entity and a phrase mean (tier2_expand.h). */
#include <stdlib.h>
#include <string.h>

#include "answer_cache.h"
#include "deadline.h"
#include "memory.h"
#include "tier2_expand.h"
#include "tier2_weights.h"

#define PREDICATES_MOST 6   /* whose facts are given */
#define ENTITIES_MOST 64    /* of one name */
#define SHARE_LEAST 0.02    /* of the best one's score, that the others have at least */
#define LINKED_PREDICATES 8 /* that tier 1 is asked for */
#define LINKED_SHARE 0.05   /* of the best one's score, that they have at least */
#define LINKED_MOST 10      /* entities and predicates that are given of what it says */
#define CANDIDATES_EACH 50  /* of tier 1, for each predicate */
#define SEEKS_A_LOOK 64     /* between two looks at the clock */

struct finding {
    struct strata__txn *txn;
    const struct strata__choices *exact;
    double deadline;
    bool all;
    unsigned seeks;
    double unasked; /* the best score of what is held, before the language model is asked */
    struct strata__bytes meant; /* struct strata__meant */
    struct strata__tier2 *out;
};

static bool late(struct finding *f)
{
    if (strata__now_ms() <= f->deadline)
        return false;
    f->out->whole = false;
    return true;
}

/* The evidence that added most to a score. */
static const char *why(const struct strata__expansion *e)
{
    const bool shared =
        strata__tier2_weights[0][STRATA__SHARED] * (double)e->evidence[STRATA__SHARED] >
        strata__tier2_weights[0][STRATA__NEAR] * (double)e->evidence[STRATA__NEAR];
    return strata__phrase_evidence_names[shared ? STRATA__SHARED : STRATA__NEAR];
}

/* ---- Entities of the very name ---- */

static strata_status has_fact(struct finding *f, strata__id entity,
                              const struct strata__expansion *e, bool *has)
{
    struct strata__row row;
    const enum strata__table table = e->reversed ? STRATA__POS : STRATA__SPO;
    const struct strata__row from = e->reversed ? (struct strata__row){e->predicate, entity, 0}
                                                : (struct strata__row){entity, e->predicate, 0};
    STRATA_TRY(strata__store_seek(f->txn, table, from, &row, has));
    *has = *has && row.b == from.b;
    return STRATA_OK;
}

/* Adds the entities that have facts of an expansion; *stop where the deadline came. */
static strata_status add_entities(struct finding *f, struct strata__expansion *e, bool give,
                                  bool *stop)
{
    for (size_t i = 0; i < f->exact->n && i < ENTITIES_MOST && !*stop; i++) {
        bool has;
        const strata__id entity = f->exact->ids[i];
        STRATA_TRY(has_fact(f, entity, e, &has));
        *stop = ++f->seeks % SEEKS_A_LOOK == 0 && late(f);
        if (!has)
            continue;
        e->held = true;
        const struct strata__meant meant = {e->predicate, entity, e->reversed, e->score, why(e)};
        if (give)
            STRATA_TRY(strata__bytes_append(&f->meant, &meant, sizeof meant));
    }
    return STRATA_OK;
}

/* Asks the language model, where there is one, about the best predicates that entities of the name
 * have, and about those that are better still. */
static strata_status ask_lm(struct finding *f, const char *phrase)
{
    bool stop = false;
    size_t held = 0;
    if (!f->txn->facts->lm)
        return STRATA_OK;
    for (size_t i = 0; i < f->out->n_expansions && !stop; i++) {
        struct strata__expansion *e = &f->out->expansions[i];
        STRATA_TRY(add_entities(f, e, false, &stop));
        if (e->held && held++ == 0)
            f->unasked = e->score;
        stop |= held == STRATA__LM_PREDICATES && !f->all;
    }
    f->out->lm = STRATA__LM_NEEDLESS;
    if (held == 0 || late(f))
        return STRATA_OK;
    return strata__tier2_ask_lm(f->txn, phrase, f->out->expansions, f->out->n_expansions, f->all,
                                f->deadline, &f->out->lm);
}

/* The best predicates that entities of the name have; none where even the best is unlikely, with
 * and without the language model. */
static strata_status find_exact(struct finding *f)
{
    struct strata__expansion *best = NULL;
    const bool with_lm = f->out->lm == STRATA__LM_ASKED;
    const double likely = strata__tier2_least[with_lm];
    const double first = with_lm && f->unasked >= likely ? 0 : likely;
    size_t given = 0;
    bool stop = false;
    for (size_t i = 0; i < f->out->n_expansions && !stop; i++) {
        struct strata__expansion *e = &f->out->expansions[i];
        const double least = best ? SHARE_LEAST * best->score : first;
        const bool give = e->score >= least && given < PREDICATES_MOST;
        if (!give && !f->all)
            break;
        STRATA_TRY(add_entities(f, e, give, &stop));
        given += give && e->held;
        if (give && e->held && !best)
            best = e;
    }
    return STRATA_OK;
}

/* ---- Entities by tier 1 ---- */

static int more_likely(const void *a, const void *b)
{
    const struct strata__meant *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->predicate != y->predicate)
        return x->predicate < y->predicate ? -1 : 1;
    if (x->entity != y->entity)
        return x->entity < y->entity ? -1 : 1;
    return x->reversed - y->reversed;
}

static int better_candidate(const void *a, const void *b)
{
    const struct strata__candidate *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Where entities have the very name, they were looked at before, and no name that is only like it
 * is meant. */
static bool may_mean(const struct finding *f, strata__id entity, const char *evidence)
{
    static const enum strata__evidence like[] = {STRATA__SPELLED, STRATA__WORDS, STRATA__MEANING};
    for (size_t i = 0; i < f->exact->n && i < ENTITIES_MOST; i++)
        if (f->exact->ids[i] == entity)
            return false;
    for (size_t i = 0; i < sizeof like / sizeof *like && f->exact->n; i++)
        if (evidence == strata__evidence_names[like[i]])
            return false;
    return true;
}

/* An entity that tier 1 found for one of the predicates, and how likely. */
struct linked {
    strata__id entity;
    double score;
    const char *why;
};

static int more_linked(const void *a, const void *b)
{
    const struct linked *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->entity < y->entity ? -1 : x->entity > y->entity;
}

/* Notes an entity, once, with the best of its scores. */
static strata_status add_linked(struct strata__bytes *all, struct linked linked)
{
    struct linked *items = (struct linked *)(void *)all->data;
    for (size_t i = 0; i < all->size / sizeof *items; i++)
        if (items[i].entity == linked.entity) {
            if (items[i].score < linked.score)
                items[i] = linked;
            return STRATA_OK;
        }
    return strata__bytes_append(all, &linked, sizeof linked);
}

/* Adds what tier 1 says of a predicate's subjects. */
static strata_status link_one(struct finding *f, const char *entity,
                              const struct strata__expansion *e, struct strata__bytes *candidates,
                              struct strata__bytes *linked)
{
    strata__id id = e->predicate;
    const struct strata__choices predicate = {.ids = &id, .n = 1};
    struct strata__candidate *found;
    size_t n;
    bool whole;
    STRATA_TRY(
        strata__tier1_link(f->txn, entity, f->exact, &predicate, f->deadline, &found, &n, &whole));
    strata_status status = STRATA_OK;
    f->out->whole = f->out->whole && whole;
    for (size_t i = 0; i < n && i < CANDIDATES_EACH && status == STRATA_OK; i++) {
        const char *evidence = strata__candidate_why(&found[i]);
        if (found[i].score >= strata__tier1_least && may_mean(f, found[i].id, evidence))
            status = add_linked(linked, (struct linked){found[i].id, found[i].score, evidence});
        found[i].score *= e->score;
        if (status == STRATA_OK)
            status = strata__bytes_append(candidates, &found[i], sizeof *found);
    }
    strata__free(found);
    return status;
}

/* Asks tier 1 for the best predicates, of which the first is likely. */
static strata_status link_all(struct finding *f, const char *entity,
                              struct strata__bytes *candidates, struct strata__bytes *linked)
{
    const struct strata__expansion *e = f->out->expansions;
    size_t asked = 0;
    for (size_t i = 0; i < f->out->n_expansions && asked < LINKED_PREDICATES && !late(f); i++) {
        if (e[0].score < strata__tier2_least[0] || e[i].score < LINKED_SHARE * e[0].score)
            break;
        if (e[i].reversed)
            continue;
        asked++;
        STRATA_TRY(link_one(f, entity, &e[i], candidates, linked));
    }
    return STRATA_OK;
}

/* Adds the predicates that an entity has of those that the phrase may mean. */
static strata_status add_meant(struct finding *f, const struct linked *linked)
{
    const struct strata__expansion *e = f->out->expansions;
    for (size_t i = 0, given = 0; i < f->out->n_expansions && given < PREDICATES_MOST; i++) {
        bool has;
        if (e[i].score < SHARE_LEAST * e[0].score || late(f))
            break;
        STRATA_TRY(has_fact(f, linked->entity, &e[i], &has));
        const struct strata__meant meant = {e[i].predicate, linked->entity, e[i].reversed,
                                            e[i].score * linked->score, linked->why};
        if (has)
            STRATA_TRY(strata__bytes_append(&f->meant, &meant, sizeof meant));
        given += has;
    }
    return STRATA_OK;
}

/* Keeps the likeliest of what is meant; nothing where even the best is unlikely. */
static void settle(struct finding *f)
{
    struct strata__meant *meant = (struct strata__meant *)(void *)f->meant.data;
    const size_t n = f->meant.size / sizeof *meant;
    size_t kept = 0;
    if (n)
        qsort(meant, n, sizeof *meant, more_likely);
    while (kept < n && kept < LINKED_MOST && meant[0].score >= strata__tier2_least_linked &&
           meant[kept].score >= SHARE_LEAST * meant[0].score)
        kept++;
    f->meant.size = kept * sizeof *meant;
}

static strata_status find_linked(struct finding *f, const char *entity)
{
    struct strata__bytes candidates = {0}, linked = {0};
    strata_status status = link_all(f, entity, &candidates, &linked);
    struct linked *items = (struct linked *)(void *)linked.data;
    const size_t n = linked.size / sizeof *items;
    if (n)
        qsort(items, n, sizeof *items, more_linked);
    for (size_t i = 0; i < n && i < LINKED_MOST && status == STRATA_OK; i++)
        status = add_meant(f, &items[i]);
    settle(f);
    strata__bytes_free(&linked);
    f->out->candidates = (struct strata__candidate *)(void *)candidates.data;
    f->out->n_candidates = candidates.size / sizeof *f->out->candidates;
    if (f->out->n_candidates)
        qsort(f->out->candidates, f->out->n_candidates, sizeof *f->out->candidates,
              better_candidate);
    return status;
}

/* ---- All of it ---- */

strata_status strata__tier2_find(struct strata__txn *txn, const char *entity, const char *phrase,
                                 const struct strata__choices *exact, double deadline, bool all,
                                 struct strata__tier2 *out)
{
    struct finding f = {.txn = txn, .exact = exact, .deadline = deadline, .all = all, .out = out};
    *out = (struct strata__tier2){.whole = true};
    strata_status status = strata__expand_cached(txn, phrase, deadline, &out->expansions,
                                                 &out->n_expansions, &out->whole);
    if (status == STRATA_OK)
        status = ask_lm(&f, phrase);
    if (status == STRATA_OK && exact->n)
        status = find_exact(&f);
    if (status == STRATA_OK && f.meant.size == 0 && entity) {
        strata__tier2_rank(out->expansions, out->n_expansions, false);
        status = find_linked(&f, entity);
    }
    out->meant = (struct strata__meant *)(void *)f.meant.data;
    out->n_meant = f.meant.size / sizeof *out->meant;
    return status;
}

void strata__tier2_free(struct strata__tier2 *tier2)
{
    strata__free(tier2->expansions);
    strata__free(tier2->candidates);
    strata__free(tier2->meant);
    *tier2 = (struct strata__tier2){0};
}

static bool means(const struct strata__meant *meant, const struct strata__row *row)
{
    return meant->predicate == row->b && meant->entity == (meant->reversed ? row->c : row->a);
}

const struct strata__meant *strata__tier2_meant(const struct strata__tier2 *tier2,
                                                const struct strata__row *row)
{
    for (size_t i = 0; i < tier2->n_meant; i++)
        if (means(&tier2->meant[i], row))
            return &tier2->meant[i];
    return NULL;
}

/* Gives the rows of meant[at] that none before it gave. */
struct walk {
    const struct strata__tier2 *tier2;
    const struct strata__meant *meant;
    strata__row_fn *take;
    void *user;
    bool stop;
};

static strata_status take_new(void *user, const struct strata__row *row, bool *stop)
{
    struct walk *walk = user;
    if (strata__tier2_meant(walk->tier2, row) != walk->meant)
        return STRATA_OK;
    strata_status status = walk->take(walk->user, row, stop);
    walk->stop = *stop;
    return status;
}

strata_status strata__tier2_walk(struct strata__txn *txn, const struct strata__tier2 *tier2,
                                 strata__row_fn *take, void *user)
{
    struct walk walk = {.tier2 = tier2, .take = take, .user = user};
    for (size_t i = 0; i < tier2->n_meant && !walk.stop; i++) {
        struct strata__meant *meant = &tier2->meant[i];
        const struct strata__choices entity = {.ids = &meant->entity, .n = 1}, any = {.any = true};
        const struct strata__pattern pattern = {
            .subject = meant->reversed ? any : entity,
            .predicate = {.ids = &meant->predicate, .n = 1},
            .object = meant->reversed ? entity : any,
        };
        walk.meant = meant;
        STRATA_TRY(strata__pattern_walk(txn, &pattern, take_new, &walk));
    }
    return STRATA_OK;
}

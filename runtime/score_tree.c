/* Trees of continuations, made in one walk over them in order. */
#include "score_tree.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"

strata_status strata__score_tree_open(struct strata__score_tree *t, size_t rows, size_t longest,
                                      size_t total)
{
    static const char what[] = "a tree of continuations";
    struct strata__tree *tree = &t->tree;
    *t = (struct strata__score_tree){.rows = rows, .picks = total};
    STRATA_TRY(strata__calloc(&tree->ids, rows, sizeof *tree->ids, what));
    STRATA_TRY(strata__calloc(&tree->place, rows, sizeof *tree->place, what));
    STRATA_TRY(strata__calloc(&tree->until, rows, sizeof *tree->until, what));
    STRATA_TRY(strata__calloc(&tree->first, rows + 1, sizeof *tree->first, what));
    STRATA_TRY(strata__calloc(&tree->next, total, sizeof *tree->next, what));
    STRATA_TRY(strata__calloc(&tree->logprob, total, sizeof *tree->logprob, what));
    STRATA_TRY(strata__calloc(&t->pick, total, sizeof *t->pick, what));
    STRATA_TRY(strata__calloc(&t->path, longest + 1, sizeof *t->path, what));
    STRATA_TRY(strata__calloc(&t->picked, longest, sizeof *t->picked, what));
    STRATA_TRY(strata__calloc(&t->at, total, sizeof *t->at, what));
    return strata__calloc(&t->ids, total, sizeof *t->ids, what);
}

void strata__score_tree_close(struct strata__score_tree *t)
{
    strata__free(t->tree.ids);
    strata__free(t->tree.place);
    strata__free(t->tree.until);
    strata__free(t->tree.first);
    strata__free(t->tree.next);
    strata__free(t->tree.logprob);
    strata__free(t->pick);
    strata__free(t->path);
    strata__free(t->picked);
    strata__free(t->at);
    strata__free(t->ids);
    *t = (struct strata__score_tree){0};
}

/* Tokens that two branches begin with alike. */
static size_t shared(const struct strata__branch *a, const struct strata__branch *b)
{
    size_t n = 0;
    while (n < a->count && n < b->count && a->ids[n] == b->ids[n])
        n++;
    return n;
}

static int compare(const void *first, const void *second)
{
    const struct strata__branch *a = first, *b = second;
    size_t n = shared(a, b);
    if (n == a->count || n == b->count)
        return (a->count > b->count) - (a->count < b->count);
    return a->ids[n] < b->ids[n] ? -1 : 1;
}

void strata__branches_sort(struct strata__branch *branches, size_t count)
{
    qsort(branches, count, sizeof *branches, compare);
}

static void add_token(struct strata__tree *tree, int32_t id, size_t place)
{
    tree->ids[tree->count] = id;
    tree->place[tree->count++] = (uint32_t)place;
}

/* Adds what the branch does not share with the one before, `alike` tokens being in both and `kept`
 * of these in the tree. */
static void add_branch(struct strata__score_tree *t, const struct strata__branch *branch,
                       size_t alike, size_t kept)
{
    struct strata__tree *tree = &t->tree;
    for (size_t d = 0; d < branch->count; d++) {
        if (d >= alike) {
            t->picked[d] = (uint32_t)t->n_picks;
            t->at[t->n_picks] = t->path[d];
            t->ids[t->n_picks++] = branch->ids[d];
        }
        t->pick[branch->at + d] = t->picked[d];
        if (d >= kept && d + 1 < branch->count) {
            t->path[d + 1] = (uint32_t)tree->count;
            add_token(tree, branch->ids[d], tree->from + d);
        }
    }
}

/* The path to a branch ends at depth `kept` from now on: nobody further on sees what was deeper. */
static void leave_path(struct strata__score_tree *t, size_t depth, size_t kept)
{
    for (size_t d = kept + 1; d <= depth; d++)
        t->tree.until[t->path[d]] = (uint32_t)(t->tree.from + t->tree.count);
}

/* Puts the picks from number `begin` on in the order of the tokens after which they are asked for;
 * `at` of each becomes its place then. */
static void order_picks(struct strata__score_tree *t, size_t begin)
{
    uint32_t *first = t->tree.first;
    size_t rows = t->tree.count;
    memset(first, 0, (rows + 1) * sizeof *first);
    for (size_t i = begin; i < t->n_picks; i++)
        first[t->at[i]]++;
    uint32_t end = (uint32_t)begin;
    for (size_t row = 0; row <= rows; row++) { /* ends of the rows, until their picks come down */
        end += row < rows ? first[row] : 0;
        first[row] = end;
    }
    for (size_t i = t->n_picks; i-- > begin;) {
        uint32_t place = --first[t->at[i]];
        t->tree.next[place] = t->ids[i];
        t->at[i] = place;
    }
}

size_t strata__score_tree_plant(struct strata__score_tree *t, const struct strata__branch *branches,
                                size_t count, size_t position, int32_t last)
{
    struct strata__tree *tree = &t->tree;
    size_t planted = 0, depth = 0, begin = t->n_picks;
    tree->from = position;
    tree->count = 0;
    t->path[0] = 0;
    add_token(tree, last, position - 1);
    for (; planted < count; planted++) {
        const struct strata__branch *branch = &branches[planted];
        size_t alike = planted ? shared(branch - 1, branch) : 0;
        size_t kept = depth < alike ? depth : alike, deep = branch->count ? branch->count - 1 : 0;
        if (tree->count + deep - kept > t->rows)
            break;
        leave_path(t, depth, kept);
        add_branch(t, branch, alike, kept);
        depth = deep;
    }
    leave_path(t, depth, 0);
    tree->until[0] = (uint32_t)position;
    order_picks(t, begin);
    for (size_t i = 0; i < planted; i++)
        for (size_t d = 0; d < branches[i].count; d++)
            t->pick[branches[i].at + d] = t->at[t->pick[branches[i].at + d]];
    return planted;
}

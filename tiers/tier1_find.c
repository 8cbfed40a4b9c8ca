/* What speaks for candidates of tier 1 (tier1_candidates.h). */
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "tier1_candidates.h"

#define FEW_FACTS 3000                   /* of a predicate: its subjects are looked at one by one */
#define SPELLINGS STRATA__SPELLINGS_MOST /* labels that are compared in full, */
#define SPELLINGS_KEPT 100               /* and of them those whose bearers become candidates */
#define WORDS_TOGETHER 6                 /* of a mention that may name something, */
#define WORDS_MOST 16                    /* and of all its words */
#define DESCRIPTION_WORDS 32             /* in which names are looked for, */
#define NAME_WORDS 4                     /* of so many words */
#define FACTS_MOST 256                   /* of an entity, among which its description is */
#define NAMED_MOST 64                    /* entities that they name */

/* A part of a text. */
struct piece {
    const char *start, *end;
};

/* ---- Codes ---- */

/* Literals that are the mention, in its case, and no labels. */
strata_status strata__find_codes(struct strata__link *l)
{
    strata__id literals[64];
    size_t n;
    const size_t size = strlen(l->mention);
    l->value.size = 0;
    STRATA_TRY(strata__bytes_append(&l->value, "s", 1));
    STRATA_TRY(strata__fold_name(l->mention, size, &l->value));
    STRATA_TRY(strata__store_literals(l->txn, &l->value, literals, 64, &n));
    for (size_t i = 0; i < n; i++) {
        struct strata__row rows[STRATA__BEARERS_MOST], row;
        struct strata__term term;
        size_t n_rows = 0;
        bool found;
        STRATA_TRY(strata__link_text(l, literals[i], &term));
        if (term.size != size || memcmp(term.text, l->mention, size) != 0)
            continue;
        STRATA_TRY(strata__store_seek(l->txn, STRATA__OSP, (struct strata__row){.a = literals[i]},
                                      &row, &found));
        while (found && n_rows < STRATA__BEARERS_MOST) {
            if (strata__name_rank(l->names, row.c) == STRATA__NAME_PREDICATES)
                rows[n_rows++] = row;
            STRATA_TRY(strata__store_next(l->txn, STRATA__OSP, &row, &found));
        }
        for (size_t k = 0; k < n_rows; k++) {
            size_t same = 0;
            for (size_t j = 0; j < n_rows; j++)
                same += rows[j].c == rows[k].c;
            STRATA_TRY(strata__link_note(l, rows[k].b, STRATA__CODE, 1.0 / (double)same));
        }
    }
    return STRATA_OK;
}

/* ---- Spelling ---- */

/* A label that may be spelled like the mention. */
struct spelled {
    strata__id label;
    double alike;
};

static int more_alike(const void *a, const void *b)
{
    const struct spelled *x = a, *y = b;
    if (x->alike != y->alike)
        return x->alike > y->alike ? -1 : 1;
    return x->label < y->label ? -1 : x->label > y->label;
}

static strata_status note_spelling(struct strata__link *l, strata__id entity, strata__id label)
{
    struct strata__term term;
    struct strata__spelling name;
    STRATA_TRY(strata__link_text(l, label, &term));
    strata__spelling_of(term.text, term.size, &name);
    STRATA_TRY(
        strata__link_note(l, entity, STRATA__SPELLED, strata__spelling_alike(&l->spelling, &name)));
    return strata__link_note(l, entity, STRATA__WORDS,
                             strata__spelling_words_alike(&l->spelling, &name));
}

static strata_status note_bearer(struct strata__link *l, strata__id entity, void *user)
{
    const strata__id *label = user;
    return note_spelling(l, entity, *label);
}

/* Counts of the mention's pieces in labels, by the labels' ids. */
static strata_status count_grams(struct strata__link *l, uint8_t *counts, strata__id most)
{
    uint32_t grams[STRATA__GRAMS_MOST];
    const size_t n = strata__spelling_grams(&l->spelling, grams);
    for (size_t i = 0; i < n; i++) {
        struct strata__row row;
        bool found;
        STRATA_TRY(strata__store_seek(l->txn, STRATA__GRAMS, (struct strata__row){.b = grams[i]},
                                      &row, &found));
        while (found && row.b == grams[i]) {
            if (row.c < most && counts[row.c] < UINT8_MAX)
                counts[row.c]++;
            STRATA_TRY(strata__store_next(l->txn, STRATA__GRAMS, &row, &found));
        }
    }
    return STRATA_OK;
}

/* The SPELLINGS labels of most pieces in common, by Dice's measure of the length of the label. */
static strata_status best_spelled(struct strata__link *l, strata__id *labels, size_t *n)
{
    uint64_t next = 0;
    size_t histogram[UINT8_MAX + 1] = {0}, least = 2, sum = 0;
    uint8_t *counts;
    uint32_t grams[STRATA__GRAMS_MOST];
    const size_t n_grams = strata__spelling_grams(&l->spelling, grams);
    strata_status status;
    *n = 0;
    STRATA_TRY(strata__meta_get(l->txn, "next id", &next));
    STRATA_TRY(strata__calloc(&counts, (size_t)next, 1, "counts of pieces"));
    STRATA_TRY_DONE(count_grams(l, counts, (strata__id)next));
    for (uint64_t id = 1; id < next; id++)
        histogram[counts[id]]++;
    for (size_t c = UINT8_MAX; c >= 2 && (!sum || sum + histogram[c] <= 8 * SPELLINGS); c--) {
        sum += histogram[c];
        least = c;
    }
    if (sum > 8 * SPELLINGS) /* so many have as many pieces: the first of them */
        sum = 8 * SPELLINGS;
    struct spelled *all;
    STRATA_TRY_DONE(strata__calloc(&all, sum, sizeof *all, "labels"));
    size_t found = 0;
    for (uint64_t id = 1; id < next && found < sum && status == STRATA_OK; id++) {
        struct strata__term term;
        if (counts[id] < least)
            continue;
        status = strata__link_text(l, (strata__id)id, &term);
        /* A name of n ASCII characters has about 2n + 1 pieces; marks make it look longer. */
        all[found++] = (struct spelled){
            (strata__id)id,
            status ? 0 : 2.0 * counts[id] / ((double)n_grams + 2.0 * (double)term.size + 1)};
    }
    if (status == STRATA_OK && found)
        qsort(all, found, sizeof *all, more_alike);
    *n = found < SPELLINGS ? found : SPELLINGS;
    for (size_t i = 0; i < *n; i++)
        labels[i] = all[i].label;
    strata__free(all);
done:
    strata__free(counts);
    return status;
}

strata_status strata__find_spelled(struct strata__link *l)
{
    struct strata__mention *known = &l->known;
    if (!known->spelled) {
        STRATA_TRY(best_spelled(l, known->spelled_labels, &known->n_spelled));
        known->spelled = l->learned = true;
    }
    for (size_t i = 0; i < known->n_spelled; i++) {
        const size_t before = l->n;
        strata__id label = known->spelled_labels[i];
        STRATA_TRY(strata__link_each_bearer(l, label, note_bearer, &label));
        if (before >= SPELLINGS_KEPT || (i % 64 == 63 && strata__link_late(l)))
            break;
    }
    return STRATA_OK;
}

/* ---- Predicates with few facts ---- */

/* Compares spelling and meaning with all labels of an entity; query NULL: no meaning. */
static strata_status compare_labels(struct strata__link *l, strata__id entity, const float *query,
                                    float *vector)
{
    strata__id labels[32];
    size_t n;
    STRATA_TRY(strata__link_labels(l, entity, labels, &n));
    for (size_t i = 0; i < n; i++) {
        STRATA_TRY(note_spelling(l, entity, labels[i]));
        if (query && strata_index_vector(l->linker->vectors.labels, labels[i], vector) == STRATA_OK)
            STRATA_TRY(strata__link_note(l, entity, STRATA__MEANING,
                                         strata__cosine(query, vector, l->linker->width)));
    }
    return STRATA_OK;
}

/* True when the predicates have few facts. */
strata_status strata__have_few(struct strata__link *l, bool *few)
{
    uint64_t facts = 0, n;
    for (size_t i = 0; i < l->predicates->n; i++) {
        STRATA_TRY(
            strata__store_count(l->txn, STRATA__POS, l->predicates->ids[i], FEW_FACTS + 1, &n));
        facts += n;
    }
    *few = facts <= FEW_FACTS;
    return STRATA_OK;
}

strata_status strata__compare_subjects(struct strata__link *l, const float *query)
{
    float *vector = NULL;
    strata_status status = STRATA_OK;
    struct strata__bytes subjects = {0};
    if (query)
        STRATA_TRY(strata__calloc(&vector, l->linker->width, sizeof *vector, "a vector"));
    for (size_t i = 0; i < l->predicates->n; i++) {
        struct strata__row row;
        bool found;
        STRATA_TRY_DONE(strata__store_seek(
            l->txn, STRATA__POS, (struct strata__row){.a = l->predicates->ids[i]}, &row, &found));
        while (found) {
            STRATA_TRY_DONE(strata__bytes_append(&subjects, &row.c, sizeof row.c));
            STRATA_TRY_DONE(strata__store_next(l->txn, STRATA__POS, &row, &found));
        }
    }
    const strata__id *ids = (const strata__id *)(const void *)subjects.data;
    for (size_t i = 0; i < subjects.size / sizeof *ids; i++) {
        if (i % 32 == 31 && strata__link_late(l))
            break;
        const struct strata__candidate *known = strata__link_candidate(l, ids[i]);
        if (known && known->evidence[STRATA__SPELLED] > 0)
            continue; /* it has several facts */
        STRATA_TRY_DONE(compare_labels(l, ids[i], query, vector));
    }
done:
    strata__bytes_free(&subjects);
    strata__free(vector);
    return status;
}

/* ---- What some words name ---- */

/* Where the words of a text begin and end; at most `most`. */
static size_t words_of(const char *text, size_t size, size_t most, struct piece *words)
{
    static const char separators[] = " ,;()";
    size_t n = 0;
    for (size_t i = 0; i < size && n < most;) {
        while (i < size && memchr(separators, text[i], sizeof separators - 1))
            i++;
        const size_t start = i;
        while (i < size && !memchr(separators, text[i], sizeof separators - 1))
            i++;
        if (i > start)
            words[n++] = (struct piece){text + start, text + i};
    }
    return n;
}

/* An entity that the whole mention names: those that its description mentions. */
static strata_status note_mentioned(struct strata__link *l, strata__id entity)
{
    struct piece words[DESCRIPTION_WORDS];
    struct strata__strength strength = {STRATA__MENTIONED, 1, entity};
    struct strata__row row;
    struct strata__term term;
    bool found;
    size_t size = 0;
    strata__id description = 0;
    STRATA_TRY(
        strata__store_seek(l->txn, STRATA__SPO, (struct strata__row){.a = entity}, &row, &found));
    for (size_t n = 0; found && n < FACTS_MOST; n++) {
        STRATA_TRY(strata__link_text(l, row.c, &term));
        if (strata__describes(l->names, &row, &term) && term.size > size) {
            size = term.size;
            description = row.c;
        }
        STRATA_TRY(strata__store_next(l->txn, STRATA__SPO, &row, &found));
    }
    if (!description)
        return STRATA_OK;
    STRATA_TRY(strata__link_text(l, description, &term));
    const size_t n = words_of(term.text, term.size, DESCRIPTION_WORDS, words);
    for (size_t i = 0; i < n; i++)
        for (size_t k = i; k < n && k < i + NAME_WORDS; k++)
            STRATA_TRY(strata__link_each_of_name(l, words[i].start,
                                                 (size_t)(words[k].end - words[i].start),
                                                 strata__link_note_it, &strength));
    return STRATA_OK;
}

struct naming {
    struct strata__strength strength;
    size_t named; /* entities so far */
    bool whole;   /* by the whole mention */
};

static strata_status note_named(struct strata__link *l, strata__id entity, void *user)
{
    struct naming *naming = user;
    if (naming->named++ >= NAMED_MOST)
        return STRATA_OK;
    if (naming->whole)
        STRATA_TRY(note_mentioned(l, entity));
    return strata__link_namesakes(l, entity, naming->strength);
}

/* A word of two to six letters may be initials. */
static strata_status find_initials(struct strata__link *l)
{
    struct naming naming = {.strength = {STRATA__ABBREVIATED, 1, 0}};
    for (size_t i = 0; i < l->spelling.n; i++)
        if (l->spelling.characters[i] == ' ')
            return STRATA_OK;
    return l->spelling.n >= 2 && l->spelling.n <= 6
               ? strata__link_each_of_initials(l, &l->spelling, note_named, &naming)
               : STRATA_OK;
}

strata_status strata__find_namesakes(struct strata__link *l)
{
    struct piece words[WORDS_MOST];
    const size_t n = words_of(l->mention, strlen(l->mention), WORDS_MOST, words);
    struct naming naming = {.strength = {STRATA__NAMESAKE, 0, 0}};
    const double all = n ? (double)(words[n - 1].end - words[0].start) : 1;
    STRATA_TRY(find_initials(l));
    for (size_t length = n < WORDS_TOGETHER ? n : WORDS_TOGETHER; length > 0; length--)
        for (size_t i = 0; i + length <= n; i++) {
            const size_t size = (size_t)(words[i + length - 1].end - words[i].start);
            naming.strength.strength = (double)size / all;
            naming.whole = length == n;
            STRATA_TRY(strata__link_each_of_name(l, words[i].start, size, note_named, &naming));
        }
    return STRATA_OK;
}

/* ---- Descriptions ---- */

strata_status strata__find_described(struct strata__link *l)
{
    struct strata__mention *known = &l->known;
    const uint64_t *ids = known->described_ids;
    const float *scores = known->described_scores;
    for (size_t i = 0; i < known->n_described; i++) {
        const strata__id subject = (strata__id)(ids[i] >> 32);
        if (ids[i] == STRATA__VECTORS_PROBE || scores[i] <= 0)
            continue;
        if (i % 16 == 15 && strata__link_late(l))
            break;
        STRATA_TRY(strata__link_note(l, subject, STRATA__DESCRIBED, scores[i]));
        STRATA_TRY(strata__link_namesakes(
            l, subject, (struct strata__strength){STRATA__NAMESAKE_DESCRIBED, scores[i], subject}));
    }
    return STRATA_OK;
}

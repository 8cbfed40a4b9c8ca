/* Linking mentions to entities (tier1_link.h). */
#include "tier1_link.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "memory.h"
#include "spelling.h"
#include "tier1_weights.h"

#define FEW_FACTS 3000     /* of a predicate: its subjects are looked at one by one */
#define SPELLINGS 600      /* labels that are compared in full, */
#define SPELLINGS_KEPT 100 /* and of them those whose bearers become candidates */
#define DESCRIPTIONS 300   /* nearest ones */
#define WORDS_TOGETHER 6   /* of a mention that may name something, */
#define WORDS_MOST 16      /* and of all its words */
#define NAMED_MOST 64      /* entities that they name */
#define BEARERS_MOST 64    /* of one label */
#define ROWS_FOR_KINDS 256 /* facts of a predicate whose subjects' kinds are looked at */

const char *const strata__evidence_names[STRATA__EVIDENCE] = {
    "code", "spelling", "words", "namesake", "description", "namesake's description", "meaning",
};

struct link {
    struct strata__txn *txn;
    struct strata__linker *linker; /* or NULL */
    const char *mention;
    const struct strata__choices *predicates;
    double deadline;
    bool whole;
    strata__id names[STRATA__NAME_PREDICATES];
    struct strata__spelling spelling;
    struct strata__candidate *items;
    size_t n, capacity;
    uint32_t *slots; /* index + 1, by id */
    size_t n_slots;
    struct strata__bytes scratch, value;
};

static bool late(struct link *l)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if ((double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6 <= l->deadline)
        return false;
    l->whole = false;
    return true;
}

/* ---- Candidates ---- */

static size_t slot_of(const struct link *l, strata__id id)
{
    size_t at = (id * 0x9e3779b1u) & (l->n_slots - 1);
    while (l->slots[at] && l->items[l->slots[at] - 1].id != id)
        at = (at + 1) & (l->n_slots - 1);
    return at;
}

static strata_status grow(struct link *l)
{
    const size_t n = l->n_slots ? l->n_slots * 2 : 1024;
    uint32_t *slots;
    STRATA_TRY(strata__calloc(&slots, n, sizeof *slots, "candidates"));
    strata__free(l->slots);
    l->slots = slots;
    l->n_slots = n;
    STRATA_TRY(strata__resize(&l->items, n / 2, sizeof *l->items, "candidates"));
    l->capacity = n / 2;
    for (size_t i = 0; i < l->n; i++)
        l->slots[slot_of(l, l->items[i].id)] = (uint32_t)i + 1;
    return STRATA_OK;
}

static strata_status has_fact(struct link *l, strata__id entity, bool *has)
{
    *has = false;
    for (size_t i = 0; i < l->predicates->n && !*has; i++) {
        struct strata__row row;
        const strata__id p = l->predicates->ids[i];
        STRATA_TRY(
            strata__store_seek(l->txn, STRATA__SPO, (struct strata__row){entity, p, 0}, &row, has));
        *has = *has && row.b == p;
    }
    return STRATA_OK;
}

/* Notes evidence for an entity, if it has a fact with the predicate. */
static strata_status note(struct link *l, strata__id entity, enum strata__evidence kind,
                          double strength)
{
    bool has;
    if (l->n >= l->capacity)
        STRATA_TRY(grow(l));
    const size_t at = slot_of(l, entity);
    if (!l->slots[at]) {
        STRATA_TRY(has_fact(l, entity, &has));
        if (!has)
            return STRATA_OK;
        l->items[l->n++] = (struct strata__candidate){.id = entity};
        l->slots[at] = (uint32_t)l->n;
    }
    float *evidence = &l->items[l->slots[at] - 1].evidence[kind];
    *evidence = fmaxf(*evidence, (float)strength);
    return STRATA_OK;
}

/* ---- Walking along names ---- */

typedef strata_status entity_fn(struct link *l, strata__id entity, void *user);

static bool is_name(const struct link *l, strata__id predicate)
{
    bool is = false;
    for (size_t i = 0; i < STRATA__NAME_PREDICATES; i++)
        is |= predicate == l->names[i];
    return is;
}

/* Calls for up to BEARERS_MOST entities that have a literal as a label. */
static strata_status each_bearer(struct link *l, strata__id literal, entity_fn *call, void *user)
{
    strata__id bearers[BEARERS_MOST];
    size_t n = 0;
    struct strata__row row;
    bool found;
    STRATA_TRY(
        strata__store_seek(l->txn, STRATA__OSP, (struct strata__row){.a = literal}, &row, &found));
    while (found && n < BEARERS_MOST) {
        if (is_name(l, row.c))
            bearers[n++] = row.b;
        STRATA_TRY(strata__store_next(l->txn, STRATA__OSP, &row, &found));
    }
    for (size_t i = 0; i < n; i++)
        STRATA_TRY(call(l, bearers[i], user));
    return STRATA_OK;
}

/* The same for all labels that are the same name. */
static strata_status each_of_name(struct link *l, const char *text, size_t size, entity_fn *call,
                                  void *user)
{
    strata__id literals[16];
    size_t n = 0;
    l->value.size = 0;
    STRATA_TRY(strata__bytes_append(&l->value, "s", 1));
    STRATA_TRY(strata__fold_name(text, size, &l->value));
    STRATA_TRY(strata__store_literals(l->txn, &l->value, literals, 16, &n));
    for (size_t i = 0; i < n; i++)
        STRATA_TRY(each_bearer(l, literals[i], call, user));
    return STRATA_OK;
}

/* Labels of an entity, at most 32. */
static strata_status labels_of(struct link *l, strata__id entity, strata__id labels[32], size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < STRATA__NAME_PREDICATES; i++) {
        struct strata__row row;
        bool found = false;
        if (l->names[i])
            STRATA_TRY(strata__store_seek(
                l->txn, STRATA__SPO, (struct strata__row){entity, l->names[i], 0}, &row, &found));
        while (found && row.b == l->names[i] && *n < 32) {
            labels[(*n)++] = row.c;
            STRATA_TRY(strata__store_next(l->txn, STRATA__SPO, &row, &found));
        }
    }
    return STRATA_OK;
}

static strata_status text_of(struct link *l, strata__id id, struct strata__term *term)
{
    MDB_val bytes;
    STRATA_TRY(strata__store_term(l->txn, id, &bytes));
    if (!strata__term_decode(bytes.mv_data, bytes.mv_size, term))
        return strata__store_fail(l->txn->facts, MDB_CORRUPTED, "reading a label");
    return STRATA_OK;
}

struct strength {
    enum strata__evidence kind;
    double strength;
    strata__id self; /* whose namesakes they are; 0: it counts as one */
};

static strata_status note_it(struct link *l, strata__id entity, void *user)
{
    const struct strength *s = user;
    if (entity == s->self)
        return STRATA_OK;
    return note(l, entity, s->kind, s->strength);
}

/* Notes evidence for all that share a label with an entity. */
static strata_status note_namesakes(struct link *l, strata__id entity, struct strength strength)
{
    strata__id labels[32];
    size_t n;
    STRATA_TRY(labels_of(l, entity, labels, &n));
    for (size_t i = 0; i < n; i++) {
        struct strata__term label;
        STRATA_TRY(text_of(l, labels[i], &label));
        STRATA_TRY(each_of_name(l, label.text, label.size, note_it, &strength));
    }
    return STRATA_OK;
}

/* ---- Codes ---- */

/* Literals that are the mention, in its case, and no labels. */
static strata_status find_codes(struct link *l)
{
    strata__id literals[64];
    size_t n;
    const size_t size = strlen(l->mention);
    l->value.size = 0;
    STRATA_TRY(strata__bytes_append(&l->value, "s", 1));
    STRATA_TRY(strata__fold_name(l->mention, size, &l->value));
    STRATA_TRY(strata__store_literals(l->txn, &l->value, literals, 64, &n));
    for (size_t i = 0; i < n; i++) {
        struct strata__row rows[BEARERS_MOST], row;
        struct strata__term term;
        size_t n_rows = 0;
        bool found;
        STRATA_TRY(text_of(l, literals[i], &term));
        if (term.size != size || memcmp(term.text, l->mention, size) != 0)
            continue;
        STRATA_TRY(strata__store_seek(l->txn, STRATA__OSP, (struct strata__row){.a = literals[i]},
                                      &row, &found));
        while (found && n_rows < BEARERS_MOST) {
            if (!is_name(l, row.c))
                rows[n_rows++] = row;
            STRATA_TRY(strata__store_next(l->txn, STRATA__OSP, &row, &found));
        }
        for (size_t k = 0; k < n_rows; k++) {
            size_t same = 0;
            for (size_t j = 0; j < n_rows; j++)
                same += rows[j].c == rows[k].c;
            STRATA_TRY(note(l, rows[k].b, STRATA__CODE, 1.0 / (double)same));
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

static strata_status note_spelling(struct link *l, strata__id entity, strata__id label)
{
    struct strata__term term;
    struct strata__spelling name;
    STRATA_TRY(text_of(l, label, &term));
    strata__spelling_of(term.text, term.size, &name);
    STRATA_TRY(note(l, entity, STRATA__SPELLED, strata__spelling_alike(&l->spelling, &name)));
    return note(l, entity, STRATA__WORDS, strata__spelling_words_alike(&l->spelling, &name));
}

struct bearer {
    strata__id label;
};

static strata_status note_bearer(struct link *l, strata__id entity, void *user)
{
    const struct bearer *bearer = user;
    return note_spelling(l, entity, bearer->label);
}

/* Counts of the mention's pieces in labels, by the labels' ids. */
static strata_status count_grams(struct link *l, uint8_t *counts, strata__id most)
{
    uint32_t grams[STRATA__GRAMS_MOST];
    const size_t n = strata__spelling_grams(&l->spelling, grams);
    MDB_cursor *cursor = l->txn->cursors[STRATA__GRAMS];
    for (size_t i = 0; i < n; i++) {
        MDB_val key = {sizeof grams[i], &grams[i]}, data;
        int error = mdb_cursor_get(cursor, &key, &data, MDB_SET_KEY);
        if (error == 0)
            error = mdb_cursor_get(cursor, &key, &data, MDB_GET_MULTIPLE);
        for (; error == 0; error = mdb_cursor_get(cursor, &key, &data, MDB_NEXT_MULTIPLE))
            for (size_t k = 0; k + sizeof(strata__id) <= data.mv_size; k += sizeof(strata__id)) {
                strata__id id;
                memcpy(&id, (const char *)data.mv_data + k, sizeof id);
                if (id < most && counts[id] < UINT8_MAX)
                    counts[id]++;
            }
        if (error != MDB_NOTFOUND)
            return strata__store_fail(l->txn->facts, error, "reading pieces of names");
    }
    return STRATA_OK;
}

/* The SPELLINGS labels of most pieces in common, by Dice's measure of the length of the label. */
static strata_status best_spelled(struct link *l, struct spelled *out, size_t *n)
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
    for (strata__id id = 1; id < next; id++)
        histogram[counts[id]]++;
    for (size_t c = UINT8_MAX; c >= 2 && sum + histogram[c] <= 8 * SPELLINGS; c--) {
        sum += histogram[c];
        least = c;
    }
    struct spelled *all;
    STRATA_TRY_DONE(strata__calloc(&all, sum, sizeof *all, "labels"));
    size_t found = 0;
    for (strata__id id = 1; id < next && found < sum && status == STRATA_OK; id++) {
        struct strata__term term;
        if (counts[id] < least)
            continue;
        status = text_of(l, id, &term);
        /* A name of n ASCII characters has about 2n + 1 pieces; marks make it look longer. */
        all[found++] = (struct spelled){
            id, status ? 0 : 2.0 * counts[id] / ((double)n_grams + 2.0 * (double)term.size + 1)};
    }
    if (status == STRATA_OK && found)
        qsort(all, found, sizeof *all, more_alike);
    *n = found < SPELLINGS ? found : SPELLINGS;
    memcpy(out, all, *n * sizeof *out);
    strata__free(all);
done:
    strata__free(counts);
    return status;
}

static strata_status find_spelled(struct link *l)
{
    struct spelled labels[SPELLINGS];
    size_t n;
    STRATA_TRY(best_spelled(l, labels, &n));
    for (size_t i = 0; i < n; i++) {
        const size_t before = l->n;
        struct bearer bearer = {labels[i].label};
        STRATA_TRY(each_bearer(l, labels[i].label, note_bearer, &bearer));
        if (before >= SPELLINGS_KEPT || (i % 64 == 63 && late(l)))
            break;
    }
    return STRATA_OK;
}

/* ---- Predicates with few facts ---- */

static float dot(const float *a, const float *b, size_t n)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Compares spelling and meaning with all labels of an entity; query NULL: no meaning. */
static strata_status compare_labels(struct link *l, strata__id entity, const float *query,
                                    float *vector)
{
    strata__id labels[32];
    size_t n;
    STRATA_TRY(labels_of(l, entity, labels, &n));
    for (size_t i = 0; i < n; i++) {
        STRATA_TRY(note_spelling(l, entity, labels[i]));
        if (query && strata_index_vector(l->linker->vectors.labels, labels[i], vector) == STRATA_OK)
            STRATA_TRY(note(l, entity, STRATA__MEANING, dot(query, vector, l->linker->width)));
    }
    return STRATA_OK;
}

/* True when the predicates have few facts. */
static strata_status have_few(struct link *l, bool *few)
{
    uint64_t facts = 0, n;
    for (size_t i = 0; i < l->predicates->n; i++) {
        STRATA_TRY(strata__store_count(l->txn, STRATA__POS, l->predicates->ids[i], &n));
        facts += n;
    }
    *few = facts <= FEW_FACTS;
    return STRATA_OK;
}

static strata_status compare_subjects(struct link *l, const float *query)
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
        if (i % 32 == 31 && late(l))
            break;
        if (l->n_slots && l->slots[slot_of(l, ids[i])] &&
            l->items[l->slots[slot_of(l, ids[i])] - 1].evidence[STRATA__SPELLED] > 0)
            continue; /* it has several facts */
        STRATA_TRY_DONE(compare_labels(l, ids[i], query, vector));
    }
done:
    strata__bytes_free(&subjects);
    strata__free(vector);
    return status;
}

/* ---- What some words name ---- */

struct naming {
    double share; /* of the mention's letters that the words have */
    size_t named; /* entities so far */
};

static strata_status note_named(struct link *l, strata__id entity, void *user)
{
    struct naming *naming = user;
    if (naming->named++ >= NAMED_MOST)
        return STRATA_OK;
    return note_namesakes(l, entity, (struct strength){STRATA__NAMESAKE, naming->share, 0});
}

static strata_status find_namesakes(struct link *l)
{
    const char *start[WORDS_MOST], *end[WORDS_MOST];
    size_t n = 0;
    for (const char *c = l->mention; *c && n < WORDS_MOST;) {
        c += strspn(c, " ,;()");
        const size_t size = strcspn(c, " ,;()");
        if (size) {
            start[n] = c;
            end[n++] = c + size;
        }
        c += size;
    }
    struct naming naming = {0};
    const double all = n ? (double)(end[n - 1] - start[0]) : 1;
    for (size_t length = n < WORDS_TOGETHER ? n : WORDS_TOGETHER; length > 0; length--)
        for (size_t i = 0; i + length <= n; i++) {
            const size_t size = (size_t)(end[i + length - 1] - start[i]);
            naming.share = (double)size / all;
            STRATA_TRY(each_of_name(l, start[i], size, note_named, &naming));
        }
    return STRATA_OK;
}

/* ---- Descriptions ---- */

static strata_status find_described(struct link *l, const float *query)
{
    uint64_t ids[DESCRIPTIONS];
    float scores[DESCRIPTIONS];
    size_t n;
    STRATA_TRY(strata_index_search(l->linker->vectors.descriptions, query, 1, DESCRIPTIONS, ids,
                                   scores, &n));
    for (size_t i = 0; i < n; i++) {
        const strata__id subject = (strata__id)(ids[i] >> 32);
        if (ids[i] == STRATA__VECTORS_PROBE || scores[i] <= 0)
            continue;
        if (i % 16 == 15 && late(l))
            break;
        STRATA_TRY(note(l, subject, STRATA__DESCRIBED, scores[i]));
        STRATA_TRY(note_namesakes(
            l, subject, (struct strength){STRATA__NAMESAKE_DESCRIBED, scores[i], subject}));
    }
    return STRATA_OK;
}

/* ---- The whole ---- */

/* True when an entity of the mention's name is of a kind (rdf:type) that has the predicates. */
static strata_status is_known(struct link *l, const struct strata__choices *exact, bool *known)
{
    static const char type_term[] = "I" STRATA__RDF "type";
    strata__id type;
    *known = false;
    STRATA_TRY(strata__store_id(l->txn, type_term, sizeof type_term - 1,
                                strata__store_hash(l->txn->facts, type_term, sizeof type_term - 1),
                                &type, NULL));
    for (size_t e = 0; e < exact->n && type && !*known; e++) {
        struct strata__row kind, row, other;
        bool found, more, same;
        STRATA_TRY(strata__store_seek(l->txn, STRATA__SPO,
                                      (struct strata__row){exact->ids[e], type, 0}, &kind, &found));
        if (!found || kind.b != type)
            continue;
        for (size_t i = 0; i < l->predicates->n && !*known; i++) {
            size_t rows = 0;
            STRATA_TRY(strata__store_seek(l->txn, STRATA__POS,
                                          (struct strata__row){.a = l->predicates->ids[i]}, &row,
                                          &more));
            for (; more && rows < ROWS_FOR_KINDS && !*known; rows++) {
                STRATA_TRY(strata__store_seek(
                    l->txn, STRATA__SPO, (struct strata__row){row.c, type, kind.c}, &other, &same));
                *known = same && other.b == type && other.c == kind.c;
                STRATA_TRY(strata__store_next(l->txn, STRATA__POS, &row, &more));
            }
        }
    }
    return STRATA_OK;
}

static void score(struct strata__candidate *c)
{
    double sum = strata__tier1_bias;
    for (int i = 0; i < STRATA__EVIDENCE; i++)
        sum += strata__tier1_weights[i] * (double)c->evidence[i];
    for (size_t i = 0; i < sizeof strata__tier1_kinks / sizeof *strata__tier1_kinks; i++)
        sum += strata__tier1_kinks[i].weight *
               fmax(0, (double)c->evidence[strata__tier1_kinks[i].evidence] -
                           strata__tier1_kinks[i].from);
    c->score = 1 / (1 + exp(-sum));
}

static int better(const void *a, const void *b)
{
    const struct strata__candidate *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static strata_status link_all(struct link *l, const struct strata__choices *exact)
{
    float *query = NULL;
    bool known, few;
    strata_status status;
    STRATA_TRY(strata__store_names(l->txn, l->names));
    STRATA_TRY(is_known(l, exact, &known));
    if (known)
        return STRATA_OK;
    strata__spelling_of(l->mention, strlen(l->mention), &l->spelling);
    STRATA_TRY_DONE(find_codes(l));
    if (l->linker && !late(l)) {
        const strata_text text = {l->mention, strlen(l->mention)};
        STRATA_TRY_DONE(strata__calloc(&query, l->linker->width, sizeof *query, "a vector"));
        STRATA_TRY_DONE(strata_embed(l->linker->model, &text, 1, NULL, query, NULL));
    }
    STRATA_TRY_DONE(have_few(l, &few));
    if (few)
        STRATA_TRY_DONE(compare_subjects(l, query));
    else if (!late(l))
        STRATA_TRY_DONE(find_spelled(l));
    if (!late(l))
        STRATA_TRY_DONE(find_namesakes(l));
    if (query && !late(l))
        STRATA_TRY_DONE(find_described(l, query));
done:
    strata__free(query);
    return status;
}

strata_status strata__tier1_link(struct strata__txn *txn, const char *mention,
                                 const struct strata__choices *exact,
                                 const struct strata__choices *predicates, double deadline,
                                 struct strata__candidate **out, size_t *n, bool *whole)
{
    struct link l = {.txn = txn,
                     .linker = txn->facts->linker,
                     .mention = mention,
                     .predicates = predicates,
                     .deadline = deadline,
                     .whole = true};
    strata_status status = link_all(&l, exact);
    for (size_t i = 0; i < l.n; i++)
        score(&l.items[i]);
    if (l.n)
        qsort(l.items, l.n, sizeof *l.items, better);
    strata__free(l.slots);
    strata__bytes_free(&l.scratch);
    strata__bytes_free(&l.value);
    if (status != STRATA_OK) {
        strata__free(l.items);
        l.items = NULL;
        l.n = 0;
    }
    *out = l.items;
    *n = l.n;
    *whole = l.whole;
    return status;
}

const char *strata__candidate_why(const struct strata__candidate *candidate)
{
    int best = 0;
    double most = -1;
    for (int i = 0; i < STRATA__EVIDENCE; i++) {
        const double weight = strata__tier1_weights[i] * (double)candidate->evidence[i];
        if (weight > most) {
            most = weight;
            best = i;
        }
    }
    return strata__evidence_names[best];
}

/* ---- The linker ---- */

void strata__linker_close(struct strata__linker **handle)
{
    struct strata__linker *linker = *handle;
    if (!linker)
        return;
    strata__vectors_close(&linker->vectors);
    strata__free(linker);
    *handle = NULL;
}

strata_status strata_facts_use_model(strata_facts *facts, strata_model *model)
{
    struct strata__linker *linker;
    bool found;
    if (facts->linker)
        return strata__fail(STRATA_E_BUSY, "%s: a model is in use", facts->shown);
    struct strata__scope before = strata__scope_set(facts->scope);
    strata_status status = strata__calloc(&linker, 1, sizeof *linker, "a linker");
    if (status == STRATA_OK)
        status = strata__vectors_open(facts, model, &linker->vectors, &found);
    if (status == STRATA_OK && !found)
        status = strata__fail(STRATA_E_INVALID,
                              "%s: it has no vectors: make them with strata facts "
                              "index",
                              facts->shown);
    if (status == STRATA_OK) {
        linker->model = model;
        linker->width = strata_model_info_get(model).embedding_length;
        facts->linker = linker;
    } else {
        strata__linker_close(&linker);
    }
    strata__scope_set(before);
    return status;
}

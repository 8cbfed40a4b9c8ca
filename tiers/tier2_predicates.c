/* The predicates of a store, and how near a phrase is to each (tier2_expand.h). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "budgets.h"
#include "deadline.h"
#include "memory.h"
#include "model.h"
#include "predicate_texts.h"
#include "spelling.h"
#include "tier2_expand.h"
#include "tier2_weights.h"

#define COMPONENT "tier2_expander/embedding_cache(predicates)"
#define PREDICATES_MOST 16384 /* of a graph, the first ones, that are looked at */
#define WORDS_MOST 256        /* of a phrase, or of all texts of a predicate */
#define STEM 5                /* characters of a word that count: endings differ */

const char *const strata__phrase_evidence_names[STRATA__PHRASE_EVIDENCE] = {
    "meaning", "another's meaning", "words", "reversed", "unsaid",
};

/* A predicate, and where its words end. */
struct predicate {
    strata__id id, inverse; /* 0: none is declared */
    size_t words_end;
};

/* A word of the graph's predicates, and how many have it. */
struct word {
    uint32_t stem, count;
};

struct strata__predicates {
    pthread_mutex_t lock;
    struct strata__scope scope;
    bool made;
    size_t state; /* of LMDB: the transaction that was the last one */
    struct strata__bytes predicates, vectors, words, counts; /* struct predicate; float[width];
                                                              * uint32_t, sorted; struct word */
    struct strata__predicate_texts texts;                    /* of one at a time */
};

strata_status strata__predicates_open(struct strata__predicates **out)
{
    STRATA_TRY(strata__calloc(out, 1, sizeof **out, "predicates"));
    if (pthread_mutex_init(&(*out)->lock, NULL) == 0)
        return STRATA_OK;
    strata__free(*out);
    *out = NULL;
    return strata__fail(STRATA_E_NOMEM, "no memory for a lock");
}

void strata__predicates_close(struct strata__predicates **handle)
{
    struct strata__predicates *p = *handle;
    if (!p)
        return;
    pthread_mutex_destroy(&p->lock);
    strata__bytes_free(&p->predicates);
    strata__bytes_free(&p->vectors);
    strata__bytes_free(&p->words);
    strata__bytes_free(&p->counts);
    strata__bytes_free(&p->texts.bytes);
    strata__free(p);
    *handle = NULL;
}

strata_status strata__predicates_charge(struct strata__predicates *predicates,
                                        const strata_model *model)
{
    predicates->scope = (struct strata__scope){.model = model->name};
    return strata__budget_account(model->runtime->ledger, COMPONENT, &predicates->scope.account);
}

/* ---- Words ---- */

static int compare_stems(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* The stems of the words of a text, each once, sorted; returns how many. */
static size_t stems_of(const char *text, size_t size, uint32_t stems[WORDS_MOST])
{
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < size && n < WORDS_MOST;) {
        struct strata__spelling part;
        size_t end = i;
        while (end < size && text[end] != ' ' && text[end] != '\0')
            end++;
        strata__spelling_of(text + i, end - i, &part);
        for (size_t k = 0; k < part.n && n < WORDS_MOST; k++) {
            uint32_t hash = 2166136261u;
            size_t length = 0;
            for (; k < part.n && part.characters[k] != ' '; k++)
                if (length++ < STEM)
                    hash = (hash ^ part.characters[k]) * 16777619u;
            if (length)
                stems[n++] = hash;
        }
        i = end + 1;
    }
    if (n)
        qsort(stems, n, sizeof *stems, compare_stems);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || stems[i] != stems[kept - 1])
            stems[kept++] = stems[i];
    return kept;
}

/* How much a word says: little when many predicates have it. */
static double rarity(const struct strata__predicates *p, uint32_t stem, size_t n)
{
    const size_t words = p->counts.size / sizeof(struct word);
    const struct word *found =
        words ? bsearch(&stem, p->counts.data, words, sizeof *found, compare_stems) : NULL;
    return log((double)(n + 1) / (double)((found ? found->count : 0) + 1));
}

/* ---- The predicates of a state ---- */

static strata_status inverse_id(struct strata__txn *txn, strata__id *id)
{
    static const char term[] = "I" STRATA__OWL "inverseOf";
    return strata__store_id(txn, term, sizeof term - 1,
                            strata__store_hash(txn->facts, term, sizeof term - 1), id);
}

/* The inverse of it that is declared, in either way; 0: there is none. */
static strata_status find_inverse(struct strata__txn *txn, strata__id id, strata__id *inverse)
{
    strata__id declares;
    struct strata__row row;
    bool found;
    *inverse = 0;
    STRATA_TRY(inverse_id(txn, &declares));
    if (!declares)
        return STRATA_OK;
    STRATA_TRY(
        strata__store_seek(txn, STRATA__SPO, (struct strata__row){id, declares, 0}, &row, &found));
    if (found && row.b == declares) {
        *inverse = row.c;
        return STRATA_OK;
    }
    STRATA_TRY(strata__store_seek(txn, STRATA__OSP, (struct strata__row){.a = id}, &row, &found));
    for (size_t i = 0; found && row.c != declares && i < STRATA__EXPANSIONS_MOST; i++)
        STRATA_TRY(strata__store_next(txn, STRATA__OSP, &row, &found));
    if (found && row.c == declares)
        *inverse = row.b;
    return STRATA_OK;
}

struct making {
    struct strata__predicates *p;
    strata_index *index;
    size_t width;
};

static strata_status make_one(struct strata__txn *txn, strata__id id, void *user, bool *stop)
{
    struct making *m = user;
    struct strata__predicates *p = m->p;
    struct predicate predicate = {.id = id};
    uint32_t stems[WORDS_MOST];
    const size_t size = m->width * sizeof(float);
    *stop = p->predicates.size / sizeof predicate >= PREDICATES_MOST;
    if (*stop)
        return STRATA_OK;
    STRATA_TRY(strata__predicate_texts_read(txn, id, &p->texts));
    if (p->texts.n == 0)
        return STRATA_OK;
    STRATA_TRY(strata__bytes_reserve(&p->vectors, size));
    if (strata_index_vector(m->index, strata__predicate_vector_id(id, &p->texts),
                            (float *)(void *)(p->vectors.data + p->vectors.size)) != STRATA_OK)
        return STRATA_OK; /* new since vectors were made */
    p->vectors.size += size;
    const size_t n = stems_of(p->texts.bytes.data, p->texts.bytes.size, stems);
    STRATA_TRY(strata__bytes_append(&p->words, stems, n * sizeof *stems));
    predicate.words_end = p->words.size / sizeof *stems;
    STRATA_TRY(find_inverse(txn, id, &predicate.inverse));
    return strata__bytes_append(&p->predicates, &predicate, sizeof predicate);
}

/* How many predicates have each word. */
static strata_status count_words(struct strata__predicates *p)
{
    const size_t n = p->words.size / sizeof(uint32_t);
    uint32_t *sorted;
    strata_status status = STRATA_OK;
    STRATA_TRY(strata__calloc(&sorted, n, sizeof *sorted, "words of predicates"));
    if (n) {
        memcpy(sorted, p->words.data, p->words.size);
        qsort(sorted, n, sizeof *sorted, compare_stems);
    }
    for (size_t i = 0, end; i < n && status == STRATA_OK; i = end) {
        for (end = i + 1; end < n && sorted[end] == sorted[i];)
            end++;
        const struct word word = {sorted[i], (uint32_t)(end - i)};
        status = strata__bytes_append(&p->counts, &word, sizeof word);
    }
    strata__free(sorted);
    return status;
}

/* Makes what is known of the predicates for the transaction's state.  It is bounded, and whoever
 * comes first does it to the end, or questions with short deadlines would begin it for ever. */
static strata_status make(struct strata__predicates *p, struct strata__txn *txn)
{
    const struct strata__linker *linker = txn->facts->linker;
    const size_t state = mdb_txn_id(txn->txn);
    struct making m = {.p = p, .index = linker->vectors.predicates, .width = linker->width};
    if (p->made && p->state == state)
        return STRATA_OK;
    p->made = false;
    p->predicates.size = p->vectors.size = p->words.size = p->counts.size = 0;
    STRATA_TRY(strata__each_predicate(txn, make_one, &m));
    STRATA_TRY(count_words(p));
    p->state = state;
    p->made = true;
    return STRATA_OK;
}

/* ---- Scores ---- */

static double weighed(const struct strata__expansion *e, bool with_lm)
{
    double sum = strata__tier2_bias[with_lm];
    for (int i = 0; i < STRATA__PHRASE_EVIDENCE; i++)
        sum += strata__tier2_weights[with_lm][i] * (double)e->evidence[i];
    return 1 / (1 + exp(-sum));
}

static int better(const void *a, const void *b)
{
    const struct strata__expansion *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->predicate != y->predicate)
        return x->predicate < y->predicate ? -1 : 1;
    return x->reversed - y->reversed;
}

void strata__tier2_rank(struct strata__expansion *expansions, size_t n, bool with_lm)
{
    for (size_t i = 0; i < n; i++)
        expansions[i].score = weighed(&expansions[i], with_lm);
    if (n)
        qsort(expansions, n, sizeof *expansions, better);
}

/* A phrase, and what its words weigh. */
struct phrase {
    const float *vector;
    size_t n_stems;
    uint32_t stems[WORDS_MOST];
    double weights[WORDS_MOST], weight;
};

/* Weight of the phrase's words among words[0..n), which are sorted too. */
static double shared_weight(const struct phrase *phrase, const uint32_t *words, size_t n)
{
    double sum = 0;
    for (size_t i = 0, k = 0; i < phrase->n_stems; i++) {
        while (k < n && words[k] < phrase->stems[i])
            k++;
        if (k < n && words[k] == phrase->stems[i])
            sum += phrase->weights[i];
    }
    return sum;
}

/* The predicates that are nearest to the phrase, the nearest one first. */
#define NEAREST 3
struct nearest {
    strata__id predicate;
    float near;
};

static void note_near(struct nearest nearest[NEAREST], strata__id predicate, float near)
{
    struct nearest next = {predicate, near};
    for (size_t i = 0; i < NEAREST; i++)
        if (nearest[i].predicate == 0 || next.near > nearest[i].near) {
            const struct nearest worse = nearest[i];
            nearest[i] = next;
            next = worse;
        }
}

/* How much nearer the nearest one is that is another predicate, and not its inverse, which the same
 * words are said of. */
static float surpassed(const struct nearest nearest[NEAREST], const struct predicate *predicate,
                       float near)
{
    size_t i = 0;
    while (i < NEAREST - 1 &&
           (nearest[i].predicate == predicate->id || nearest[i].predicate == predicate->inverse))
        i++;
    return nearest[i].predicate ? fmaxf(0, nearest[i].near - near) : 0;
}

/* Expansions of all predicates; `out` has room for two of each.  Returns how many. */
static size_t score_all(const struct strata__predicates *p, size_t width, struct phrase *phrase,
                        struct strata__expansion *out)
{
    const struct predicate *predicates = (const void *)p->predicates.data;
    const size_t n = p->predicates.size / sizeof *predicates;
    const float *vectors = (const void *)p->vectors.data;
    const uint32_t *words = (const void *)p->words.data;
    struct nearest nearest[NEAREST] = {{0}};
    size_t count = 0;
    phrase->weight = 0;
    for (size_t i = 0; i < phrase->n_stems; i++) {
        phrase->weights[i] = rarity(p, phrase->stems[i], n);
        phrase->weight += phrase->weights[i];
    }
    for (size_t i = 0, start = 0; i < n; start = predicates[i++].words_end) {
        const double shared = shared_weight(phrase, words + start, predicates[i].words_end - start);
        struct strata__expansion e = {.predicate = predicates[i].id};
        e.evidence[STRATA__NEAR] = strata__cosine(phrase->vector, vectors + i * width, width);
        e.evidence[STRATA__SHARED] = phrase->weight > 0 ? (float)(shared / phrase->weight) : 0;
        note_near(nearest, e.predicate, e.evidence[STRATA__NEAR]);
        out[count++] = e;
        e.reversed = true;
        e.evidence[STRATA__REVERSED] = 1;
        if (!predicates[i].inverse)
            out[count++] = e;
    }
    for (size_t i = 0, k = 0; i < count; i++) {
        k += predicates[k].id != out[i].predicate;
        out[i].evidence[STRATA__SURPASSED] =
            surpassed(nearest, &predicates[k], out[i].evidence[STRATA__NEAR]);
    }
    strata__tier2_rank(out, count, false);
    return count;
}

/* Expansions of all predicates of the transaction's state, by a phrase's vector and words. */
static strata_status score_state(struct strata__txn *txn, struct phrase *phrase, double deadline,
                                 struct strata__expansion **out, size_t *n, bool *whole)
{
    struct strata__predicates *p = txn->facts->expander;
    pthread_mutex_lock(&p->lock);
    struct strata__scope before = strata__scope_set(p->scope);
    strata_status status = make(p, txn);
    strata__scope_set(before);
    *whole = strata__now_ms() <= deadline;
    if (status == STRATA_OK && *whole) {
        const size_t predicates = p->predicates.size / sizeof(struct predicate);
        status = strata__calloc(out, 2 * predicates, sizeof **out, "predicates of a phrase");
        if (status == STRATA_OK)
            *n = score_all(p, txn->facts->linker->width, phrase, *out);
    }
    pthread_mutex_unlock(&p->lock);
    return status;
}

void strata__tier2_preload(struct strata__txn *txn)
{
    struct strata__predicates *p = txn->facts->expander;
    if (!txn->facts->linker || !txn->facts->linker->vectors.predicates)
        return;
    pthread_mutex_lock(&p->lock);
    struct strata__scope before = strata__scope_set(p->scope);
    make(p, txn);
    strata__scope_set(before);
    pthread_mutex_unlock(&p->lock);
}

strata_status strata__tier2_expand(struct strata__txn *txn, const char *phrase, double deadline,
                                   struct strata__expansion **out, size_t *n, bool *whole)
{
    const struct strata__linker *linker = txn->facts->linker;
    struct phrase read = {0};
    float *vector;
    *out = NULL;
    *n = 0;
    *whole = true;
    if (!linker || !linker->vectors.predicates)
        return STRATA_OK;
    *whole = strata__now_ms() <= deadline;
    if (!*whole)
        return STRATA_OK;
    const strata_text text = strata__phrase_text(phrase);
    read.n_stems = stems_of(text.text, text.size, read.stems);
    STRATA_TRY(strata__calloc(&vector, linker->width, sizeof *vector, "a vector"));
    read.vector = vector;
    strata_status status = strata__phrase_vector(txn, phrase, deadline, vector, whole);
    if (status == STRATA_OK && *whole)
        status = score_state(txn, &read, deadline, out, n, whole);
    strata__free(vector);
    if (*n > STRATA__EXPANSIONS_MOST)
        *n = STRATA__EXPANSIONS_MOST;
    return status;
}

/* Making and opening vectors of a store (vectors.h). */
#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "budgets.h"
#include "index.h"
#include "memory.h"
#include "model.h"
#include "pattern.h"
#include "predicate_texts.h"

#define WORDS_LEAST 4             /* of a description */
#define WORDS_MOST 24             /* of it that are read */
#define BYTES_MOST ((size_t)8192) /* of a label, or a description: more than models read */
#define TEXTS 1024                /* that are embedded together */
#define TEXTS_A_SAVE 65536
static const char probe[] = "a store of facts";

static strata_status path_of(const strata_facts *facts, const char *name, char out[4096])
{
    int n = snprintf(out, 4096, "%s/%s", facts->path, name);
    return n < 0 || n >= 4096
               ? strata__fail(STRATA_E_INVALID, "%s: the path is too long", facts->shown)
               : STRATA_OK;
}

static strata_status embed(strata_model *model, const strata_text *texts, size_t n, float *vectors)
{
    return strata_embed(model, texts, n, NULL, vectors, NULL);
}

/* ---- Opening ---- */

/* Compares the vector of the known text with what the model makes of it now. */
static strata_status check_model(strata_facts *facts, strata_model *model, strata_index *index)
{
    const size_t width = strata_model_info_get(model).embedding_length;
    const strata_text text = {probe, sizeof probe - 1};
    float *vectors;
    if (strata_index_info_get(index).dimension != width)
        return strata__fail(STRATA_E_INVALID,
                            "%s: its vectors have %zu elements, the model's %zu: make them anew "
                            "with strata facts index",
                            facts->shown, strata_index_info_get(index).dimension, width);
    STRATA_TRY(strata__calloc(&vectors, 2 * width, sizeof *vectors, "vectors"));
    strata_status status = embed(model, &text, 1, vectors);
    if (status == STRATA_OK)
        status = strata_index_vector(index, STRATA__VECTORS_PROBE, vectors + width);
    if (status == STRATA_OK && strata__cosine(vectors, vectors + width, width) < 0.98F)
        status = strata__fail(STRATA_E_INVALID,
                              "%s: its vectors were made by another model: make them anew with "
                              "strata facts index",
                              facts->shown);
    strata__free(vectors);
    return status;
}

static strata_status open_index(strata_facts *facts, strata_model *model, const char *name,
                                struct strata__scope sketches, strata_index **out, bool *found)
{
    char path[4096];
    STRATA_TRY(path_of(facts, name, path));
    *found = access(path, F_OK) == 0;
    if (!*found)
        return STRATA_OK;
    STRATA_TRY(strata__index_open(model->runtime, path, sketches, out));
    return check_model(facts, model, *out);
}

strata_status strata__vectors_open(strata_facts *facts, strata_model *model,
                                   struct strata__vectors *out, bool *found)
{
    struct strata__scope scope = {.model = model->name};
    *out = (struct strata__vectors){0};
    STRATA_TRY(
        strata__budget_account(model->runtime->ledger, STRATA__VECTORS_RESIDENT, &scope.account));
    strata_status status = open_index(facts, model, "labels.vectors", scope, &out->labels, found);
    if (status == STRATA_OK && *found)
        status = open_index(facts, model, "descriptions.vectors", scope, &out->descriptions, found);
    bool predicates;
    if (status == STRATA_OK && *found)
        status =
            open_index(facts, model, "predicates.vectors", scope, &out->predicates, &predicates);
    if (status != STRATA_OK || !*found) {
        strata__vectors_close(out);
        return status;
    }
    if (!out->predicates)
        strata__log(model->runtime->log, model->runtime->log_user, STRATA_LOG_WARN,
                    "%s: it has no vectors of predicates, without which phrases are not expanded: "
                    "make them with strata facts index",
                    facts->shown);
    strata__index_read_singly(out->labels);
    if (strata_index_info_get(out->descriptions).sketched) /* else all of them are read */
        strata__index_read_singly(out->descriptions);
    return STRATA_OK;
}

void strata__vectors_close(struct strata__vectors *vectors)
{
    strata_index_close(&vectors->labels);
    strata_index_close(&vectors->descriptions);
    strata_index_close(&vectors->predicates);
}

bool strata_facts_has_vectors(const strata_facts *facts)
{
    char path[4096];
    return path_of(facts, "descriptions.vectors", path) == STRATA_OK && access(path, F_OK) == 0;
}

struct strata__scope strata__facts_scope(const strata_facts *facts, const strata_model *model)
{
    return facts->scope.account ? facts->scope : model->runtime->indices;
}

/* ---- What is to be embedded ---- */

struct gather {
    struct strata__txn *txn;
    strata__id names[STRATA__NAME_PREDICATES];
    struct strata__bytes labels, descriptions, predicates; /* uint64_t: ids of vectors */
    struct strata__predicate_texts texts;
    strata__id subject, description;
    size_t description_size;
    bool named; /* the subject has a label */
};

static size_t count_words(const char *text, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < size; i++)
        n += text[i] != ' ' && (i == 0 || text[i - 1] == ' ');
    return n;
}

bool strata__describes(const strata__id names[STRATA__NAME_PREDICATES],
                       const struct strata__row *row, const struct strata__term *object)
{
    return strata__term_is_literal(object) && object->kind != 'T' &&
           strata__name_rank(names, row->b) == STRATA__NAME_PREDICATES &&
           count_words(object->text, object->size) >= WORDS_LEAST;
}

static strata_status end_subject(struct gather *g)
{
    const uint64_t id = strata__description_id(g->subject, g->description);
    if (!g->named || !g->description)
        return STRATA_OK;
    return strata__bytes_append(&g->descriptions, &id, sizeof id);
}

static strata_status gather_row(void *user, const struct strata__row *row, bool *stop)
{
    struct gather *g = user;
    MDB_val bytes;
    struct strata__term term;
    *stop = false;
    if (row->a != g->subject) {
        STRATA_TRY(end_subject(g));
        g->subject = row->a;
        g->description = 0;
        g->description_size = 0;
        g->named = false;
    }
    if (strata__name_rank(g->names, row->b) < STRATA__NAME_PREDICATES) {
        const uint64_t id = row->c;
        g->named = true;
        return strata__bytes_append(&g->labels, &id, sizeof id);
    }
    STRATA_TRY(strata__store_term(g->txn, row->c, &bytes));
    if (!strata__term_decode(bytes.mv_data, bytes.mv_size, &term) ||
        !strata__describes(g->names, row, &term) || term.size <= g->description_size)
        return STRATA_OK;
    g->description = row->c;
    g->description_size = term.size;
    return STRATA_OK;
}

static strata_status gather_predicate(struct strata__txn *txn, strata__id predicate, void *user,
                                      bool *stop)
{
    struct gather *g = user;
    *stop = false;
    STRATA_TRY(strata__predicate_texts_read(txn, predicate, &g->texts));
    const uint64_t id = strata__predicate_vector_id(predicate, &g->texts);
    return g->texts.n ? strata__bytes_append(&g->predicates, &id, sizeof id) : STRATA_OK;
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Sorts ids and drops those that come twice, and those of which the index has the vector. */
static strata_status drop_known(struct strata__bytes *ids, strata_index *index)
{
    uint64_t *id = (uint64_t *)(void *)ids->data;
    const size_t n = ids->size / sizeof *id;
    size_t kept = 0;
    float *vector;
    STRATA_TRY(
        strata__calloc(&vector, strata_index_info_get(index).dimension, sizeof *vector, "vectors"));
    if (n)
        qsort(id, n, sizeof *id, compare_u64);
    for (size_t i = 0; i < n; i++)
        if ((kept == 0 || id[i] != id[kept - 1]) &&
            (strata_index_info_get(index).count <= 1 ||
             strata_index_vector(index, id[i], vector) != STRATA_OK))
            id[kept++] = id[i];
    ids->size = kept * sizeof *id;
    strata__free(vector);
    return STRATA_OK;
}

static strata_status gather(strata_facts *facts, const struct strata__vectors *vectors,
                            struct gather *g)
{
    const struct strata__pattern all = {{.any = true}, {.any = true}, {.any = true}};
    struct strata__txn txn;
    STRATA_TRY(strata__txn_begin(facts, false, &txn));
    g->txn = &txn;
    strata_status status = strata__store_names(&txn, g->names);
    if (status == STRATA_OK)
        status = strata__pattern_walk(&txn, &all, gather_row, g);
    if (status == STRATA_OK)
        status = end_subject(g);
    if (status == STRATA_OK)
        status = strata__each_predicate(&txn, gather_predicate, g);
    strata__txn_abort(&txn);
    if (status == STRATA_OK)
        status = drop_known(&g->labels, vectors->labels);
    if (status == STRATA_OK)
        status = drop_known(&g->descriptions, vectors->descriptions);
    if (status == STRATA_OK)
        status = drop_known(&g->predicates, vectors->predicates);
    return status;
}

/* ---- Making ---- */

struct making {
    strata_facts *facts;
    strata_model *model;
    strata_progress_fn *on_progress;
    void *user;
    uint64_t done, total;
    struct strata__bytes texts;
    size_t ends[TEXTS];
    float *vectors; /* [TEXTS][width] */
};

static size_t at_most(size_t size)
{
    return size < BYTES_MOST ? size : BYTES_MOST;
}

/* Appends the text that a vector is of. */
static strata_status append_text(struct making *m, struct strata__txn *txn, uint64_t id)
{
    const strata__id subject = (strata__id)(id >> 32), literal = (strata__id)id;
    struct strata__term term, label = {0};
    MDB_val bytes;
    STRATA_TRY(strata__store_term(txn, literal, &bytes));
    if (!strata__term_decode(bytes.mv_data, bytes.mv_size, &term))
        return strata__store_fail(txn->facts, MDB_CORRUPTED, "reading a label");
    size_t size = at_most(term.size);
    if (subject) {
        size_t words = 0, i = 0;
        for (; i < size && words < WORDS_MOST; i++)
            words += term.text[i] == ' ' && i && term.text[i - 1] != ' ';
        size = i;
        STRATA_TRY(strata__label_of(txn, subject, &label));
        STRATA_TRY(
            strata__bytes_append(&m->texts, label.text ? label.text : "", at_most(label.size)));
        STRATA_TRY(strata__bytes_append(&m->texts, ": ", 2));
    }
    return strata__bytes_append(&m->texts, term.text, size);
}

/* Makes the vectors of n ids and adds them. */
static strata_status make_some(struct making *m, strata_index *index, const uint64_t *ids, size_t n)
{
    struct strata__txn txn;
    strata_text texts[TEXTS];
    strata_status status = STRATA_OK;
    m->texts.size = 0;
    STRATA_TRY(strata__txn_begin(m->facts, false, &txn));
    for (size_t i = 0; i < n && status == STRATA_OK; i++) {
        status = append_text(m, &txn, ids[i]);
        m->ends[i] = m->texts.size;
    }
    strata__txn_abort(&txn);
    STRATA_TRY(status);
    for (size_t i = 0; i < n; i++) {
        const size_t start = i ? m->ends[i - 1] : 0;
        texts[i] = (strata_text){m->texts.data + start, m->ends[i] - start};
    }
    STRATA_TRY(embed(m->model, texts, n, m->vectors));
    return strata_index_add(index, ids, m->vectors, n);
}

/* Reads the texts of n predicates: which belong to each ends at text ends[i]. */
static strata_status read_predicates(struct making *m, uint64_t *ids, size_t n, size_t *ends)
{
    struct strata__txn txn;
    struct strata__predicate_texts texts = {0};
    strata_status status = STRATA_OK;
    size_t count = 0;
    m->texts.size = 0;
    STRATA_TRY(strata__txn_begin(m->facts, false, &txn));
    for (size_t i = 0; i < n && status == STRATA_OK; i++) {
        const strata__id predicate = (strata__id)(ids[i] >> 32);
        status = strata__predicate_texts_read(&txn, predicate, &texts);
        ids[i] = strata__predicate_vector_id(predicate, &texts); /* they may have changed */
        for (size_t k = 0; k < texts.n; k++)
            m->ends[count++] = m->texts.size + texts.ends[k];
        if (status == STRATA_OK)
            status = strata__bytes_append(&m->texts, texts.bytes.data, texts.bytes.size);
        ends[i] = count;
    }
    strata__txn_abort(&txn);
    strata__bytes_free(&texts.bytes);
    return status;
}

/* The vector of a predicate: the mean of those of its texts, at their place. */
static void add_up(float *vectors, size_t n, size_t width)
{
    for (size_t i = 1; i < n; i++)
        for (size_t k = 0; k < width; k++)
            vectors[k] += vectors[i * width + k];
}

static strata_status make_predicates(struct making *m, strata_index *index, const uint64_t *list,
                                     size_t n)
{
    enum { MOST = TEXTS / STRATA__PREDICATE_TEXTS };
    const size_t width = strata_index_info_get(index).dimension;
    for (size_t first = 0, some; first < n; first += some) {
        uint64_t ids[MOST];
        size_t ends[MOST];
        strata_text texts[TEXTS];
        some = n - first < MOST ? n - first : MOST;
        memcpy(ids, list + first, some * sizeof *ids);
        STRATA_TRY(read_predicates(m, ids, some, ends));
        for (size_t k = 0; k < ends[some - 1]; k++) {
            const size_t start = k ? m->ends[k - 1] + 1 : 0;
            texts[k] = (strata_text){m->texts.data + start, m->ends[k] - start};
        }
        STRATA_TRY(embed(m->model, texts, ends[some - 1], m->vectors));
        for (size_t i = 0; i < some; i++) {
            const size_t start = i ? ends[i - 1] : 0;
            float *vector = m->vectors + start * width;
            if (ends[i] == start)
                continue; /* it has no texts any more */
            add_up(vector, ends[i] - start, width);
            STRATA_TRY(strata_index_add(index, &ids[i], vector, 1));
        }
    }
    return STRATA_OK;
}

typedef strata_status make_fn(struct making *m, strata_index *index, const uint64_t *ids, size_t n);

/* Makes the vectors of a list; `sketch`: and sketches of all, where there are none of them yet. */
static strata_status make_all(struct making *m, strata_index *index, const char *name,
                              const struct strata__bytes *list, make_fn *make_these, bool sketch)
{
    char path[4096];
    const uint64_t *ids = (const uint64_t *)(const void *)list->data;
    const size_t n = list->size / sizeof *ids;
    STRATA_TRY(path_of(m->facts, name, path));
    for (size_t i = 0; i < n; i += TEXTS) {
        if (m->on_progress && !m->on_progress(m->user, name, m->done, m->total)) {
            STRATA_TRY(strata_index_save(index, path));
            return strata__fail(STRATA_E_CANCELLED,
                                "interrupted; what is done is kept, and the next time goes on");
        }
        const size_t some = n - i < TEXTS ? n - i : TEXTS;
        STRATA_TRY(make_these(m, index, ids + i, some));
        m->done += some;
        if (i / TEXTS_A_SAVE != (i + some) / TEXTS_A_SAVE)
            STRATA_TRY(strata_index_save(index, path));
    }
    if (sketch && !strata_index_info_get(index).sketched)
        STRATA_TRY(strata_index_sketch(index));
    return strata_index_save(index, path);
}

/* An index that is there already and of the same model, or a new one with the known text. */
static strata_status open_or_create(strata_facts *facts, strata_model *model, const char *name,
                                    strata_index **out)
{
    bool found;
    strata_index_options options;
    strata_status status = open_index(facts, model, name, model->runtime->indices, out, &found);
    if (status == STRATA_OK && found)
        return STRATA_OK;
    if (status != STRATA_OK && status != STRATA_E_INVALID && status != STRATA_E_FORMAT)
        return status;
    strata_index_close(out);
    strata_index_options_default(&options);
    options.dimension = strata_model_info_get(model).embedding_length;
    STRATA_TRY(strata_index_create(model->runtime, &options, out));
    const strata_text text = {probe, sizeof probe - 1};
    const uint64_t id = STRATA__VECTORS_PROBE;
    float *vector;
    STRATA_TRY(strata__calloc(&vector, options.dimension, sizeof *vector, "vectors"));
    status = embed(model, &text, 1, vector);
    if (status == STRATA_OK)
        status = strata_index_add(*out, &id, vector, 1);
    strata__free(vector);
    return status;
}

static strata_status make(strata_facts *facts, strata_model *model, strata_progress_fn *on_progress,
                          void *user, uint64_t *made)
{
    struct making m = {.facts = facts, .model = model, .on_progress = on_progress, .user = user};
    struct strata__vectors vectors = {0};
    struct gather g = {0};
    strata_status status;
    const size_t width = strata_model_info_get(model).embedding_length;
    STRATA_TRY_DONE(open_or_create(facts, model, "labels.vectors", &vectors.labels));
    STRATA_TRY_DONE(open_or_create(facts, model, "descriptions.vectors", &vectors.descriptions));
    STRATA_TRY_DONE(open_or_create(facts, model, "predicates.vectors", &vectors.predicates));
    STRATA_TRY_DONE(gather(facts, &vectors, &g));
    m.total = (g.labels.size + g.descriptions.size + g.predicates.size) / sizeof(uint64_t);
    STRATA_TRY_DONE(strata__calloc(&m.vectors, TEXTS * width, sizeof *m.vectors, "vectors"));
    STRATA_TRY_DONE(make_all(&m, vectors.labels, "labels.vectors", &g.labels, make_some, false));
    STRATA_TRY_DONE(make_all(&m, vectors.predicates, "predicates.vectors", &g.predicates,
                             make_predicates, false));
    STRATA_TRY_DONE(make_all(&m, vectors.descriptions, "descriptions.vectors", &g.descriptions,
                             make_some, true));
    if (on_progress)
        on_progress(user, "vectors", m.total, m.total);
done:
    *made = m.done;
    strata__vectors_close(&vectors);
    strata__bytes_free(&g.labels);
    strata__bytes_free(&g.descriptions);
    strata__bytes_free(&g.predicates);
    strata__bytes_free(&g.texts.bytes);
    strata__bytes_free(&m.texts);
    strata__free(m.vectors);
    return status;
}

strata_status strata_facts_index(strata_facts *facts, strata_model *model,
                                 strata_progress_fn *on_progress, void *user, uint64_t *made)
{
    uint64_t n = 0;
    if (!strata_model_embeds(model))
        return strata__fail(STRATA_E_INVALID, "the model makes no sentence vectors: use one like "
                                              "minilm");
    struct strata__scope before = strata__scope_set(strata__facts_scope(facts, model));
    strata_status status = make(facts, model, on_progress, user, &n);
    strata__scope_set(before);
    if (made)
        *made = n;
    return status;
}

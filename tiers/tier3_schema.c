/* Schemas of a store (tier3_schema.h). */
#include "tier3_schema.h"

#include <stdlib.h>
#include <string.h>

#include "budgets.h"
#include "memory.h"
#include "model.h"
#include "predicate_texts.h"

#define COMPONENT "tier3_reasoner/embedding_cache(schema)"
#define PREDICATES_MOST 4096    /* the first ones */
#define KINDS_MOST 1024         /* the first ones that samples meet */
#define SAMPLES ((size_t)16384) /* of all predicates together, but of each */
#define SAMPLES_LEAST ((size_t)8)
#define SAMPLES_MOST ((size_t)128)
#define FORM_BYTES 32  /* of a value that are looked at */
#define NAME_BYTES 256 /* of a kind's name that are read */
#define TEXTS 64       /* that are embedded at once */

struct strata__schemas {
    pthread_mutex_t lock;
    struct strata__scope scope;
    struct strata__schema *newest;
    size_t state; /* of LMDB, that the newest one is of */
};

strata_status strata__schemas_open(struct strata__schemas **out)
{
    STRATA_TRY(strata__calloc(out, 1, sizeof **out, "schemas"));
    if (pthread_mutex_init(&(*out)->lock, NULL) == 0)
        return STRATA_OK;
    strata__free(*out);
    *out = NULL;
    return strata__fail(STRATA_E_NOMEM, "no memory for a lock");
}

strata_status strata__schemas_charge(struct strata__schemas *schemas, const strata_model *model)
{
    schemas->scope = (struct strata__scope){.model = model->name};
    return strata__budget_account(model->runtime->ledger, COMPONENT, &schemas->scope.account);
}

static void release(struct strata__schema *schema)
{
    if (!schema || --schema->uses > 0)
        return;
    strata__free(schema->predicates);
    strata__free(schema->forms);
    strata__free(schema->inverse);
    strata__free(schema->kinds);
    strata__free(schema->vectors);
    strata__free(schema->edges);
    strata__free(schema->first);
    strata__free(schema);
}

void strata__schemas_close(struct strata__schemas **handle)
{
    struct strata__schemas *schemas = *handle;
    if (!schemas)
        return;
    release(schemas->newest);
    pthread_mutex_destroy(&schemas->lock);
    strata__free(schemas);
    *handle = NULL;
}

void strata__schema_drop(strata_facts *facts, const struct strata__schema *schema)
{
    struct strata__schemas *schemas = facts->schemas;
    if (!schema)
        return;
    pthread_mutex_lock(&schemas->lock);
    release((struct strata__schema *)(uintptr_t)schema);
    pthread_mutex_unlock(&schemas->lock);
}

/* ---- Making one ---- */

struct making {
    struct strata__txn *txn;
    struct strata__schema *schema;
    strata_index *index; /* of predicates' vectors */
    struct strata__predicate_texts texts;
    struct strata__bytes ids, vectors, kinds, edges; /* strata__id; float; strata__id; struct met */
    strata__id inverse_of;
    uint64_t ids_end;
};

/* An edge, as often as samples met it. */
struct met {
    struct strata__schema_edge edge;
    uint32_t times;
};

static strata_status named_id(struct strata__txn *txn, const char *term, strata__id *id)
{
    const size_t size = strlen(term);
    return strata__store_id(txn, term, size, strata__store_hash(txn->facts, term, size), id);
}

static strata_status add_predicate(struct strata__txn *txn, strata__id id, void *user, bool *stop)
{
    struct making *m = user;
    const size_t size = m->schema->width * sizeof(float);
    *stop = m->ids.size / sizeof id >= PREDICATES_MOST;
    if (*stop)
        return STRATA_OK;
    STRATA_TRY(strata__predicate_texts_read(txn, id, &m->texts));
    if (m->texts.n == 0)
        return STRATA_OK;
    STRATA_TRY(strata__bytes_reserve(&m->vectors, size));
    if (strata_index_vector(m->index, strata__predicate_vector_id(id, &m->texts),
                            (float *)(void *)(m->vectors.data + m->vectors.size)) != STRATA_OK)
        return STRATA_OK; /* new since vectors were made */
    m->vectors.size += size;
    return strata__bytes_append(&m->ids, &id, sizeof id);
}

static uint16_t index_of(const struct strata__schema *schema, strata__id predicate)
{
    for (size_t i = 0; i < schema->n_predicates; i++)
        if (schema->predicates[i] == predicate)
            return (uint16_t)i;
    return STRATA__NO_PREDICATE;
}

/* Notes the inverses that the graph declares, both ways. */
static strata_status find_inverses(struct making *m)
{
    struct strata__schema *schema = m->schema;
    STRATA_TRY(strata__calloc(&schema->inverse, schema->n_predicates, sizeof *schema->inverse,
                              "inverse predicates"));
    for (size_t i = 0; i < schema->n_predicates; i++)
        schema->inverse[i] = STRATA__NO_PREDICATE;
    for (size_t i = 0; i < schema->n_predicates && m->inverse_of; i++) {
        struct strata__row row;
        bool found;
        STRATA_TRY(strata__store_seek(m->txn, STRATA__SPO,
                                      (struct strata__row){schema->predicates[i], m->inverse_of, 0},
                                      &row, &found));
        if (!found || row.b != m->inverse_of)
            continue;
        const uint16_t other = index_of(schema, row.c);
        if (other == STRATA__NO_PREDICATE)
            continue;
        schema->inverse[i] = other;
        if (schema->inverse[other] == STRATA__NO_PREDICATE)
            schema->inverse[other] = (uint16_t)i;
    }
    return STRATA_OK;
}

/* ---- Kinds ---- */

/* The first type of an entity; 0: none. */
static strata_status type_of(struct strata__txn *txn, strata__id type, strata__id id,
                             strata__id *out)
{
    struct strata__row row;
    bool found = false;
    *out = 0;
    if (type)
        STRATA_TRY(
            strata__store_seek(txn, STRATA__SPO, (struct strata__row){id, type, 0}, &row, &found));
    if (found && row.b == type)
        *out = row.c;
    return STRATA_OK;
}

static strata_status is_literal(struct strata__txn *txn, strata__id id, bool *is)
{
    MDB_val bytes;
    struct strata__term term;
    STRATA_TRY(strata__store_term(txn, id, &bytes));
    if (!strata__term_decode(bytes.mv_data, bytes.mv_size, &term))
        return strata__store_fail(txn->facts, MDB_CORRUPTED, "reading a term");
    *is = strata__term_is_literal(&term);
    return STRATA_OK;
}

static uint16_t find_kind(const strata__id *kinds, size_t n, strata__id type)
{
    for (size_t i = 1; i < n && type; i++)
        if (kinds[i] == type)
            return (uint16_t)i;
    return STRATA__NO_KIND;
}

/* The kind of a term, which is noted when it is new and there is room. */
static strata_status meet_kind(struct making *m, strata__id id, uint16_t *kind)
{
    strata__id type;
    bool literal;
    STRATA_TRY(type_of(m->txn, m->schema->type, id, &type));
    const size_t n = m->kinds.size / sizeof type;
    *kind = find_kind((const strata__id *)(const void *)m->kinds.data, n, type);
    if (type && *kind == STRATA__NO_KIND && n < KINDS_MOST) {
        *kind = (uint16_t)n;
        return strata__bytes_append(&m->kinds, &type, sizeof type);
    }
    if (type)
        return STRATA_OK;
    STRATA_TRY(is_literal(m->txn, id, &literal));
    if (literal)
        *kind = STRATA__LITERAL_KIND;
    return STRATA_OK;
}

strata_status strata__kind_of(struct strata__txn *txn, const struct strata__schema *schema,
                              strata__id id, uint16_t *kind)
{
    strata__id of;
    bool literal;
    STRATA_TRY(type_of(txn, schema->type, id, &of));
    *kind = find_kind(schema->kinds, schema->n_kinds, of);
    if (of)
        return STRATA_OK;
    STRATA_TRY(is_literal(txn, id, &literal));
    if (literal)
        *kind = STRATA__LITERAL_KIND;
    return STRATA_OK;
}

/* ---- What values look like ---- */

static uint32_t class_of(unsigned char c)
{
    return c >= 'A' && c <= 'Z'   ? 'A'
           : c >= 'a' && c <= 'z' ? 'a'
           : c >= '0' && c <= '9' ? '0'
           : c >= 0x80            ? 0x80
                                  : c;
}

strata_status strata__form_of(struct strata__txn *txn, strata__id literal, uint32_t *form)
{
    MDB_val bytes;
    struct strata__term term;
    uint32_t hash = 2166136261u, before = 0;
    STRATA_TRY(strata__store_term(txn, literal, &bytes));
    if (!strata__term_decode(bytes.mv_data, bytes.mv_size, &term))
        return strata__store_fail(txn->facts, MDB_CORRUPTED, "reading a literal");
    for (size_t i = 0; i < term.size && i < FORM_BYTES; i++) {
        const uint32_t now = class_of((unsigned char)term.text[i]);
        if (now != before)
            hash = (hash ^ now) * 16777619u;
        before = now;
    }
    *form = hash ? hash : 1;
    return STRATA_OK;
}

bool strata__schema_has_form(const struct strata__schema *schema, uint16_t predicate, uint32_t form)
{
    for (size_t i = 0; i < STRATA__FORMS; i++)
        if (schema->forms[predicate][i] == form)
            return true;
    return false;
}

/* Notes the form of a value, while there is room. */
static strata_status meet_form(struct making *m, uint16_t predicate, strata__id literal)
{
    uint32_t *forms = m->schema->forms[predicate], form;
    size_t n = 0;
    STRATA_TRY(strata__form_of(m->txn, literal, &form));
    while (n < STRATA__FORMS && forms[n] && forms[n] != form)
        n++;
    if (n < STRATA__FORMS)
        forms[n] = form;
    return STRATA_OK;
}

/* ---- Samples ---- */

static strata_status meet(struct making *m, uint16_t from, uint16_t predicate, bool reversed,
                          uint16_t to)
{
    struct met *met = (struct met *)(void *)m->edges.data;
    for (size_t i = m->edges.size / sizeof *met; i-- > 0;) {
        const struct strata__schema_edge *e = &met[i].edge;
        if (e->hop.predicate != predicate)
            break; /* edges of one predicate come together */
        if (e->from == from && e->to == to && e->hop.reversed == reversed) {
            met[i].times++;
            return STRATA_OK;
        }
    }
    const struct met one = {{from, to, {predicate, reversed}}, 1};
    return strata__bytes_append(&m->edges, &one, sizeof one);
}

/* Ids, the first and the last one. */
struct range {
    strata__id first, last;
};

/* The i-th of n ids that lie apart in a range; `i` may be of 2^32. */
static strata__id spread_in(struct range range, uint64_t i, uint64_t n)
{
    return (strata__id)(range.first + i * ((uint64_t)range.last - range.first + 1) / n);
}

/* The objects of a predicate (object 0), or the subjects of one object; *found: there are some. */
static strata_status range_of(struct making *m, strata__id predicate, strata__id object,
                              struct range *out, bool *found)
{
    struct strata__row row, from = {predicate, object, 0};
    uint64_t behind = m->ids_end;
    STRATA_TRY(strata__store_seek(m->txn, STRATA__POS, from, &row, found));
    if (!*found)
        return STRATA_OK;
    out->first = out->last = object ? row.c : row.b;
    while (behind > (uint64_t)out->last + 1) {
        const strata__id middle = (strata__id)(out->last + (behind - out->last) / 2);
        bool more;
        *(object ? &from.c : &from.b) = middle;
        STRATA_TRY(strata__store_seek(m->txn, STRATA__POS, from, &row, &more));
        if (more && (!object || row.b == object))
            out->last = object ? row.c : row.b;
        else
            behind = middle;
    }
    return STRATA_OK;
}

/* The objects of a predicate, and the subjects of the first and of the last one. */
static strata_status ranges_of(struct making *m, strata__id predicate, struct range *objects,
                               struct range *subjects, bool *found)
{
    struct range last = {0};
    STRATA_TRY(range_of(m, predicate, 0, objects, found));
    if (!*found)
        return STRATA_OK;
    STRATA_TRY(range_of(m, predicate, objects->first, subjects, found));
    STRATA_TRY(range_of(m, predicate, objects->last, &last, found));
    subjects->first = last.first < subjects->first ? last.first : subjects->first;
    subjects->last = last.last > subjects->last ? last.last : subjects->last;
    return STRATA_OK;
}

/* Looks at triples of a predicate: at objects that lie apart, and at subjects of each. */
static strata_status sample(struct making *m, uint16_t predicate, size_t samples)
{
    const strata__id id = m->schema->predicates[predicate];
    struct range objects = {0}, subjects = {0};
    bool used;
    STRATA_TRY(ranges_of(m, id, &objects, &subjects, &used));
    for (size_t i = 0; i < samples && used; i++) {
        struct strata__row first, row;
        bool found;
        uint16_t from, to;
        const strata__id object = spread_in(objects, i, samples),
                         subject = spread_in(subjects, i * 0x9e3779b97f4a7c15u >> 32,
                                             (uint64_t)1 << 32); /* however many samples */
        STRATA_TRY(strata__store_seek(m->txn, STRATA__POS, (struct strata__row){id, object, 0},
                                      &first, &found));
        if (!found)
            break; /* the store is damaged */
        STRATA_TRY(strata__store_seek(m->txn, STRATA__POS,
                                      (struct strata__row){id, first.b, subject}, &row, &found));
        if (!found || row.b != first.b)
            row = first;
        STRATA_TRY(meet_kind(m, row.c, &from));
        STRATA_TRY(meet_kind(m, row.b, &to));
        if (to == STRATA__LITERAL_KIND)
            STRATA_TRY(meet_form(m, predicate, row.b));
        STRATA_TRY(meet(m, from, predicate, false, to));
        if (m->schema->inverse[predicate] == STRATA__NO_PREDICATE)
            STRATA_TRY(meet(m, to, predicate, true, from));
    }
    return STRATA_OK;
}

static int compare_met(const void *a, const void *b)
{
    const struct met *x = a, *y = b;
    if (x->edge.from != y->edge.from)
        return x->edge.from < y->edge.from ? -1 : 1;
    if (x->edge.hop.predicate != y->edge.hop.predicate)
        return x->edge.hop.predicate < y->edge.hop.predicate ? -1 : 1;
    if (x->edge.hop.reversed != y->edge.hop.reversed)
        return x->edge.hop.reversed - y->edge.hop.reversed;
    if (x->times != y->times)
        return x->times > y->times ? -1 : 1;
    return x->edge.to < y->edge.to ? -1 : x->edge.to > y->edge.to;
}

static bool same_step(const struct strata__schema_edge *a, const struct strata__schema_edge *b)
{
    return a->from == b->from && a->hop.predicate == b->hop.predicate &&
           a->hop.reversed == b->hop.reversed;
}

/* Of each step the target that was met most often, by `from`; none begins at a literal. */
static strata_status settle_edges(struct making *m)
{
    struct strata__schema *schema = m->schema;
    struct met *met = (struct met *)(void *)m->edges.data;
    const size_t n = m->edges.size / sizeof *met;
    STRATA_TRY(strata__calloc(&schema->edges, n, sizeof *schema->edges, "edges of kinds"));
    STRATA_TRY(strata__calloc(&schema->first, schema->n_kinds + 1, sizeof *schema->first,
                              "edges of kinds"));
    if (n)
        qsort(met, n, sizeof *met, compare_met);
    for (size_t i = 0; i < n && met[i].edge.from != STRATA__LITERAL_KIND; i++)
        if (i == 0 || !same_step(&met[i].edge, &met[i - 1].edge))
            schema->edges[schema->n_edges++] = met[i].edge;
    for (size_t kind = 0, i = 0; kind <= schema->n_kinds; kind++) {
        while (i < schema->n_edges && schema->edges[i].from < kind)
            i++;
        schema->first[kind] = (uint32_t)i;
    }
    return STRATA_OK;
}

/* ---- Vectors of kinds ---- */

/* Appends the name of a kind: its label, or the end of its IRI as words. */
static strata_status append_name(struct strata__txn *txn, strata__id kind,
                                 struct strata__bytes *out)
{
    struct strata__term label;
    MDB_val bytes;
    STRATA_TRY(strata__label_of(txn, kind, &label));
    if (label.text)
        return strata__bytes_append(out, label.text,
                                    label.size < NAME_BYTES ? label.size : NAME_BYTES);
    STRATA_TRY(strata__store_term(txn, kind, &bytes));
    if (!strata__term_decode(bytes.mv_data, bytes.mv_size, &label))
        return strata__store_fail(txn->facts, MDB_CORRUPTED, "reading a type");
    return strata__iri_words(&label, NAME_BYTES, out);
}

/* The vectors of kinds [first, first + n), n <= TEXTS. */
static strata_status embed_kinds(struct making *m, size_t first, size_t n)
{
    struct strata__schema *schema = m->schema;
    struct strata__bytes names = {0};
    size_t ends[TEXTS];
    strata_text texts[TEXTS];
    strata_status status = STRATA_OK;
    for (size_t i = 0; i < n && status == STRATA_OK; i++) {
        status = append_name(m->txn, schema->kinds[first + i], &names);
        if (status == STRATA_OK && names.size == (i ? ends[i - 1] : 0))
            status = strata__bytes_append(&names, "thing", 5); /* it has neither */
        ends[i] = names.size;
    }
    for (size_t i = 0; i < n && status == STRATA_OK; i++) {
        const size_t start = i ? ends[i - 1] : 0;
        texts[i] = (strata_text){names.data + start, ends[i] - start};
    }
    if (status == STRATA_OK)
        status =
            strata_embed(m->txn->facts->linker->model, texts, n, NULL,
                         schema->vectors + (schema->n_predicates + first) * schema->width, NULL);
    strata__bytes_free(&names);
    return status;
}

/* ---- All of it ---- */

/* Moves what was collected into memory of its own. */
static strata_status take(struct strata__bytes *bytes, void *out, size_t extra)
{
    char *copy;
    STRATA_TRY(strata__calloc(&copy, 1, bytes->size + extra, "a schema"));
    if (bytes->size)
        memcpy(copy, bytes->data, bytes->size);
    memcpy(out, &copy, sizeof copy);
    return STRATA_OK;
}

static strata_status make_in(struct making *m)
{
    struct strata__schema *schema = m->schema;
    const strata__id none = 0;
    STRATA_TRY(named_id(m->txn, "I" STRATA__RDF "type", &m->schema->type));
    STRATA_TRY(named_id(m->txn, "I" STRATA__OWL "inverseOf", &m->inverse_of));
    STRATA_TRY(strata__meta_get(m->txn, "next id", &m->ids_end));
    STRATA_TRY(strata__each_predicate(m->txn, add_predicate, m));
    STRATA_TRY(strata__bytes_append(&m->kinds, &none, sizeof none));
    STRATA_TRY(take(&m->ids, &schema->predicates, 0));
    schema->n_predicates = m->ids.size / sizeof none;
    STRATA_TRY(find_inverses(m));
    STRATA_TRY(strata__calloc(&schema->forms, schema->n_predicates, sizeof *schema->forms,
                              "forms of values"));
    size_t samples = SAMPLES / (schema->n_predicates + 1);
    samples = samples < SAMPLES_LEAST  ? SAMPLES_LEAST
              : samples > SAMPLES_MOST ? SAMPLES_MOST
                                       : samples;
    for (size_t i = 0; i < schema->n_predicates; i++)
        STRATA_TRY(sample(m, (uint16_t)i, samples));
    STRATA_TRY(take(&m->kinds, &schema->kinds, 0));
    schema->n_kinds = m->kinds.size / sizeof none;
    STRATA_TRY(
        take(&m->vectors, &schema->vectors, schema->n_kinds * schema->width * sizeof(float)));
    for (size_t i = 1; i < schema->n_kinds; i += TEXTS)
        STRATA_TRY(embed_kinds(m, i, schema->n_kinds - i < TEXTS ? schema->n_kinds - i : TEXTS));
    return settle_edges(m);
}

/* It is bounded, and whoever comes first makes it to the end, or questions with short deadlines
 * would begin it for ever. */
static strata_status make(struct strata__txn *txn, struct strata__schema **out)
{
    const struct strata__linker *linker = txn->facts->linker;
    struct making m = {.txn = txn, .index = linker->vectors.predicates};
    STRATA_TRY(strata__calloc(&m.schema, 1, sizeof *m.schema, "a schema"));
    m.schema->uses = 1;
    m.schema->width = linker->width;
    strata_status status = make_in(&m);
    strata__bytes_free(&m.texts.bytes);
    strata__bytes_free(&m.ids);
    strata__bytes_free(&m.vectors);
    strata__bytes_free(&m.kinds);
    strata__bytes_free(&m.edges);
    if (status != STRATA_OK) {
        release(m.schema);
        m.schema = NULL;
    }
    *out = m.schema;
    return status;
}

strata_status strata__schema_get(struct strata__txn *txn, const struct strata__schema **out)
{
    struct strata__schemas *schemas = txn->facts->schemas;
    const size_t state = mdb_txn_id(txn->txn);
    strata_status status = STRATA_OK;
    *out = NULL;
    pthread_mutex_lock(&schemas->lock);
    if (!schemas->newest || schemas->state != state) {
        struct strata__schema *made;
        struct strata__scope before = strata__scope_set(schemas->scope);
        status = make(txn, &made);
        strata__scope_set(before);
        if (status == STRATA_OK) {
            release(schemas->newest);
            schemas->newest = made;
            schemas->state = state;
        }
    }
    if (status == STRATA_OK) {
        schemas->newest->uses++;
        *out = schemas->newest;
    }
    pthread_mutex_unlock(&schemas->lock);
    return status;
}

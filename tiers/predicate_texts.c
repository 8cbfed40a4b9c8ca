/* Texts of predicates (predicate_texts.h). */
#include "predicate_texts.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "vectors.h"

#define FACTS_MOST 256            /* of a predicate, among which its names and description are */
#define BYTES_MOST ((size_t)1024) /* of a text */

static strata_status term_of(struct strata__txn *txn, strata__id id, struct strata__term *term)
{
    MDB_val bytes;
    STRATA_TRY(strata__store_term(txn, id, &bytes));
    if (!strata__term_decode(bytes.mv_data, bytes.mv_size, term))
        return strata__store_fail(txn->facts, MDB_CORRUPTED, "reading a predicate");
    return STRATA_OK;
}

static bool starts_with(const struct strata__term *term, const char *start)
{
    const size_t size = strlen(start);
    return term->size >= size && memcmp(term->text, start, size) == 0;
}

static strata_status end_text(struct strata__predicate_texts *texts)
{
    texts->ends[texts->n++] = texts->bytes.size;
    return strata__bytes_append(&texts->bytes, "", 1);
}

static strata_status add_text(struct strata__predicate_texts *texts, const char *text, size_t size)
{
    STRATA_TRY(strata__bytes_append(&texts->bytes, text, size < BYTES_MOST ? size : BYTES_MOST));
    return end_text(texts);
}

strata_status strata__iri_words(const struct strata__term *iri, size_t most,
                                struct strata__bytes *out)
{
    size_t start = iri->size;
    while (start > 0 && !memchr("/#:", iri->text[start - 1], 3))
        start--;
    for (size_t i = start; i < iri->size && i - start < most; i++) {
        const char c = iri->text[i];
        const bool lower = i > start && iri->text[i - 1] >= 'a' && iri->text[i - 1] <= 'z';
        if (c >= 'A' && c <= 'Z' && lower)
            STRATA_TRY(strata__bytes_append(out, " ", 1));
        STRATA_TRY(strata__bytes_append(out, c == '_' || c == '-' ? " " : &c, 1));
    }
    return STRATA_OK;
}

static strata_status add_iri_words(struct strata__predicate_texts *texts,
                                   const struct strata__term *iri)
{
    STRATA_TRY(strata__iri_words(iri, BYTES_MOST / 2, &texts->bytes));
    return texts->bytes.size ? end_text(texts) : STRATA_OK;
}

/* Adds the names, and finds the description, where there is one. */
static strata_status read_names(struct strata__txn *txn, strata__id predicate,
                                struct strata__predicate_texts *texts,
                                struct strata__term *description)
{
    strata__id names[STRATA__NAME_PREDICATES], literals[STRATA__NAME_PREDICATES][4];
    size_t counts[STRATA__NAME_PREDICATES] = {0}, rows = 0;
    struct strata__row row;
    struct strata__term term;
    bool found;
    STRATA_TRY(strata__store_names(txn, names));
    STRATA_TRY(
        strata__store_seek(txn, STRATA__SPO, (struct strata__row){.a = predicate}, &row, &found));
    for (; found && rows < FACTS_MOST; rows++) {
        const unsigned rank = strata__name_rank(names, row.b);
        if (rank < STRATA__NAME_PREDICATES && counts[rank] < STRATA__PREDICATE_NAMES)
            literals[rank][counts[rank]++] = row.c;
        STRATA_TRY(term_of(txn, row.c, &term));
        if (strata__describes(names, &row, &term) && term.size > description->size)
            *description = term;
        STRATA_TRY(strata__store_next(txn, STRATA__SPO, &row, &found));
    }
    for (size_t rank = 0; rank < STRATA__NAME_PREDICATES; rank++)
        for (size_t i = 0; i < counts[rank] && texts->n < STRATA__PREDICATE_NAMES; i++) {
            STRATA_TRY(term_of(txn, literals[rank][i], &term));
            if (strata__term_is_literal(&term) && term.size)
                STRATA_TRY(add_text(texts, term.text, term.size));
        }
    return STRATA_OK;
}

strata_status strata__predicate_texts_read(struct strata__txn *txn, strata__id predicate,
                                           struct strata__predicate_texts *texts)
{
    struct strata__term iri, description = {0};
    texts->n = texts->bytes.size = 0;
    texts->described = false;
    STRATA_TRY(term_of(txn, predicate, &iri));
    if (starts_with(&iri, STRATA__RDF) || starts_with(&iri, STRATA__RDFS) ||
        starts_with(&iri, STRATA__OWL) || starts_with(&iri, STRATA__SKOS))
        return STRATA_OK;
    STRATA_TRY(read_names(txn, predicate, texts, &description));
    if (texts->n == 0)
        STRATA_TRY(add_iri_words(texts, &iri));
    if (texts->n == 0 || !description.text)
        return STRATA_OK;
    char name[BYTES_MOST];
    memcpy(name, texts->bytes.data, texts->ends[0]);
    texts->described = true;
    STRATA_TRY(add_text(texts, description.text, description.size));
    STRATA_TRY(strata__bytes_append(&texts->bytes, name, texts->ends[0]));
    STRATA_TRY(strata__bytes_append(&texts->bytes, ": ", 2));
    return add_text(texts, description.text, description.size);
}

uint64_t strata__predicate_vector_id(strata__id predicate,
                                     const struct strata__predicate_texts *texts)
{
    const uint64_t hash = XXH3_64bits_withSeed(texts->bytes.data, texts->bytes.size, texts->n);
    return (uint64_t)predicate << 32 | (uint32_t)hash;
}

strata_status strata__each_predicate(struct strata__txn *txn, strata__predicate_fn *call,
                                     void *user)
{
    struct strata__row row;
    bool found = true, stop = false;
    for (uint64_t id = 0; found && !stop && id <= UINT32_MAX; id = (uint64_t)row.a + 1) {
        STRATA_TRY(strata__rows_seek(txn, STRATA__POS, (struct strata__row){.a = (strata__id)id},
                                     &row, &found));
        if (found)
            STRATA_TRY(call(txn, row.a, user, &stop));
    }
    return STRATA_OK;
}

strata_status strata__is_predicate(struct strata__txn *txn, strata__id id, bool *is)
{
    struct strata__row row;
    return strata__store_seek(txn, STRATA__POS, (struct strata__row){.a = id}, &row, is);
}

/* Reading statements (rdf_read.h).
 *
 * serd reads one piece at a time (rdf_units.h): a piece in which anything is wrong gives no
 * statement, and reading goes on with the next.  serd is lenient in N-Triples; what it lets pass
 * there is refused here: several statements, what else Turtle has, a NUL. */
#include "rdf_read.h"

#include <ctype.h>
#include <serd/serd.h>
#include <stdio.h>
#include <string.h>

#include "memory.h"
#include "rdf_line.h"
#include "rdf_units.h"
#include "utf8.h"

/* Bytes of the terms of a piece: prefixes may be long, and are written short. */
#define TERMS_MOST ((size_t)256 << 20)

struct reader {
    const struct strata__rdf_sink *sink;
    SerdReader *serd;
    SerdEnv *names;             /* prefixes and base of Turtle; NULL: N-Triples */
    struct strata__bytes terms; /* of the piece's statements, encoded */
    struct strata__bytes ends;  /* size_t: where each of them ends in `terms` */
    size_t n_statements;
    strata_status status; /* no memory */
    bool refused;         /* and where and why, from the piece's first line on */
    uint64_t line, column;
    char reason[200];
};

static void refuse(struct reader *r, uint64_t line, uint64_t column, const char *reason)
{
    if (r->refused)
        return;
    r->refused = true;
    r->line = line;
    r->column = column;
    snprintf(r->reason, sizeof r->reason, "%s", reason);
}

static SerdStatus on_error(void *user, const SerdError *error)
{
    struct reader *r = user;
    char text[200], shown[200];
    va_list args;
    va_copy(args, *error->args);
    vsnprintf(text, sizeof text, error->fmt, args);
    va_end(args);
    text[strcspn(text, "\n")] = '\0';
    /* It may hold a character of the file. */
    refuse(r, error->line, error->col, strata__escape(shown, sizeof shown, text, strlen(text)));
    return SERD_SUCCESS;
}

/* ---- Terms ---- */

static bool is_utf8(const char *text, size_t size)
{
    for (size_t i = 0, n; i < size; i += n) {
        n = (unsigned char)text[i] < 0x80 ? 1 : strata__utf8_next(text + i, size - i, NULL);
        if (n == 0)
            return false;
    }
    return true;
}

/* RFC 3986, 3.1. */
static bool has_scheme(const char *iri, size_t size)
{
    size_t n = 0;
    while (n < size && (isalnum((unsigned char)iri[n]) ||
                        (n && (iri[n] == '+' || iri[n] == '-' || iri[n] == '.'))))
        n++;
    return n > 0 && n < size && iri[n] == ':' && isalpha((unsigned char)iri[0]);
}

/* No character in it that an IRI does not have (Turtle, IRIREF). */
static bool is_iri(const char *iri, size_t size)
{
    for (size_t i = 0; i < size; i++)
        switch (iri[i]) {
        case 0 ... 0x20:
        case '<':
        case '>':
        case '"':
        case '{':
        case '}':
        case '|':
        case '^':
        case '`':
        case '\\':
            return false;
        default:
            break;
        }
    return true;
}

/* A node as an IRI: appends it to r->terms. */
static void put_iri(struct reader *r, const SerdNode *node)
{
    const size_t start = r->terms.size;
    SerdChunk prefix = {0}, suffix = {0};
    SerdNode whole = SERD_NODE_NULL;
    if (node->type == SERD_CURIE && !r->names) {
        refuse(r, 1, 1, "a name with a prefix: N-Triples have whole IRIs, in < >");
        return;
    }
    if (node->type == SERD_CURIE) {
        if (serd_env_expand(r->names, node, &prefix, &suffix) != SERD_SUCCESS) {
            refuse(r, 1, 1, "a name whose prefix was not declared");
            return;
        }
    } else if (r->names && !has_scheme((const char *)node->buf, node->n_bytes)) {
        whole = serd_env_expand_node(r->names, node);
        prefix = (SerdChunk){whole.buf, whole.n_bytes};
    } else {
        prefix = (SerdChunk){node->buf, node->n_bytes};
    }
    if (r->status == STRATA_OK)
        r->status = strata__bytes_append(&r->terms, prefix.buf, prefix.len);
    if (r->status == STRATA_OK)
        r->status = strata__bytes_append(&r->terms, suffix.buf, suffix.len);
    serd_node_free(&whole);
    if (r->status != STRATA_OK)
        return;
    if (!has_scheme(r->terms.data + start, r->terms.size - start))
        refuse(r, 1, 1, "an IRI without a scheme, and no base to complete it with");
    if (!is_utf8(r->terms.data + start, r->terms.size - start))
        refuse(r, 1, 1, "an IRI with a character that is none (a surrogate)");
    if (!is_iri(r->terms.data + start, r->terms.size - start))
        refuse(r, 1, 1, "an IRI with a control character, a space or one of < > \" { } | ^ ` \\");
}

static void append(struct reader *r, const void *bytes, size_t size)
{
    if (r->status == STRATA_OK)
        r->status = strata__bytes_append(&r->terms, bytes, size);
}

/* No part of a tag is empty; serd has looked at the characters. */
static bool is_language(const char *tag, size_t size)
{
    size_t part = 0;
    for (size_t i = 0; i < size; i++) {
        if (tag[i] == '-' && part == 0)
            return false;
        part = tag[i] == '-' ? 0 : part + 1;
    }
    return part > 0;
}

static void put_literal(struct reader *r, const SerdNode *text, const SerdNode *datatype,
                        const SerdNode *language)
{
    static const char string[] = STRATA__XSD "string";
    const size_t start = r->terms.size;
    if (language && language->buf) {
        append(r, "G", 1);
        append(r, language->buf, language->n_bytes);
        append(r, "", 1);
        if (!is_language((const char *)language->buf, language->n_bytes))
            refuse(r, 1, 1, "a language tag with an empty part");
    } else if (datatype && datatype->buf) {
        append(r, "T", 1);
        put_iri(r, datatype);
        if (r->status == STRATA_OK && r->terms.size - start - 1 == sizeof string - 1 &&
            !memcmp(r->terms.data + start + 1, string, sizeof string - 1)) {
            r->terms.size = start;
            append(r, "S", 1);
        } else {
            append(r, "", 1);
        }
    } else {
        append(r, "S", 1);
    }
    append(r, text->buf, text->n_bytes);
    if (!is_utf8((const char *)text->buf, text->n_bytes))
        refuse(r, 1, 1, "a literal with a character that is none (a surrogate)");
}

static void put_term(struct reader *r, const SerdNode *node, const SerdNode *datatype,
                     const SerdNode *language)
{
    const size_t start = r->terms.size;
    if (node->type == SERD_BLANK) {
        append(r, "B", 1);
        append(r, node->buf, node->n_bytes);
        if (node->n_bytes && node->buf[0] == '-')
            refuse(r, 1, 1, "a blank node whose name begins with '-'");
    } else if (node->type == SERD_LITERAL) {
        put_literal(r, node, datatype, language);
    } else {
        append(r, "I", 1);
        put_iri(r, node);
    }
    if (r->terms.size - start > STRATA__TERM_MOST)
        refuse(r, 1, 1, "a term of more than 16 MiB");
    if (r->status == STRATA_OK)
        r->status = strata__bytes_append(&r->ends, &r->terms.size, sizeof r->terms.size);
}

static SerdStatus on_statement(void *user, SerdStatementFlags flags, const SerdNode *graph,
                               const SerdNode *subject, const SerdNode *predicate,
                               const SerdNode *object, const SerdNode *datatype,
                               const SerdNode *language)
{
    struct reader *r = user;
    (void)flags;
    (void)graph;
    if (r->refused || r->status != STRATA_OK)
        return SERD_SUCCESS;
    put_term(r, subject, NULL, NULL);
    put_term(r, predicate, NULL, NULL);
    put_term(r, object, datatype, language);
    r->n_statements++;
    if (r->terms.size > TERMS_MOST)
        refuse(r, 1, 1, "a statement that means more than 256 MiB of terms");
    return SERD_SUCCESS;
}

static SerdStatus on_base(void *user, const SerdNode *iri)
{
    struct reader *r = user;
    if (r->names && serd_env_set_base_uri(r->names, iri) != SERD_SUCCESS)
        refuse(r, 1, 1, "a base that is no IRI");
    return SERD_SUCCESS;
}

static SerdStatus on_prefix(void *user, const SerdNode *name, const SerdNode *iri)
{
    struct reader *r = user;
    if (r->names && serd_env_set_prefix(r->names, name, iri) != SERD_SUCCESS)
        refuse(r, 1, 1, "a prefix that is no IRI");
    return SERD_SUCCESS;
}

/* ---- Pieces ---- */

static bool is_blank(const char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    return !*text || *text == '#';
}

/* Behind a term of N-Triples, which serd has read, and spaces; NULL: Turtle. */
static const char *pass_term(const char *text, const char *kinds)
{
    if (!*text || !strchr(kinds, *text))
        return NULL;
    if (*text == '_') {
        size_t n = strcspn(text, " \t\r\n<\"#");
        while (text[n - 1] == '.')
            n--;
        return text + n + strspn(text + n, " \t");
    }
    if (*text == '"') {
        for (text++; *text && *text != '"'; text++)
            text += *text == '\\' && text[1];
        text += *text == '"';
        text += *text == '@' ? strcspn(text, " \t\r\n.<\"#") : 0;
        text += strncmp(text, "^^", 2) ? 0 : 2;
    }
    text += *text == '<' ? strcspn(text, ">") : 0;
    text += *text == '>';
    return text + strspn(text, " \t");
}

/* serd's N-Triples have more than the language: brackets as subjects, "a", ';' before the end. */
static bool is_triple(const char *text)
{
    text = pass_term(text + strspn(text, " \t"), "<_");
    text = text ? pass_term(text, "<") : NULL;
    text = text ? pass_term(text, "<_\"") : NULL;
    return text && *text == '.' && is_blank(text + 1);
}

static void read_piece(struct reader *r, const struct strata__rdf_unit *unit)
{
    r->terms.size = r->ends.size = r->n_statements = 0;
    r->refused = false;
    if (unit->too_long) {
        refuse(r, 1, 1, "longer than 64 MiB");
        return;
    }
    if (unit->too_deep) {
        refuse(r, 1, 1, "brackets are nested more than 500 deep");
        return;
    }
    if (unit->mixed) {
        refuse(r, 1, 1, "blank nodes _:b1 and _:B1 in one file: Turtle is read with one of these");
        return;
    }
    const char *nul = memchr(unit->text, '\0', unit->size);
    if (nul) {
        refuse(r, 1, (uint64_t)(nul - unit->text) + 1, "a NUL byte");
        return;
    }
    SerdStatus status = serd_reader_read_string(r->serd, (const uint8_t *)unit->text);
    if (status > SERD_FAILURE)
        refuse(r, 1, 1, (const char *)serd_strerror(status));
    if (r->names)
        return;
    if (!r->refused && r->n_statements != 1 && !is_blank(unit->text))
        refuse(r, 1, 1, "a line of N-Triples holds one statement");
    else if (!r->refused && r->n_statements == 1 && !is_triple(unit->text))
        refuse(r, 1, 1, "a statement as Turtle has it: N-Triples have three terms and a '.'");
    if (r->line > 1) { /* it was missed behind the line's end */
        r->line = 1;
        r->column = strcspn(unit->text, "\r\n") + 1;
    }
}

/* The term that ends where the i-th one does. */
static struct strata__term term_at(const struct reader *r, size_t i)
{
    size_t start = 0, end;
    struct strata__term term = {0};
    if (i)
        memcpy(&start, r->ends.data + (i - 1) * sizeof start, sizeof start);
    memcpy(&end, r->ends.data + i * sizeof end, sizeof end);
    strata__term_decode(r->terms.data + start, end - start, &term);
    return term;
}

static strata_status deliver(struct reader *r, const struct strata__rdf_unit *unit)
{
    const struct strata__rdf_sink *sink = r->sink;
    STRATA_TRY(r->status);
    if (r->refused)
        return sink->refused(sink->user, unit->line + (r->line ? r->line - 1 : 0), r->column,
                             r->reason);
    for (size_t i = 0; i < r->n_statements; i++) {
        struct strata__term terms[3] = {term_at(r, 3 * i), term_at(r, 3 * i + 1),
                                        term_at(r, 3 * i + 2)};
        STRATA_TRY(sink->statement(sink->user, terms));
    }
    return STRATA_OK;
}

/* ---- Files ---- */

static bool is_turtle(const char *path)
{
    size_t n = strlen(path);
    if (n > 3 && !strcmp(path + n - 3, ".gz"))
        n -= 3;
    else if (n > 4 && !strcmp(path + n - 4, ".zst"))
        n -= 4;
    return n > 4 && !memcmp(path + n - 4, ".ttl", 4);
}

static strata_status open_reader(struct reader *r, bool turtle)
{
    r->serd = serd_reader_new(turtle ? SERD_TURTLE : SERD_NTRIPLES, r, NULL, on_base, on_prefix,
                              on_statement, NULL);
    r->names = turtle ? serd_env_new(NULL) : NULL;
    if (!r->serd || (turtle && !r->names))
        return strata__fail(STRATA_E_NOMEM, "no memory to read RDF");
    serd_reader_set_strict(r->serd, true);
    serd_reader_set_error_sink(r->serd, on_error, r);
    return STRATA_OK;
}

static void close_reader(struct reader *r)
{
    serd_reader_free(r->serd);
    serd_env_free(r->names);
    strata__bytes_free(&r->terms);
    strata__bytes_free(&r->ends);
}

/* Plain lines need no serd.  Pieces that are passed over are read all the same in Turtle: prefixes,
 * and the numbers of blank nodes, come from them. */
static strata_status read_all(struct reader *r, struct strata__rdf_units *units, uint64_t skip)
{
    const struct strata__rdf_sink *sink = r->sink;
    struct strata__rdf_unit unit;
    struct strata__term terms[3];
    bool found;
    for (uint64_t n = 1;; n++) {
        STRATA_TRY(strata__rdf_units_next(units, &unit, &found));
        if (!found)
            return STRATA_OK;
        if (n <= skip && !r->names)
            continue;
        if (!r->names && !unit.too_long && strata__rdf_line(unit.text, unit.size, terms)) {
            STRATA_TRY(sink->statement(sink->user, terms));
        } else {
            read_piece(r, &unit);
            if (n <= skip)
                continue;
            STRATA_TRY(deliver(r, &unit));
        }
        STRATA_TRY(sink->unit(sink->user, n, strata__byte_source_done(units->source)));
    }
}

strata_status strata__rdf_read(const char *path, uint64_t skip, const struct strata__rdf_sink *sink)
{
    char shown[512];
    struct reader r = {.sink = sink};
    struct strata__rdf_units units = {.turtle = is_turtle(path), .line = 1};
    strata_status status;
    strata__escape(shown, sizeof shown, path, strlen(path));
    STRATA_TRY_DONE(strata__byte_source_open(&units.source, path, shown));
    STRATA_TRY_DONE(open_reader(&r, units.turtle));
    STRATA_TRY_DONE(read_all(&r, &units, skip));
done:
    close_reader(&r);
    strata__byte_source_close(&units.source);
    strata__bytes_free(&units.buffer);
    return status;
}

/* ---- One term ---- */

bool strata__rdf_is_iri(const char *text, size_t size)
{
    return has_scheme(text, size) && is_iri(text, size) && is_utf8(text, size);
}

strata_status strata__rdf_read_term(const char *text, size_t size, struct strata__bytes *out)
{
    static const char before[] = "<x:s> <x:p> ", after[] = " .";
    struct reader r = {0};
    struct strata__bytes line = {0};
    const char *term;
    strata_status status;
    STRATA_TRY_DONE(open_reader(&r, false));
    STRATA_TRY_DONE(strata__bytes_append(&line, before, sizeof before - 1));
    STRATA_TRY_DONE(strata__bytes_append(&line, text, size));
    STRATA_TRY_DONE(strata__bytes_append(&line, after, sizeof after));
    read_piece(&r, &(struct strata__rdf_unit){.text = line.data, .size = line.size - 1});
    STRATA_TRY_DONE(r.status);
    if (r.refused)
        STRATA_TRY_DONE(strata__fail(STRATA_E_INVALID, "%s", r.reason));
    term = line.data + sizeof before - 1;
    if (pass_term(term + strspn(term, " \t"), "<_\"") != line.data + line.size - 2)
        STRATA_TRY_DONE(strata__fail(STRATA_E_INVALID, "there is something behind the term"));
    size_t start;
    memcpy(&start, r.ends.data + sizeof start, sizeof start);
    status = strata__bytes_append(out, r.terms.data + start, r.terms.size - start);
done:
    close_reader(&r);
    strata__bytes_free(&line);
    return status;
}

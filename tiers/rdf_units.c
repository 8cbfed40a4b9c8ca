/* Cutting N-Triples and Turtle into pieces (rdf_units.h).
 *
 * A statement of Turtle ends with a '.' that is in no IRI, string or comment and is not inside a
 * number or name: one that follows '>', a quote or a bracket, or is followed by a character that
 * no name has.  In what is wrong, it ends where a line ends in an IRI or a short string, so that
 * reading goes on behind.  PREFIX and BASE end with their IRI.
 */
#include "rdf_units.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define READ ((size_t)256 << 10)

/* Bytes [at, at + n] are in the buffer, or the text ends before. */
static strata_status need(struct strata__rdf_units *units, size_t n, bool *there)
{
    struct strata__bytes *buffer = &units->buffer;
    while (!units->ended && buffer->size - units->at <= n) {
        if (units->at > READ) { /* a copy of what is left, for several pieces */
            buffer->size -= units->at;
            memmove(buffer->data, buffer->data + units->at, buffer->size);
            units->at = 0;
        }
        size_t got;
        STRATA_TRY(strata__bytes_reserve(buffer, READ + 1));
        STRATA_TRY(
            strata__byte_source_read(units->source, buffer->data + buffer->size, READ, &got));
        buffer->size += got;
        units->ended = got == 0;
    }
    *there = buffer->size - units->at > n;
    return STRATA_OK;
}

/* ---- Lines ---- */

static strata_status line_end(struct strata__rdf_units *units, size_t *size)
{
    size_t n = 0;
    for (bool there = true; there;) {
        const char *start = units->buffer.data + units->at;
        const size_t have = units->buffer.size - units->at;
        const char *end = have > n ? memchr(start + n, '\n', have - n) : NULL;
        if (end) {
            *size = (size_t)(end - start) + 1;
            return STRATA_OK;
        }
        n = have;
        if (n > STRATA__UNIT_MOST)
            break;
        STRATA_TRY(need(units, n, &there));
    }
    *size = n;
    return STRATA_OK;
}

/* ---- Statements ---- */

/* Reads a statement character by character. */
struct scan {
    struct strata__rdf_units *units;
    size_t n; /* characters of it so far */
    strata_status status;
};

/* The character `ahead` places on; '\0' at the end, or after an error. */
static char peek(struct scan *scan, size_t ahead)
{
    struct strata__rdf_units *units = scan->units;
    const size_t n = scan->n + ahead;
    bool there = units->buffer.size - units->at > n;
    if (!there && scan->status == STRATA_OK)
        scan->status = need(units, n, &there);
    return there ? units->buffer.data[units->at + n] : '\0';
}

static bool at_end(struct scan *scan)
{
    peek(scan, 0);
    return scan->status != STRATA_OK || scan->n > STRATA__UNIT_MOST ||
           scan->units->buffer.size - scan->units->at <= scan->n;
}

/* To behind `>`; false when the line ends first. */
static bool pass_iri(struct scan *scan)
{
    for (; !at_end(scan); scan->n++) {
        if (peek(scan, 0) == '\n')
            return false;
        if (peek(scan, 0) == '>') {
            scan->n++;
            return true;
        }
    }
    return false;
}

/* To behind the quotes that end a string; false when a short one's line ends first. */
static bool pass_string(struct scan *scan, char quote)
{
    const bool is_long = peek(scan, 0) == quote && peek(scan, 1) == quote;
    if (peek(scan, 0) == quote && !is_long) { /* an empty one */
        scan->n++;
        return true;
    }
    for (scan->n += is_long ? 2 : 0; !at_end(scan); scan->n++) {
        char c = peek(scan, 0);
        if (c == '\\')
            scan->n++;
        else if (c == '\n' && !is_long)
            return false;
        else if (c == quote && (!is_long || (peek(scan, 1) == quote && peek(scan, 2) == quote))) {
            scan->n += is_long ? 3 : 1;
            return true;
        }
    }
    return false;
}

static void pass_line(struct scan *scan)
{
    while (!at_end(scan) && peek(scan, 0) != '\n')
        scan->n++;
}

/* What may stand behind a '.' in a name or number. */
static bool goes_on(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80 || (c && strchr("_-%\\:.", c));
}

static bool starts_with(struct scan *scan, const char *word)
{
    size_t n = 0;
    while (word[n] && tolower((unsigned char)peek(scan, n)) == word[n])
        n++;
    return !word[n] && isspace((unsigned char)peek(scan, n));
}

/* Passes over what lies between statements. */
static strata_status pass_between(struct strata__rdf_units *units)
{
    struct scan scan = {.units = units};
    while (!at_end(&scan)) {
        char c = peek(&scan, 0);
        if (c == '#')
            pass_line(&scan);
        else if (!isspace((unsigned char)c))
            break;
        else
            scan.n++;
        units->line += c == '\n';
        units->at += scan.n;
        scan.n = 0;
    }
    return scan.status;
}

static strata_status statement_end(struct strata__rdf_units *units, size_t *size)
{
    struct scan scan = {.units = units};
    const bool directive = starts_with(&scan, "prefix") || starts_with(&scan, "base");
    char before = '\0';
    for (bool whole = true; whole && !at_end(&scan);) {
        char c = peek(&scan, 0);
        scan.n++;
        if (c == '<')
            whole = pass_iri(&scan) && !directive;
        else if (c == '"' || c == '\'')
            whole = pass_string(&scan, c);
        else if (c == '#')
            pass_line(&scan);
        else if (c == '\\')
            scan.n++;
        else if (c == '.')
            whole = !(strchr(">\"'])", before) || !goes_on(peek(&scan, 0)));
        before = c == '<' ? '>' : c;
    }
    *size = scan.n;
    return scan.status;
}

strata_status strata__rdf_units_next(struct strata__rdf_units *units, struct strata__rdf_unit *unit,
                                     bool *found)
{
    size_t size;
    if (units->cut)
        *units->cut = units->kept;
    units->cut = NULL;
    if (units->turtle)
        STRATA_TRY(pass_between(units));
    *unit = (struct strata__rdf_unit){.line = units->line};
    STRATA_TRY(units->turtle ? statement_end(units, &size) : line_end(units, &size));
    const size_t have = units->buffer.size - units->at;
    size = size < have ? size : have;
    *found = size > 0;
    if (size == 0)
        return STRATA_OK;
    char *text = units->buffer.data + units->at;
    for (const char *c = text; (c = memchr(c, '\n', (size_t)(text + size - c))); c++)
        units->line++;
    units->at += size;
    unit->too_long = size > STRATA__UNIT_MOST;
    if (unit->too_long)
        return STRATA_OK;
    unit->text = text;
    unit->size = size;
    units->cut = text + size; /* need() keeps a byte free behind the buffer's last */
    units->kept = *units->cut;
    *units->cut = '\0';
    return STRATA_OK;
}

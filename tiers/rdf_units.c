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
        STRATA_TRY(strata__bytes_reserve(buffer, READ + 2));
        STRATA_TRY(
            strata__byte_source_read(units->source, buffer->data + buffer->size, READ, &got));
        buffer->size += got;
        units->ended = got == 0;
    }
    *there = buffer->size - units->at > n;
    return STRATA_OK;
}

/* Goes on behind the next n bytes, of which lines are counted. */
static void pass(struct strata__rdf_units *units, size_t n)
{
    const char *c = units->buffer.data + units->at, *const end = c + n;
    while (c < end && (c = memchr(c, '\n', (size_t)(end - c)))) {
        units->line++;
        c++;
    }
    units->at += n;
}

/* U+FEFF at the beginning is no text (Unicode 15.0, 23.8). */
static strata_status pass_mark(struct strata__rdf_units *units)
{
    bool there;
    STRATA_TRY(need(units, 2, &there));
    if (there && !memcmp(units->buffer.data, "\xef\xbb\xbf", 3))
        units->at = 3;
    units->begun = true;
    return STRATA_OK;
}

/* ---- Lines ---- */

static strata_status line_end(struct strata__rdf_units *units, struct strata__rdf_unit *unit)
{
    for (bool there = true; there;) {
        const size_t n = unit->size, have = units->buffer.size - units->at;
        const char *start = have > n ? units->buffer.data + units->at : NULL;
        const char *end = start ? memchr(start + n, '\n', have - n) : NULL;
        unit->size = end ? (size_t)(end - start) + 1 : have;
        if (end)
            break;
        if (unit->size > STRATA__UNIT_MOST) {
            unit->too_long = true;
            pass(units, unit->size);
            unit->size = 0;
        }
        STRATA_TRY(need(units, unit->size, &there));
    }
    return STRATA_OK;
}

/* ---- Statements ---- */

/* Reads a statement character by character. */
struct scan {
    struct strata__rdf_units *units;
    size_t n; /* characters of it so far, since the last that were let go */
    bool too_long;
    size_t depth, deepest; /* brackets that are open, and were */
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

/* What is too long is let go of on the way. */
static bool at_end(struct scan *scan)
{
    struct strata__rdf_units *units = scan->units;
    peek(scan, 0);
    if (scan->status != STRATA_OK || units->buffer.size - units->at <= scan->n)
        return true;
    if (scan->n > STRATA__UNIT_MOST) {
        scan->too_long = true;
        pass(units, scan->n);
        scan->n = 0;
    }
    return false;
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
    while (!at_end(scan) && peek(scan, 0) != '\n' && peek(scan, 0) != '\r')
        scan->n++;
}

/* What may stand behind a '.' in a name or number. */
static bool goes_on(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80 || (c && strchr("_-%\\:.", c));
}

/* Whether a '.' between these ends a statement: a number may begin with one, and have one before
 * digits or an exponent. */
static bool ends(char before, char after, bool number)
{
    if (isdigit((unsigned char)after) && (number || strchr(">\"'])", before)))
        return false;
    return strchr(">\"'])", before) || !goes_on(after) || (number && after != 'e' && after != 'E');
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
        pass(units, scan.n);
        scan.n = 0;
    }
    return scan.status;
}

/* serd reads _:b1 as _:B1, as its own names begin with b, and refuses _:B1 then, but not before. */
static void look_at_blank(struct scan *scan, struct strata__rdf_unit *unit)
{
    if (!isdigit((unsigned char)peek(scan, 2)))
        return;
    unit->mixed = unit->mixed || (scan->units->capital && peek(scan, 1) == 'b');
    scan->units->capital = scan->units->capital || peek(scan, 1) == 'B';
}

static strata_status statement_end(struct strata__rdf_units *units, struct strata__rdf_unit *unit)
{
    struct scan scan = {.units = units};
    const bool directive = starts_with(&scan, "prefix") || starts_with(&scan, "base");
    char before = '\0';
    bool digits = false, in_name = false; /* the word so far is digits; or is one at all */
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
        else if (c == '_' && !in_name && peek(&scan, 0) == ':')
            look_at_blank(&scan, unit);
        else if (c == '[' || c == '(')
            scan.deepest = ++scan.depth > scan.deepest ? scan.depth : scan.deepest;
        else if (c == ']' || c == ')')
            scan.depth -= scan.depth > 0;
        else if (c == '.')
            whole = !ends(before, peek(&scan, 0), digits);
        before = c == '<' ? '>' : c;
        digits = isdigit((unsigned char)c) && (digits || !in_name);
        in_name = !isspace((unsigned char)c) && !strchr("<>\"'[](),;+-", c);
    }
    unit->size = scan.n;
    unit->too_long = scan.too_long;
    unit->too_deep = scan.deepest > STRATA__UNIT_DEPTH;
    return scan.status;
}

strata_status strata__rdf_units_next(struct strata__rdf_units *units, struct strata__rdf_unit *unit,
                                     bool *found)
{
    if (units->cut)
        memcpy(units->cut, units->kept, sizeof units->kept);
    units->cut = NULL;
    if (!units->begun)
        STRATA_TRY(pass_mark(units));
    if (units->turtle)
        STRATA_TRY(pass_between(units));
    *unit = (struct strata__rdf_unit){.line = units->line};
    STRATA_TRY((units->turtle ? statement_end : line_end)(units, unit));
    const size_t have = units->buffer.size - units->at;
    unit->size = unit->size < have ? unit->size : have;
    unit->too_long = unit->too_long || unit->size > STRATA__UNIT_MOST;
    *found = unit->size > 0 || unit->too_long;
    if (!*found)
        return STRATA_OK;
    char *text = units->buffer.data + units->at;
    pass(units, unit->size);
    if (unit->too_long)
        return STRATA_OK;
    unit->text = text;
    units->cut = text + unit->size; /* need() keeps two bytes free behind the buffer's last */
    memcpy(units->kept, units->cut, sizeof units->kept);
    if (units->turtle && unit->size > 1 && units->cut[-1] == '.' &&
        isdigit((unsigned char)units->cut[-2])) {
        units->cut[-1] = ' '; /* serd 0.30 takes "1." for a string */
        units->cut[0] = '.';
        unit->size++;
    }
    text[unit->size] = '\0';
    return STRATA_OK;
}

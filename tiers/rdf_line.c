/* Reading plain lines of N-Triples (rdf_line.h; W3C 2014, grammar). */
#include "rdf_line.h"

#include <string.h>

#include "utf8.h"

/* Where a byte may stand. */
enum { IRI = 1, TEXT = 2, ALPHA = 4, ALNUM = 8, SCHEME = 16, HIGH = 32 };
#define MARK (IRI | TEXT)
#define DIGIT (IRI | TEXT | ALNUM | SCHEME)
#define LETTER (IRI | TEXT | ALPHA | ALNUM | SCHEME)

static const unsigned char classes[256] = {
    [' '] = TEXT,          ['!'] = MARK,           ['#' ... '*'] = MARK,
    ['+'] = MARK | SCHEME, [','] = MARK,           ['-' ... '.'] = MARK | SCHEME,
    ['/'] = MARK,          ['0' ... '9'] = DIGIT,  [':' ... ';'] = MARK,
    ['<'] = TEXT,          ['='] = MARK,           ['>'] = TEXT,
    ['?' ... '@'] = MARK,  ['A' ... 'Z'] = LETTER, ['['] = MARK,
    [']'] = MARK,          ['^'] = TEXT,           ['_'] = MARK,
    ['`'] = TEXT,          ['a' ... 'z'] = LETTER, ['{' ... '}'] = TEXT,
    ['~'] = MARK,          [0x80 ... 0xff] = HIGH,
};

struct line {
    const char *at, *end;
};

static unsigned class_of(const struct line *line)
{
    return line->at < line->end ? classes[(unsigned char)*line->at] : 0;
}

static bool take_char(struct line *line, char c)
{
    const bool is = line->at < line->end && *line->at == c;
    line->at += is;
    return is;
}

/* Passes over characters of a class; false where bytes are no UTF-8. */
static bool pass(struct line *line, unsigned class)
{
    for (;;) {
        const unsigned is = class_of(line);
        size_t n = 1;
        if (is == HIGH)
            n = strata__utf8_next(line->at, (size_t)(line->end - line->at), NULL);
        else if (!(is & class))
            return true;
        if (n == 0)
            return false;
        line->at += n;
    }
}

static bool spaces(struct line *line)
{
    const char *start = line->at;
    while (line->at < line->end && (*line->at == ' ' || *line->at == '\t'))
        line->at++;
    return line->at > start;
}

static bool iri(struct line *line, const char **text, size_t *size)
{
    if (!take_char(line, '<') || !(class_of(line) & ALPHA))
        return false;
    *text = line->at;
    while (class_of(line) & SCHEME)
        line->at++;
    if (!take_char(line, ':') || !pass(line, IRI))
        return false;
    *size = (size_t)(line->at - *text);
    return take_char(line, '>');
}

static bool language(struct line *line, struct strata__term *term)
{
    term->tag = line->at;
    for (unsigned class = ALPHA;; class = ALNUM) {
        if (!(class_of(line) & class))
            return false;
        while (class_of(line) & class)
            line->at++;
        if (!take_char(line, '-'))
            break;
    }
    term->kind = 'G';
    term->tag_size = (size_t)(line->at - term->tag);
    return true;
}

static bool literal(struct line *line, struct strata__term *term)
{
    static const char string[] = STRATA__XSD "string";
    *term = (struct strata__term){.kind = 'S', .text = ++line->at};
    if (!pass(line, TEXT))
        return false;
    term->size = (size_t)(line->at - term->text);
    if (!take_char(line, '"'))
        return false;
    if (take_char(line, '@'))
        return language(line, term);
    if (!take_char(line, '^'))
        return true;
    if (!take_char(line, '^') || !iri(line, &term->tag, &term->tag_size))
        return false;
    term->kind = 'T';
    if (term->tag_size == sizeof string - 1 && !memcmp(term->tag, string, sizeof string - 1))
        *term = (struct strata__term){.kind = 'S', .text = term->text, .size = term->size};
    return true;
}

bool strata__rdf_line(const char *text, size_t size, struct strata__term terms[3])
{
    struct line line = {text, text + size};
    for (int i = 0; i < 3; i++) {
        struct strata__term *term = &terms[i];
        *term = (struct strata__term){.kind = 'I'};
        const bool quoted = i == 2 && line.at < line.end && *line.at == '"';
        if (!(quoted ? literal(&line, term) : iri(&line, &term->text, &term->size)) ||
            !spaces(&line) || term->size + term->tag_size + 2 > STRATA__TERM_MOST)
            return false;
    }
    if (!take_char(&line, '.'))
        return false;
    take_char(&line, '\r');
    return line.at == line.end || (*line.at == '\n' && line.at + 1 == line.end);
}

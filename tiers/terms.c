/* Terms as bytes and as N-Triples (terms.h). */
#include "terms.h"

#include <stdio.h>
#include <string.h>

bool strata__term_is_literal(const struct strata__term *term)
{
    return term->kind != 'I' && term->kind != 'B';
}

static bool is_tagged(char kind)
{
    return kind == 'G' || kind == 'T';
}

strata_status strata__term_encode(const struct strata__term *term, struct strata__bytes *out)
{
    STRATA_TRY(strata__bytes_reserve(out, term->size + term->tag_size + 2));
    char *to = out->data + out->size;
    *to++ = term->kind;
    if (is_tagged(term->kind)) {
        memcpy(to, term->tag, term->tag_size);
        to += term->tag_size;
        *to++ = '\0';
    }
    if (term->size)
        memcpy(to, term->text, term->size);
    out->size = (size_t)(to + term->size - out->data);
    return STRATA_OK;
}

bool strata__term_decode(const char *bytes, size_t size, struct strata__term *out)
{
    if (size == 0 || !memchr("IBSGT", bytes[0], 5))
        return false;
    *out = (struct strata__term){.kind = bytes[0], .text = bytes + 1, .size = size - 1};
    if (!is_tagged(out->kind))
        return true;
    const char *end = memchr(out->text, '\0', out->size);
    if (!end)
        return false;
    out->tag = out->text;
    out->tag_size = (size_t)(end - out->text);
    out->text = end + 1;
    out->size -= out->tag_size + 1;
    return true;
}

/* A text between quotes: the escapes of canonical N-Triples. */
static strata_status write_escaped(const char *text, size_t size, struct strata__bytes *out)
{
    static const char letters[] = "\b\t\n\f\r\"\\", escapes[] = "btnfr\"\\";
    size_t done = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
            continue;
        STRATA_TRY(strata__bytes_append(out, text + done, i - done));
        done = i + 1;
        const char *letter = c ? strchr(letters, c) : NULL;
        char escape[8];
        int n = letter ? snprintf(escape, sizeof escape, "\\%c", escapes[letter - letters])
                       : snprintf(escape, sizeof escape, "\\u%04X", c);
        STRATA_TRY(strata__bytes_append(out, escape, (size_t)n));
    }
    return strata__bytes_append(out, text + done, size - done);
}

static strata_status write_iri(const char *text, size_t size, struct strata__bytes *out)
{
    STRATA_TRY(strata__bytes_append(out, "<", 1));
    STRATA_TRY(strata__bytes_append(out, text, size));
    return strata__bytes_append(out, ">", 1);
}

strata_status strata__term_write(const struct strata__term *term, struct strata__bytes *out)
{
    if (term->kind == 'I')
        return write_iri(term->text, term->size, out);
    if (term->kind == 'B') {
        STRATA_TRY(strata__bytes_append(out, "_:", 2));
        return strata__bytes_append(out, term->text, term->size);
    }
    STRATA_TRY(strata__bytes_append(out, "\"", 1));
    STRATA_TRY(write_escaped(term->text, term->size, out));
    STRATA_TRY(strata__bytes_append(out, "\"", 1));
    if (term->kind == 'G') {
        STRATA_TRY(strata__bytes_append(out, "@", 1));
        return strata__bytes_append(out, term->tag, term->tag_size);
    }
    if (term->kind == 'T') {
        STRATA_TRY(strata__bytes_append(out, "^^", 2));
        return write_iri(term->tag, term->tag_size, out);
    }
    return STRATA_OK;
}

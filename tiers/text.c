/* Bytes that grow, and the folding of names (text.h). */
#include "text.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "checked.h"
#include "memory.h"

strata_status strata__bytes_reserve(struct strata__bytes *bytes, size_t n)
{
    uint64_t wanted;
    if (!strata__add_u64(bytes->size, n, &wanted) || wanted > SIZE_MAX / 2)
        return strata__fail(STRATA_E_NOMEM, "a text of more than 2^63 bytes");
    if (wanted <= bytes->capacity)
        return STRATA_OK;
    size_t capacity = bytes->capacity ? bytes->capacity : 256;
    while (capacity < wanted)
        capacity *= 2;
    STRATA_TRY(strata__resize(&bytes->data, capacity, 1, "a text"));
    bytes->capacity = capacity;
    return STRATA_OK;
}

strata_status strata__bytes_append(struct strata__bytes *bytes, const void *from, size_t n)
{
    STRATA_TRY(strata__bytes_reserve(bytes, n));
    if (n)
        memcpy(bytes->data + bytes->size, from, n);
    bytes->size += n;
    return STRATA_OK;
}

void strata__bytes_free(struct strata__bytes *bytes)
{
    strata__free(bytes->data);
    *bytes = (struct strata__bytes){0};
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Appends without spaces at the ends or after another one; the bytes of a character above U+007F
 * are none of these. */
static strata_status append_spaced(const char *text, size_t size, bool lower,
                                   struct strata__bytes *out)
{
    STRATA_TRY(strata__bytes_reserve(out, size));
    char *to = out->data + out->size, *start = to;
    bool space = false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (is_space(c)) {
            space = to > start;
            continue;
        }
        if (space)
            *to++ = ' ';
        space = false;
        *to++ = lower && c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
    }
    out->size += (size_t)(to - start);
    return STRATA_OK;
}

strata_status strata__fold_name(const char *text, size_t size, struct strata__bytes *out)
{
    size_t ascii = 0;
    while (ascii < size && (unsigned char)text[ascii] < 0x80)
        ascii++;
    if (ascii == size)
        return append_spaced(text, size, true, out);
    utf8proc_uint8_t *folded = NULL;
    utf8proc_ssize_t length = utf8proc_map(
        (const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size, &folded,
        UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE);
    if (length == UTF8PROC_ERROR_NOMEM)
        return strata__fail(STRATA_E_NOMEM, "no memory to fold a name of %zu bytes", size);
    strata_status status = length < 0 ? append_spaced(text, size, true, out)
                                      : append_spaced((char *)folded, (size_t)length, false, out);
    free(folded);
    return status;
}

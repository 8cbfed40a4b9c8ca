/* UTF-8 decoding after table 3-7 of the Unicode standard. */
#include "utf8.h"

#include <stdbool.h>

#include "strata.h"

/* Length that the lead byte announces, and the range of the second byte; 0 when it cannot lead. */
static size_t lead(unsigned char c, unsigned char *low, unsigned char *high)
{
    *low = 0x80, *high = 0xbf;
    if (c < 0x80)
        return 1;
    if (c >= 0xc2 && c <= 0xdf)
        return 2;
    if ((c & 0xf0) == 0xe0) {
        if (c == 0xe0)
            *low = 0xa0;
        if (c == 0xed)
            *high = 0x9f;
        return 3;
    }
    if (c >= 0xf0 && c <= 0xf4) {
        if (c == 0xf0)
            *low = 0x90;
        if (c == 0xf4)
            *high = 0x8f;
        return 4;
    }
    return 0;
}

/* Bytes from text[0] on that are a character or its beginning; *need is the length announced. */
static size_t valid_prefix(const char *text, size_t size, size_t *need)
{
    unsigned char low, high;
    *need = size ? lead((unsigned char)text[0], &low, &high) : 0;
    if (*need == 0)
        return 0;
    size_t n = 1;
    for (; n < *need && n < size; n++) {
        unsigned char c = (unsigned char)text[n];
        if (c < low || c > high)
            break;
        low = 0x80, high = 0xbf;
    }
    return n;
}

size_t strata__utf8_next(const char *text, size_t size, uint32_t *code)
{
    size_t need, n = valid_prefix(text, size, &need);
    if (need == 0 || n < need)
        return 0;
    if (code) {
        static const unsigned char mask[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
        uint32_t value = (unsigned char)text[0] & mask[need];
        for (size_t i = 1; i < need; i++)
            value = value << 6 | ((unsigned char)text[i] & 0x3f);
        *code = value;
    }
    return need;
}

size_t strata__utf8_invalid(const char *text, size_t size)
{
    size_t need, n = valid_prefix(text, size, &need);
    return n ? n : 1;
}

size_t strata__utf8_complete(const char *text, size_t size)
{
    size_t back = size < 3 ? size : 3;
    for (size_t i = 1; i <= back; i++) {
        size_t need, n = valid_prefix(text + size - i, i, &need);
        if (need > i && n == i)
            return size - i;
    }
    return size;
}

size_t strata__utf8_put(char *out, uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    static const unsigned char mark[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(mark[n] | code);
    return n;
}

size_t strata_utf8_repair(const char *text, size_t size, char *out, size_t capacity)
{
    size_t full = 0;
    for (size_t i = 0; i < size;) {
        size_t n = strata__utf8_next(text + i, size - i, NULL);
        const char *from = n ? text + i : "\xef\xbf\xbd";
        size_t bytes = n ? n : 3;
        for (size_t b = 0; b < bytes; b++, full++)
            if (full < capacity)
                out[full] = from[b];
        i += n ? n : strata__utf8_invalid(text + i, size - i);
    }
    return full;
}

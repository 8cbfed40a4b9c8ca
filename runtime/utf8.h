/* UTF-8 as Unicode defines it (no surrogates, nothing above U+10FFFF, shortest form only). */
#ifndef STRATA_UTF8_H
#define STRATA_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Length (1..4) of the valid character that begins at text[0], storing its code point when `code`
 * is not NULL; 0 when none begins there (also when it is cut off by `size`). */
size_t strata__utf8_next(const char *text, size_t size, uint32_t *code);

/* Bytes (1..3) of the maximal invalid subpart at text[0] where strata__utf8_next gave 0 (size > 0):
 * the piece that Unicode's recommended practice replaces by one U+FFFD (Unicode 15, section 3.9,
 * table 3-8). */
size_t strata__utf8_invalid(const char *text, size_t size);

/* The largest n <= size such that text[0..n) does not end inside a character that more bytes could
 * complete. */
size_t strata__utf8_complete(const char *text, size_t size);

/* Bytes of the UTF-8 form of `code` stored in out[0..4). */
size_t strata__utf8_put(char *out, uint32_t code);

#endif

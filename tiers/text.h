/* Bytes that grow. */
#ifndef STRATA_TEXT_H
#define STRATA_TEXT_H

#include <stddef.h>

#include "status.h"

/* Zeroed: empty.  `data` is not terminated, and moves when it grows. */
struct strata__bytes {
    char *data;
    size_t size, capacity;
};

/* Appends n bytes, which do not lie in `bytes`.  E_NOMEM or E_BUDGET: as it was. */
strata_status strata__bytes_append(struct strata__bytes *bytes, const void *from, size_t n);

/* Room for n more bytes behind `size`. */
strata_status strata__bytes_reserve(struct strata__bytes *bytes, size_t n);

/* Frees; `bytes` is empty then. */
void strata__bytes_free(struct strata__bytes *bytes);

/* How names are compared: Unicode NFKC with case folding (UAX 15; utf8proc's NFKC_Casefold, which
 * also drops what is ignorable), spaces at both ends removed, others made into one.  Appends the
 * form of text[0..size) to `out`; what is no UTF-8 is kept as it is.  E_NOMEM. */
strata_status strata__fold_name(const char *text, size_t size, struct strata__bytes *out);

#endif

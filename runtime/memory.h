/* Every allocation of the library goes through here, so that faults can be injected and memory
 * accounted: blocks of STRATA__COUNTED_BYTES or more are charged to the scope of the thread
 * (ledger.h), and E_BUDGET when they do not fit its budget, after collecting. */
#ifndef STRATA_MEMORY_H
#define STRATA_MEMORY_H

#include <stddef.h>

#include "status.h"

/* Zeroed memory for count objects of `size` bytes, aligned to 16.  *out is NULL and STRATA_E_NOMEM
 * (with the byte count in the message) on failure or overflow; count or size 0 gives a valid
 * pointer.  `what` names it in messages and in the ledger.  The caller frees with strata__free. */
strata_status strata__calloc(void *out, size_t count, size_t size, const char *what);

/* Resizes *pointer (NULL allowed) to count objects of `size` bytes; new bytes are unspecified.  On
 * failure *pointer is unchanged. */
strata_status strata__resize(void *pointer, size_t count, size_t size, const char *what);

/* The same as strata__calloc, aligned to 64 and not zeroed: buffers for kernels. */
strata_status strata__alloc_aligned(void *out, size_t bytes, const char *what);

/* Frees memory of any of the above; NULL is allowed. */
void strata__free(void *memory);

#endif

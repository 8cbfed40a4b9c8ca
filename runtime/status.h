/* How a function of the runtime fails: a status code, and a sentence for this thread's
 * strata_last_error(). */
#ifndef STRATA_STATUS_H
#define STRATA_STATUS_H

#include <stdarg.h>

#include "strata.h"

/* Formats the message of this thread's last error (at most 1023 bytes, cut at a UTF-8 boundary) and
 * returns `status`. */
strata_status strata__fail(strata_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The same for STRATA_E_BUDGET, which it returns, with the numbers of strata_last_budget. */
strata_status strata__fail_budget(uint64_t requested, uint64_t available, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same as strata__fail with ": strerror(errno_value)" appended. */
strata_status strata__fail_errno(strata_status status, int errno_value, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Gives the log function one line (at most 1023 bytes); does nothing when it is NULL. */
void strata__log(strata_log_fn *log, void *user, strata_log_level level, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void strata__vlog(strata_log_fn *log, void *user, strata_log_level level, const char *format,
                  va_list args) __attribute__((format(printf, 4, 0)));

/* Writes bytes [0, size) of `text` into `out` (capacity `cap` > 0, always terminated) for use in a
 * message: control bytes and bytes that are not UTF-8 as \xNN, cut with "..." when it does not fit.
 * Returns out. */
const char *strata__escape(char *out, size_t cap, const char *text, size_t size);

/* Returns from the calling function with the status when it is not STRATA_OK; the first message
 * stays. */
#define STRATA_TRY(call)                \
    do {                                \
        strata_status status_ = (call); \
        if (status_ != STRATA_OK)       \
            return status_;             \
    } while (0)

/* The same for functions with a cleanup label: needs `strata_status status` in scope and a label
 * `done`. */
#define STRATA_TRY_DONE(call)    \
    do {                         \
        status = (call);         \
        if (status != STRATA_OK) \
            goto done;           \
    } while (0)

#endif

/* Error messages: one buffer a thread. */
#include "status.h"

#include <stdio.h>
#include <string.h>

#include "utf8.h"

static _Thread_local char last_error[1024];
static _Thread_local uint64_t last_requested, last_available;

const char *strata_status_text(strata_status status)
{
    switch (status) {
#define X(name, value, text) \
    case STRATA_##name:      \
        return text;
        STRATA_STATUS_LIST(X)
#undef X
    }
    return "unknown status";
}

const char *strata_last_error(void)
{
    return last_error;
}

static void store(const char *errno_text, const char *format, va_list args)
{
    char text[sizeof last_error];
    int n = vsnprintf(text, sizeof text, format, args);
    size_t size = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    if (errno_text)
        n = snprintf(text + size, sizeof text - size, ": %s", errno_text);
    size = strlen(text);
    size = strata__utf8_complete(text, size);
    memcpy(last_error, text, size);
    last_error[size] = 0;
}

strata_status strata__fail(strata_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    store(NULL, format, args);
    va_end(args);
    return status;
}

strata_status strata__fail_budget(uint64_t requested, uint64_t available, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    store(NULL, format, args);
    va_end(args);
    last_requested = requested;
    last_available = available;
    return STRATA_E_BUDGET;
}

void strata_last_budget(uint64_t *requested, uint64_t *available)
{
    *requested = last_requested;
    *available = last_available;
}

strata_status strata__fail_errno(strata_status status, int errno_value, const char *format, ...)
{
    char buffer[128];
    va_list args;
    va_start(args, format);
    store(strerror_r(errno_value, buffer, sizeof buffer), format, args);
    va_end(args);
    return status;
}

const char *strata__escape(char *out, size_t cap, const char *text, size_t size)
{
    size_t at = 0;
    for (size_t i = 0; i < size;) {
        size_t n = strata__utf8_next(text + i, size - i, NULL);
        unsigned char c = (unsigned char)text[i];
        bool plain = n > 0 && c >= 0x20 && c != 0x7f;
        size_t need = plain ? n : 4;
        if (at + need + 4 > cap) {
            if (cap >= 4) {
                memcpy(out + at, "...", 4);
                return out;
            }
            break;
        }
        if (plain)
            memcpy(out + at, text + i, n);
        else
            snprintf(out + at, 5, "\\x%02x", c);
        at += need;
        i += n ? n : 1;
    }
    out[at < cap ? at : cap - 1] = 0;
    return out;
}

void strata__vlog(strata_log_fn *log, void *user, strata_log_level level, const char *format,
                  va_list args)
{
    char line[1024];
    if (!log)
        return;
    vsnprintf(line, sizeof line, format, args);
    log(user, level, line);
}

void strata__log(strata_log_fn *log, void *user, strata_log_level level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    strata__vlog(log, user, level, format, args);
    va_end(args);
}

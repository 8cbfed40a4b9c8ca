/* The clock of deadlines. */
#ifndef STRATA_DEADLINE_H
#define STRATA_DEADLINE_H

#include <time.h>

/* Milliseconds of CLOCK_MONOTONIC. */
static inline double strata__now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

#endif

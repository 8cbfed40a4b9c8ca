/* Allocations of a shared library that fail. */
#ifndef LIBRARY_MEMORY_H
#define LIBRARY_MEMORY_H

#include <stdbool.h>

/* The n-th allocation (from 1) of the library that has the function, and with `later` all after it,
 * fails from now on; 0: none does.  Where sanitizers have allocations in their own hands this does
 * nothing, and library_memory_works says so. */
void library_memory_arm(const void *function, unsigned n, bool later);
unsigned library_memory_count(void); /* allocations since then */
bool library_memory_works(void);

#endif

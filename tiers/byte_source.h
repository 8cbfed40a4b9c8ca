/* The bytes of a file, decompressed. */
#ifndef STRATA_BYTE_SOURCE_H
#define STRATA_BYTE_SOURCE_H

#include "status.h"

struct strata__byte_source;

/* A plain file; gzip (RFC 1952) and zstd (RFC 8878) are known by their first bytes.  E_IO: it
 * cannot be opened, or is no plain file; E_NOMEM. */
strata_status strata__byte_source_open(struct strata__byte_source **out, const char *path,
                                       const char *shown);
void strata__byte_source_close(struct strata__byte_source **source);

/* Up to `capacity` (> 0) further bytes; *size is 0 at the end.  E_IO; E_FORMAT: the compressed data
 * are damaged, or end early. */
strata_status strata__byte_source_read(struct strata__byte_source *source, char *out,
                                       size_t capacity, size_t *size);

/* How many bytes of the file were read. */
uint64_t strata__byte_source_done(const struct strata__byte_source *source);

#endif

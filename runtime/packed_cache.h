/* Packed weights on disk: one file a model in the folder packed/ of strata's home.
 *
 * A file is a header, a table of matrices, and the panels as they lie in memory, so that it is used
 * by mapping it.  It is written under another name and renamed when it is whole; nothing is synced,
 * since a file that a power loss leaves torn does not pass its checksums and is made again.
 *
 *   header   magic "strataPK", layout version, byte order, sizes, the source's identity, a checksum
 *   table    for each matrix: name, type, shape, place, checksum, and the hash of its source
 *   panels   from the next multiple of 4096 bytes on
 *
 * The source is the model's file (or shards).  As long as device, inode, size and time of change
 * are those in the header it counts as unchanged; otherwise the hashes of its tensors decide.
 * Checksums and hashes are XXH3 (64 bits).
 */
#ifndef STRATA_PACKED_CACHE_H
#define STRATA_PACKED_CACHE_H

#include "packed_weights.h"

/* What strata__cache_open found. */
enum strata__cache_state {
    STRATA__CACHE_NONE,  /* no file, or one that is of no use (the reason is in the last error) */
    STRATA__CACHE_OTHER, /* a file whose source's identity differs: compare the hashes */
    STRATA__CACHE_FOUND,
};

struct strata__cache_file {
    char path[4096];
    int descriptor;       /* of the file being written, or -1 */
    char temporary[4128]; /* its name */
    unsigned char *map;   /* NULL: none */
    size_t bytes;         /* of the file */
    size_t data;          /* offset of the panels */
};

/* The path of a model's cache file, into file->path; all else of *file is reset.  Returns false,
 * and says why in the last error, when there is no folder for it. */
bool strata__cache_path(struct strata__cache_file *file, const char *model_path);

/* Maps the cache file of these matrices (their tensors, offsets and sizes are set) and reads the
 * checksums and hashes that it promises into wanted_checksum and wanted_source.  `identity` is that
 * of the source. */
enum strata__cache_state strata__cache_open(struct strata__cache_file *file,
                                            struct strata__packed_weights *packed,
                                            uint64_t identity);

/* Begins a file for these matrices.  E_IO with the reason: no such folder, no rights. */
strata_status strata__cache_create(struct strata__cache_file *file,
                                   const struct strata__packed_weights *packed);

/* Writes `bytes` bytes of panels to `offset` of the panels.  By any thread.  E_IO with the reason:
 * no space. */
strata_status strata__cache_write(const struct strata__cache_file *file, const void *panels,
                                  size_t bytes, uint64_t offset);

/* Writes header and table, gives the file its name and maps it.  E_IO; nothing is kept then. */
strata_status strata__cache_finish(struct strata__cache_file *file,
                                   const struct strata__packed_weights *packed, uint64_t identity);

/* Writes another identity into the header of the file that is mapped.  E_IO: it has the old one. */
strata_status strata__cache_identify(struct strata__cache_file *file,
                                     const struct strata__packed_weights *packed,
                                     uint64_t identity);

/* Unmaps; removes a file that was not finished. */
void strata__cache_close(struct strata__cache_file *file);

#endif

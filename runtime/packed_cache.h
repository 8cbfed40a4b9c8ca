/* Packed weights on disk: one file a model in the folder packed/ of strata's home.
 *
 * A file is a header, a table of matrices, and the panels as they lie in memory, so that it is used
 * by mapping it.  It is written under another name and renamed when it is whole; nothing is synced,
 * since a file that a power loss leaves torn does not pass its checksums and is made again.
 *
 *   header   magic "strataPK", layout version, byte order, sizes, the source's identity, a checksum
 *            of header, table and source
 *   table    for each matrix: name, type, shape, place, checksum, and the hash of its source
 *   source   the absolute path of the model's file, with a terminator
 *   panels   from the next multiple of 4096 bytes on
 *
 * The source is the model's file (or shards).  As long as device, inode, size and time of change
 * are those in the header it counts as unchanged; otherwise the hashes of its tensors decide.
 * Checksums and hashes are XXH3 (64 bits).
 *
 * Who writes a file holds it locked (flock, exclusively), who maps it shares its lock, and who
 * removes it (cache_folder.h) needs the exclusive one; where a file system has no locks, files are
 * only replaced.  A file's time of modification is when it was last used.
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

#define STRATA__CACHE_PATH_MAX 4096 /* bytes of a path, with its terminator */

struct strata__cache_file {
    char path[STRATA__CACHE_PATH_MAX];
    char model[STRATA__CACHE_PATH_MAX];          /* the model's file, absolute */
    char temporary[STRATA__CACHE_PATH_MAX + 32]; /* its name while it is being written, else "" */
    int descriptor;                              /* of the file that is written or mapped, or -1 */
    unsigned char *map;                          /* NULL: none */
    size_t bytes;                                /* of the file */
    size_t data;                                 /* offset of the panels */
};

/* The path of a model's cache file, into file->path; `dynamic`: of the one with rounded floats. All
 * else of *file is reset.  Returns false,
 * and says why in the last error, when there is no folder for it. */
bool strata__cache_path(struct strata__cache_file *file, const char *model_path, bool dynamic);

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

/* Unmaps and unlocks; removes a file that was not finished. */
void strata__cache_close(struct strata__cache_file *file);

/* What header, table and source of a cache file of `bytes` bytes say: STRATA_PACK_CACHE_READY, with
 * the source in model[STRATA__CACHE_PATH_MAX], or _OTHER_VERSION, _DAMAGED or _UNREADABLE (then
 * model is "").  The panels are not looked at.  E_NOMEM. */
strata_status strata__cache_examine(int descriptor, uint64_t bytes, char *model,
                                    strata_pack_cache_state *state);

/* ---- Files of the folder ---- */

/* Bytes of the end of a temporary file's name, ".packed.XXXXXX". */
#define STRATA__CACHE_TEMPORARY_END 14

/* The path of `name` in the folder packed/.  E_IO: there is none, or the path is too long. */
strata_status strata__cache_folder_path(char out[STRATA__CACHE_PATH_MAX], const char *name);

/* Makes a new file, locked as long as *descriptor is open, and the folders that are missing above
 * it.  `name` ends in ".packed.XXXXXX", which becomes the file's own end.  E_IO. */
strata_status strata__cache_temporary(char *name, int *descriptor);

/* Writes all of it.  `shown` is the file's name in the message.  E_IO. */
strata_status strata__cache_write_at(int descriptor, const char *shown, const void *data,
                                     size_t bytes, uint64_t offset);

#endif

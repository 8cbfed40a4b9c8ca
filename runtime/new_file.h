/* A file that appears when it is whole: written under another name in the folder of its path, which
 * it takes at the end.  A file that is there stays as it is until then, and what is not finished
 * leaves nothing behind. */
#ifndef STRATA_NEW_FILE_H
#define STRATA_NEW_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

struct strata__new_file {
    char *path, *temporary; /* temporary (PATH.PID-N.tmp): NULL as long as there is none */
    char shown[512];        /* path for messages */
    int descriptor;         /* to write to, or -1 */
};

/* Makes the temporary file, with the permissions of any new file.  E_INVALID: path is empty or ends
 * in '/'; E_IO with the path and the reason, also when something is there that is not a plain file;
 * E_NOMEM.  To be closed also after a failure. */
strata_status strata__new_file_open(struct strata__new_file *file, const char *path);

/* Writes all of it at `offset`.  E_IO with the path, the byte and the reason. */
strata_status strata__new_file_write(struct strata__new_file *file, const void *data, size_t bytes,
                                     uint64_t offset);

/* Writes the file through to the disk and gives it its name, that of the folder too.  E_IO. */
strata_status strata__new_file_finish(struct strata__new_file *file);

/* Removes what was not finished, and frees. */
void strata__new_file_close(struct strata__new_file *file);

#endif

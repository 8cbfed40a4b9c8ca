/* Weights in the safetensors format: one file, or shards with an index, memory-mapped and checked.
 *
 * Format: a length word (u64, little-endian), so many bytes of JSON that give each tensor's dtype,
 * shape and byte range, then the data (huggingface/safetensors, README.md).  Everything is checked
 * when the files are opened: ranges lie in the data, are as long as shape and dtype say, do not
 * overlap and leave no holes; a name is given once.  A refused file is E_FORMAT with "file:offset:
 * field: found, expected".
 *
 * Threads: open weights may be read by any number of threads.
 */
#ifndef STRATA_SAFETENSORS_H
#define STRATA_SAFETENSORS_H

#include "model_folder.h"
#include "name_index.h"

#define STRATA__SAFETENSORS_HEADER_MAX (UINT64_C(100) << 20) /* bytes; the format's own limit */
#define STRATA__SAFETENSORS_TENSORS_MAX (UINT64_C(1) << 20)  /* of all shards */
#define STRATA__SAFETENSORS_SHARDS_MAX 1024u
#define STRATA__SAFETENSORS_DIMS_MAX 8u

struct strata__safetensor {
    const char *name; /* terminated, UTF-8 */
    char dtype[12];   /* "BF16" */
    unsigned n_dims;
    uint64_t shape[STRATA__SAFETENSORS_DIMS_MAX]; /* row length last */
    uint64_t elements, bytes;
    const unsigned char *data; /* of any alignment */
    uint64_t begin, end;       /* of the bytes in the data of the shard */
    unsigned shard;
};

struct strata__safetensors_shard {
    struct strata__file_map map;
    char shown[STRATA__FOLDER_SHOWN];
    struct strata__json header;
    uint32_t first, count; /* of its tensors */
};

struct strata__safetensors {
    struct strata__safetensors_shard *shards;
    unsigned shard_count;
    struct strata__safetensor *tensors;
    uint32_t count;
    struct strata__name_index index;
};

/* Opens model.safetensors of the folder, or, where there is none, the shards that
 * model.safetensors.index.json names.  E_FORMAT also: a shard is missing, is named by a path, or
 * has other names in other folders (hard links); its tensors are not those that the index names.
 * E_IO; E_NOMEM.  The caller closes; a struct of zeros is accepted. */
strata_status strata__safetensors_open(struct strata__safetensors *weights,
                                       const struct strata__model_folder *folder);
void strata__safetensors_close(struct strata__safetensors *weights);

/* The tensor with this name, or NULL. */
const struct strata__safetensor *strata__safetensors_find(const struct strata__safetensors *weights,
                                                          const char *name);

#endif

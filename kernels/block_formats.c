/* The table of block formats (block_formats.h). */
#include "block_formats.h"

#include <assert.h>

static const struct strata_block_format formats[STRATA_TYPE_COUNT] = {
#define X(name, id, elems, bytes) {#name, id, elems, bytes},
    STRATA_BLOCK_FORMATS(X)
#undef X
};

const struct strata_block_format *strata_block_format(enum strata_type type)
{
    assert((unsigned)type < STRATA_TYPE_COUNT);
    return &formats[type];
}

enum strata_type strata_type_from_gguf(uint32_t gguf_id)
{
    for (size_t i = 0; i < STRATA_TYPE_COUNT; i++)
        if (formats[i].gguf_id == gguf_id)
            return (enum strata_type)i;
    return STRATA_TYPE_COUNT;
}

/* Weights into blocks with the smallest error: from floats to the types of packed.h.
 *
 * For every block the scales and integers are searched that minimise the sum of weight[i] * (x[i] -
 * decoded[i])^2, the decoded value being that of block_formats.h with scales rounded as they are
 * stored.  The result is never worse than that of the usual rule, which takes scales from the
 * extremes of a block alone.  (For keys and values, which are rounded in passing, there is the
 * operation `encode`.) */
#ifndef STRATA_QUANTIZE_BLOCKS_H
#define STRATA_QUANTIZE_BLOCKS_H

#include "kernels.h"

/* True for the types that strata_quantize_blocks makes: all of packed.h. */
bool strata_quantize_blocks_has(enum strata_type type);

/* dst = x in blocks of the type, n elements, n a multiple of the block size.  All x are finite;
 * what lies beyond the type's range (binary16 scales) becomes its nearest end.  `weight` has an
 * importance for each of the n elements, finite and not negative, or is NULL (all alike); a block
 * whose weights are all 0 counts as one of equal weights.  A value of weight 0 may become anything
 * that its block's scales can express near it.  `level` is at most what the host has; the blocks
 * are the same at all levels. */
void strata_quantize_blocks(enum strata_level level, enum strata_type type, void *dst,
                            const float *x, const float *weight, size_t n);

/* Writes a block with these parts: the inverse of strata_parts_of_block. */
void strata_block_of_parts(enum strata_type type, void *block,
                           const struct strata_block_parts *parts);

#endif

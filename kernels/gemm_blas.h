/* Float products through a BLAS library: an alternative to the gemm_f32 slots for large products,
 * and an independent check of the reference. */
#ifndef STRATA_GEMM_BLAS_H
#define STRATA_GEMM_BLAS_H

#include "kernels.h"

/* Loads the library (libopenblas.so.0), makes it run each call on its caller's thread, in the whole
 * process, and returns its name and version ("OpenBLAS 0.3.21"; static), or NULL where it cannot be
 * loaded or strata was built without BLAS.  Call it before strata_gemm_f32_blas; calling it again,
 * from any thread, does no harm. */
const char *strata_blas_open(void);

/* As the gemm_f32 slot of the weight type whose dequantize kernel is given (kernels.h, struct
 * strata_matmul; the same scratch).  sgemm multiplies tiles of STRATA_PANEL_ROWS weight rows by
 * STRATA_BLAS_TOKENS tokens; it may sum a smaller last tile in another order, so work that is split
 * at multiples of both gives the same bits however it is split.  Precondition: strata_blas_open
 * returned a name. */
void strata_gemm_f32_blas(const struct strata_matmul *a, strata_dequantize_fn *dequantize);

#define STRATA_BLAS_TOKENS 64

#endif

/* Loading cuBLAS (blas.cuh). */
#include <dlfcn.h>

#include "blas.cuh"

namespace strata
{

/* CUDA's libraries have threads and exit handlers: their code stays. */
void *blas_load(const char *name)
{
    return dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
}

void *blas_function(void *library, const char *name)
{
    return dlsym(library, name);
}

} // namespace strata

/* cuBLAS, found and called (blas.cuh).
 *
 * Declarations after the cuBLAS documentation (docs.nvidia.com/cuda/cublas: cublasCreate,
 * cublasSetStream, cublasSetWorkspace, cublasGemmEx, cublasGetProperty; data types in
 * library_types.h), so that the plug-in is built without its headers and runs without the library.
 * Matrices are column-major there: a row-major one is its own transpose. */
#include <stdio.h>
#include <stdlib.h>

#include "blas.cuh"

using namespace strata;

namespace
{

enum { NO_TRANS = 0, TRANS = 1 };  /* cublasOperation_t */
enum { COMPUTE_32F = 68 };         /* cublasComputeType_t: no rounding to TF32 */
enum { ALGORITHM_OF_CHOICE = -1 }; /* cublasGemmAlgo_t */
enum { MAJOR, MINOR };             /* libraryPropertyType */

struct Library {
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*set_stream)(void *handle, cudaStream_t stream);
    int (*set_workspace)(void *handle, void *workspace, size_t bytes);
    int (*multiply)(void *handle, int trans_a, int trans_b, int m, int n, int k, const void *alpha,
                    const void *a, int type_a, int lda, const void *b, int type_b, int ldb,
                    const void *beta, void *c, int type_c, int ldc, int compute, int algorithm);
    int (*property)(int which, int *value);
    int major, minor;
    bool found;
};

template <class F> bool take(void *library, const char *name, F *function)
{
    *function = reinterpret_cast<F>(blas_function(library, name));
    return *function != nullptr;
}

/* A library that is newer than the driver is of no use. */
bool open_library(const char *name, int driver, Library *l)
{
    void *library = blas_load(name);
    return library && take(library, "cublasCreate_v2", &l->create) &&
           take(library, "cublasDestroy_v2", &l->destroy) &&
           take(library, "cublasSetStream_v2", &l->set_stream) &&
           take(library, "cublasSetWorkspace_v2", &l->set_workspace) &&
           take(library, "cublasGemmEx", &l->multiply) &&
           take(library, "cublasGetProperty", &l->property) && l->property(MAJOR, &l->major) == 0 &&
           l->property(MINOR, &l->minor) == 0 && l->major <= driver / 1000;
}

/* Where the loader looks, and where CUDA is installed. */
Library find()
{
    const char *names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so"};
    const char *home = secure_getenv("CUDA_HOME");
    const char *folders[] = {"", home && *home ? home : "/usr/local/cuda", "/usr/local/cuda"};
    Library library = {};
    int driver = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess)
        return library;
    for (int f = 0; f < 3 && !library.found; f++)
        for (const char *name : names) {
            char path[512];
            int size = snprintf(path, sizeof path, "%s%s%s", folders[f], f ? "/lib64/" : "", name);
            library.found =
                size < static_cast<int>(sizeof path) && open_library(path, driver, &library);
            if (library.found)
                break;
        }
    return library;
}

const Library &library()
{
    static const Library found = find();
    return found;
}

cudaError_t check(Blas *blas, int status, const char *call)
{
    if (status == 0)
        return cudaSuccess;
    blas->status = status;
    blas->call = call;
    return cudaErrorUnknown;
}

enum { ALLOC_FAILED = 3 };

/* cublasStatus_t in words. */
const char *text_of(int status)
{
    switch (status) {
    case 1:
        return "cuBLAS cannot be initialised";
    case ALLOC_FAILED:
        return "out of memory";
    case 7:
        return "an argument is not valid";
    case 8:
        return "the device lacks a feature";
    case 11:
        return "memory cannot be accessed";
    case 13:
        return "a kernel failed";
    case 15:
        return "not supported";
    default:
        return "internal error";
    }
}

} // namespace

namespace strata
{

bool blas_found(char *text, size_t capacity)
{
    const Library &l = library();
    if (text && l.found)
        snprintf(text, capacity, "cuBLAS %d.%d", l.major, l.minor);
    else if (text)
        snprintf(text, capacity, "no cuBLAS (libcublas.so.13 or .12): prefill is slower");
    return l.found;
}

cudaError_t blas_open(Blas *blas, cudaStream_t stream)
{
    const Library &l = library();
    *blas = Blas();
    if (!l.found)
        return cudaSuccess;
    cudaError_t error = check(blas, l.create(&blas->handle), "cublasCreate");
    if (error != cudaSuccess) {
        blas->handle = nullptr;
        return error;
    }
    error = check(blas, l.set_stream(blas->handle, stream), "cublasSetStream");
    if (error != cudaSuccess)
        blas_close(blas);
    return error;
}

void blas_close(Blas *blas)
{
    if (blas->handle)
        library().destroy(blas->handle);
    blas->handle = nullptr;
}

cudaError_t blas_set_workspace(Blas &blas, void *workspace)
{
    return check(&blas, library().set_workspace(blas.handle, workspace, BLAS_WORKSPACE),
                 "cublasSetWorkspace");
}

int blas_failed(const Blas &blas, char *text, size_t capacity)
{
    snprintf(text, capacity, "%s: %s (status %d)", blas.call, text_of(blas.status), blas.status);
    return blas.status == ALLOC_FAILED ? STRATA_CUDA_NO_MEMORY : STRATA_CUDA_FAILED;
}

/* Column-major: y (rows x m) = transposed w (k x rows) * x (k x m). */
cudaError_t blas_multiply(Blas &blas, const BlasProduct &p)
{
    const float one = 1, keep = p.adds ? 1 : 0;
    int status = library().multiply(blas.handle, TRANS, NO_TRANS, static_cast<int>(p.rows),
                                    static_cast<int>(p.m), static_cast<int>(p.k), &one, p.w, p.type,
                                    static_cast<int>(p.ldw), p.x, p.type, static_cast<int>(p.ldx),
                                    &keep, p.y, BLAS_FLOAT, static_cast<int>(p.ldy), COMPUTE_32F,
                                    ALGORITHM_OF_CHOICE);
    return check(&blas, status, "cublasGemmEx");
}

} // namespace strata

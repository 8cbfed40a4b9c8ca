/* Stands in for cuBLAS: the functions that kernels/cuda/blas.cu asks for, as its documentation
 * describes them: matrices are column-major, and arguments are checked.  A product is one launch,
 * so that it is kept in graphs, fails and is checked for stray writes as others are. */
#include <algorithm>
#include <string.h>

#include <vector>

#include "blas.cuh"
#include "cuda_fp16.h"

namespace
{

enum { OK = 0, NOT_INITIALIZED = 1, ALLOC_FAILED = 3, INVALID = 7, EXECUTION_FAILED = 13 };
enum { NOT_SUPPORTED = 15 };

struct Handle {
    cudaStream_t stream;
    void *workspace;
};

int create(void **handle)
{
    *handle = NULL;
    if (emu_fails(EMU_BLAS))
        return ALLOC_FAILED;
    *handle = new Handle();
    return OK;
}

int destroy(void *handle)
{
    delete static_cast<Handle *>(handle);
    return handle ? OK : NOT_INITIALIZED;
}

/* The documentation: this goes back to a workspace of the library's own. */
int set_stream(void *handle, cudaStream_t stream)
{
    Handle *h = static_cast<Handle *>(handle);
    h->stream = stream;
    h->workspace = NULL;
    return OK;
}

int set_workspace(void *handle, void *workspace, size_t bytes)
{
    /* 256 is asked for; memory of the emulator is aligned to 16. */
    if (!workspace || reinterpret_cast<uintptr_t>(workspace) % 16 || bytes < 1024)
        return INVALID;
    memset(workspace, 0xff, bytes);
    static_cast<Handle *>(handle)->workspace = workspace;
    return OK;
}

int property(int which, int *value)
{
    *value = which == 0 ? 13 : 0;
    return which <= 2 ? OK : INVALID;
}

/* Elements of a matrix with so many rows and columns, column after column. */
std::vector<float> floats_of(const void *data, int type, int ld, int rows, int columns)
{
    std::vector<float> out(static_cast<size_t>(rows) * static_cast<size_t>(columns));
    for (int j = 0; j < columns; j++)
        for (int i = 0; i < rows; i++) {
            size_t at = static_cast<size_t>(j) * static_cast<size_t>(ld) + static_cast<size_t>(i);
            uint16_t bits =
                type == strata::BLAS_FLOAT ? 0 : static_cast<const uint16_t *>(data)[at];
            out[static_cast<size_t>(j) * static_cast<size_t>(rows) + static_cast<size_t>(i)] =
                type == strata::BLAS_FLOAT  ? static_cast<const float *>(data)[at]
                : type == strata::BLAS_HALF ? from_half(bits)
                                            : from_bf16(bits);
        }
    return out;
}

struct Gemm {
    int trans_a, trans_b, m, n, k;
    float alpha, beta;
    const void *a, *b;
    int type, lda, ldb, ldc;
    float *c;

    /* c[i + j * ldc] = alpha * sum of op(a)[i, l] * op(b)[l, j] + beta * c[i + j * ldc] */
    void operator()() const
    {
        std::vector<float> x = floats_of(a, type, lda, trans_a ? k : m, trans_a ? m : k);
        std::vector<float> y = floats_of(b, type, ldb, trans_b ? n : k, trans_b ? k : n);
        for (int j = 0; j < n; j++)
            for (int i = 0; i < m; i++) {
                float sum = 0;
                for (int l = 0; l < k; l++)
                    sum += x[static_cast<size_t>(trans_a ? l + i * k : i + l * m)] *
                           y[static_cast<size_t>(trans_b ? j + l * n : l + j * k)];
                float *out = c + static_cast<size_t>(j) * static_cast<size_t>(ldc) + i;
                *out = alpha * sum + (beta == 0 ? 0 : beta * *out);
            }
    }
};

int multiply(void *handle, int trans_a, int trans_b, int m, int n, int k, const void *alpha,
             const void *a, int type_a, int lda, const void *b, int type_b, int ldb,
             const void *beta, void *c, int type_c, int ldc, int compute, int algorithm)
{
    Handle *h = static_cast<Handle *>(handle);
    if (!h || !h->stream || !h->workspace)
        return NOT_INITIALIZED;
    if (trans_a < 0 || trans_a > 1 || trans_b < 0 || trans_b > 1 || m < 0 || n < 0 || k < 0 ||
        lda < std::max(1, trans_a ? k : m) || ldb < std::max(1, trans_b ? n : k) ||
        ldc < std::max(1, m) || !alpha || !beta || !a || !b || !c)
        return INVALID;
    bool typed =
        type_a == strata::BLAS_FLOAT || type_a == strata::BLAS_HALF || type_a == strata::BLAS_BF16;
    if (!typed || type_a != type_b || type_c != strata::BLAS_FLOAT || compute != 68 ||
        algorithm != -1)
        return NOT_SUPPORTED;
    if (emu_fails(EMU_BLAS))
        return EXECUTION_FAILED;
    Gemm gemm = {trans_a,
                 trans_b,
                 m,
                 n,
                 k,
                 *static_cast<const float *>(alpha),
                 *static_cast<const float *>(beta),
                 a,
                 b,
                 type_a,
                 lda,
                 ldb,
                 ldc,
                 static_cast<float *>(c)};
    cudaLaunchConfig_t config = {dim3(1), dim3(1), 0, h->stream, nullptr, 0};
    return emu_launch(&config, EmuClosure<Gemm>(gemm)) == cudaSuccess ? OK : EXECUTION_FAILED;
}

template <class F> void *address(F function)
{
    return reinterpret_cast<void *>(function);
}

} // namespace

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

namespace strata
{

void *blas_load(const char *name)
{
    static int library;
    return strcmp(name, "libcublas.so.13") == 0 ? &library : NULL;
}

void *blas_function(void *, const char *name)
{
    const struct {
        const char *name;
        void *function;
    } functions[] = {{"cublasCreate_v2", address(create)},
                     {"cublasDestroy_v2", address(destroy)},
                     {"cublasSetStream_v2", address(set_stream)},
                     {"cublasSetWorkspace_v2", address(set_workspace)},
                     {"cublasGetProperty", address(property)},
                     {"cublasGemmEx", address(multiply)}};
    for (const auto &one : functions)
        if (strcmp(one.name, name) == 0)
            return one.function;
    return NULL;
}

} // namespace strata

/* Products through cuBLAS: weights in a form that it takes, slice by slice (blas.cuh). */
#include "blas.cuh"

using namespace strata;

namespace
{

/* Larger ones are unpacked in slices.  At 512 tokens 4096 rows are 128 tiles of cuBLAS, as many as
 * an H200 has multiprocessors; all of them with 14336 columns fit. */
const uint64_t SLICE_BYTES = 128u << 20;

enum { TYPE_F32 = 0, TYPE_F16 = 1, TYPE_BF16 = 30 }; /* GGUF ids */

uint32_t bytes_of(BlasType type)
{
    return type == BLAS_FLOAT ? 4 : 2;
}

BlasType stored_as(uint32_t type)
{
    return type == TYPE_F32 ? BLAS_FLOAT : type == TYPE_F16 ? BLAS_HALF : BLAS_BF16;
}

/* The form of both sides. */
BlasType form_of(uint32_t type, bool packed, bool exact)
{
    if (exact)
        return BLAS_FLOAT;
    return packed ? BLAS_HALF : stored_as(type);
}

bool known(uint32_t type)
{
    return type == TYPE_F32 || type == TYPE_F16 || type == TYPE_BF16;
}

/* Rows of a slice: multiples of panels, in as few slices of one size as the scratch allows. */
uint32_t slice_rows(uint32_t rows, uint32_t most)
{
    uint32_t slices = most ? (rows + most - 1) / most : 0;
    return slices ? ((rows + slices - 1) / slices + 15) / 16 * 16 : 0;
}

/* A slice, of which `product` has all but y. */
cudaError_t multiply_slice(Blas &blas, cudaStream_t stream, const Product &p, BlasProduct product,
                           uint32_t first, const int *of_row)
{
    const Scales scales = {product.type == BLAS_HALF ? p.in.token_scale : nullptr, of_row, p.m,
                           product.rows, p.ldy};
    cudaError_t error = cudaSuccess;
    product.y = p.y + first;
    product.adds = p.accumulate;
    if (p.accumulate)
        error = scale_before(stream, scales, product.y);
    if (error == cudaSuccess)
        error = blas_multiply(blas, product);
    if (error == cudaSuccess)
        error = scale_after(stream, scales, product.y, p.bias ? p.bias + first : nullptr);
    return error;
}

/* All slices: rows as they are stored, or made so in the scratch. */
cudaError_t multiply(Blas &blas, cudaStream_t stream, const Product &p, bool packed,
                     BlasProduct product, const BlasScratch &scratch)
{
    const bool ready = !packed && stored_as(p.type) == product.type;
    const uint32_t each =
        ready ? p.rows : slice_rows(p.rows, blas_scratch_rows(scratch.w_bytes, p.k, product.type));
    const int *of_row = packed && product.type == BLAS_HALF ? scratch.of_row : nullptr;
    product.w = ready ? p.weights : scratch.w;
    product.ldw = ready ? p.row_bytes / bytes_of(product.type) : p.k;
    cudaError_t error = each ? cudaSuccess : cudaErrorInvalidValue;
    for (uint32_t first = 0; first < p.rows && error == cudaSuccess; first += each) {
        product.rows = p.rows - first < each ? p.rows - first : each;
        if (packed)
            error = unpack(stream, scratch.w, scratch.of_row, product.type, p, first, product.rows);
        else if (!ready)
            error = widen(stream, static_cast<float *>(scratch.w), p, first, product.rows);
        if (error == cudaSuccess)
            error = multiply_slice(blas, stream, p, product, first, of_row);
    }
    return error;
}

} // namespace

namespace strata
{

uint32_t blas_scratch_rows(uint64_t w_bytes, uint32_t k, BlasType type)
{
    uint64_t rows = w_bytes / (static_cast<uint64_t>(k) * bytes_of(type)) / 16 * 16;
    return rows < 0x7ffffff0u ? static_cast<uint32_t>(rows) : 0x7ffffff0u;
}

uint64_t blas_scratch_bytes(uint32_t rows, uint32_t k)
{
    const uint64_t panel = static_cast<uint64_t>(16) * k * sizeof(float);
    const uint64_t all = (static_cast<uint64_t>(rows) + 15) / 16 * panel;
    const uint64_t most = panel > SLICE_BYTES ? panel : SLICE_BYTES;
    return all < most ? all : most;
}

bool blas_takes_halves(uint32_t type, bool packed, bool exact)
{
    return form_of(type, packed, exact) == BLAS_HALF;
}

cudaError_t blas_product(Blas &blas, cudaStream_t stream, const Product &p, bool packed, bool exact,
                         const BlasScratch &scratch)
{
    BlasProduct product = {};
    if (!packed && !known(p.type))
        return cudaErrorNotSupported;
    product.type = form_of(p.type, packed, exact);
    product.x = p.in.x;
    product.ldy = p.ldy;
    product.ldx = product.k = p.k;
    product.m = p.m;
    cudaError_t error = cudaSuccess;
    if (product.type == BLAS_HALF)
        product.x = p.in.halves;
    if (product.type == BLAS_BF16) {
        error = narrow(stream, scratch.x, p.in.x, p.m, p.k);
        product.x = scratch.x;
    }
    return error == cudaSuccess ? multiply(blas, stream, p, packed, product, scratch) : error;
}

} // namespace strata

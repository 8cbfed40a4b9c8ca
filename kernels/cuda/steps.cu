/* The launches of each step of a run. */
#include "run.cuh"

using namespace strata;

namespace
{

bool by_blas(const Runner &r, const strata_cuda_product &product, uint32_t m)
{
    return r.blas.handle && blas_serves(r.run, product.packed, m);
}

BlasScratch scratch_of(const Runner &r)
{
    BlasScratch s = {};
    s.x = reinterpret_cast<uint16_t *>(r.base + r.layout.halves);
    s.of_token = reinterpret_cast<int *>(r.base + r.layout.of_token);
    s.of_row = reinterpret_cast<int *>(r.base + r.layout.of_row);
    s.w = r.base + r.layout.unpacked;
    s.w_bytes = r.layout.unpacked_bytes;
    s.held = BLAS_FLOAT;
    return s;
}

/* The step's input as its products take it: normalised, and in 8 bits where one asks for that. */
cudaError_t prepare(const Runner &r, const strata_cuda_step &step, uint32_t first, uint32_t m,
                    const float **x)
{
    uint32_t n = static_cast<uint32_t>(width_of(r.run, static_cast<int>(step.in)));
    float *norm = reinterpret_cast<float *>(r.base + r.layout.norm);
    cudaError_t error = cudaSuccess;
    *x = r.rows(step.in) + static_cast<uint64_t>(first) * n;
    if (step.norm) {
        error = rms_norm(r.stream, norm, *x, step.norm, m, n, r.run.norm_eps);
        *x = norm;
    }
    bool packed = false;
    for (uint32_t i = 0; i < step.products; i++)
        packed |= step.product[i].packed && r.run.q8 && !by_blas(r, step.product[i], m);
    if (error == cudaSuccess && packed)
        error = quantize_q8(r.stream, reinterpret_cast<int8_t *>(r.base + r.layout.q),
                            reinterpret_cast<float *>(r.base + r.layout.scale),
                            reinterpret_cast<int16_t *>(r.base + r.layout.sum), *x, m, n);
    return error;
}

cudaError_t multiply(const Runner &r, const strata_cuda_product &product, const float *x,
                     uint32_t first, uint32_t m, BlasScratch &scratch)
{
    uint32_t width = static_cast<uint32_t>(width_of(r.run, static_cast<int>(product.out)));
    const bool blas = by_blas(r, product, m);
    bool logits = product.out == STRATA_CUDA_LOGITS;
    Product p = {};
    p.y = r.rows(product.out) + (logits ? 0 : static_cast<uint64_t>(first) * width);
    p.ldy = width;
    p.weights = product.weights;
    p.type = product.type;
    p.rows = product.rows;
    p.k = product.cols;
    p.m = m;
    p.row_bytes = product.row_bytes;
    if (product.packed && r.run.q8 && !blas) {
        p.q = reinterpret_cast<int8_t *>(r.base + r.layout.q);
        p.scale = reinterpret_cast<float *>(r.base + r.layout.scale);
        p.sum = reinterpret_cast<int16_t *>(r.base + r.layout.sum);
    } else {
        p.x = x;
    }
    cudaError_t error = blas ? blas_product(r.blas, r.stream, p, product.packed, !r.run.q8, scratch)
                        : product.packed ? packed_product(r.stream, p)
                                         : float_product(r.stream, p);
    if (error == cudaSuccess && product.bias)
        error = add_bias(r.stream, p.y, product.bias, m, width);
    return error;
}

cudaError_t combine(const Runner &r, const strata_cuda_step &step, uint32_t first, uint32_t m)
{
    uint32_t out = step.product[0].out;
    uint64_t width = width_of(r.run, static_cast<int>(out)), at = first * width, n = m * width;
    if (step.combine == STRATA_CUDA_ADD_TO_X)
        return add(r.stream, r.rows(STRATA_CUDA_X) + at, r.rows(out) + at, n);
    if (step.combine == STRATA_CUDA_SILU_GATE)
        return silu_mul(r.stream, r.rows(out) + at, r.rows(step.product[1].out) + at, n);
    return cudaSuccess;
}

cudaError_t project(const Runner &r, const strata_cuda_step &step)
{
    bool head = step.products && step.product[0].out == STRATA_CUDA_LOGITS;
    uint32_t first = head ? r.run.tokens - r.run.logit_rows : 0, m = r.run.tokens - first;
    const float *x;
    BlasScratch scratch = scratch_of(r);
    if (m == 0)
        return cudaSuccess;
    cudaError_t error = prepare(r, step, first, m, &x);
    for (uint32_t i = 0; i < step.products && error == cudaSuccess; i++)
        error = multiply(r, step.product[i], x, first, m, scratch);
    return error == cudaSuccess ? combine(r, step, first, m) : error;
}

Attention attention_of(const Runner &r, const strata_cuda_step &step)
{
    Attention a = shape_of(r.run);
    a.q = r.rows(STRATA_CUDA_Q);
    a.k = r.rows(STRATA_CUDA_K);
    a.v = r.rows(STRATA_CUDA_V);
    a.out = r.rows(STRATA_CUDA_MIX);
    a.rope = reinterpret_cast<float *>(r.base + r.layout.rope);
    a.tokens = reinterpret_cast<TokenKv *>(r.base + r.layout.tokens) +
               static_cast<uint64_t>(step.layer) * r.run.tokens;
    a.partial = reinterpret_cast<float *>(r.base + r.layout.partial);
    return a;
}

cudaError_t run_step(const Runner &r, const strata_cuda_step &step)
{
    switch (step.kind) {
    case STRATA_CUDA_PROJECT:
        return project(r, step);
    case STRATA_CUDA_ROPE_STORE:
        return rope_store(r.stream, attention_of(r, step));
    case STRATA_CUDA_ATTEND:
        return attend(r.stream, attention_of(r, step));
    default:
        return cudaErrorInvalidValue;
    }
}

} // namespace

namespace strata
{

cudaError_t launch_steps(const Runner &r)
{
    cudaError_t error = cudaSuccess;
    if (r.layout.blas && r.blas.handle)
        error = blas_set_workspace(r.blas, r.base + r.layout.blas);
    for (uint32_t i = 0; i < r.run.n_steps && error == cudaSuccess; i++)
        error = run_step(r, r.run.steps[i]);
    return error;
}

} // namespace strata

/* The launches of each step of a run. */
#include "run.cuh"

using namespace strata;

namespace
{

const strata_cuda_span *spans_of(const Runner &r)
{
    return reinterpret_cast<const strata_cuda_span *>(r.base + r.layout.spans);
}

/* The preludes of encoders, which change their rows in place: of rows x, in 8 bits too if asked. */
cudaError_t prepare_in_place(const Runner &r, const strata_cuda_step &step, uint32_t m, uint32_t n,
                             bool q8)
{
    Quants out = {};
    if (q8)
        out = Quants{reinterpret_cast<int8_t *>(r.base + r.layout.q),
                     reinterpret_cast<float *>(r.base + r.layout.scale),
                     reinterpret_cast<int16_t *>(r.base + r.layout.sum)};
    if (step.prelude == STRATA_CUDA_GELU)
        return gelu(r.stream, r.rows(step.in), step.addend, out, m, n);
    return layer_norm(r.stream, r.rows(step.in), r.rows(STRATA_CUDA_DELTA), step.addend, step.norm,
                      step.bias, out, m, n, r.run.norm_eps);
}

/* The step's input as its products take it: normalised, and in 8 bits where one asks for that. */
cudaError_t prepare(const Runner &r, const strata_cuda_step &step, uint32_t first, uint32_t m,
                    const float **x)
{
    uint32_t n = static_cast<uint32_t>(width_of(r.run, static_cast<int>(step.in)));
    float *norm = reinterpret_cast<float *>(r.base + r.layout.norm);
    cudaError_t error = cudaSuccess;
    *x = r.rows(step.in) + static_cast<uint64_t>(first) * n;
    bool packed = false;
    for (uint32_t i = 0; i < step.products; i++)
        packed |= step.product[i].packed && r.run.q8;
    if (step.prelude == STRATA_CUDA_LAYER_NORM || step.prelude == STRATA_CUDA_GELU)
        return prepare_in_place(r, step, m, n, packed);
    if (step.norm) {
        error = rms_norm(r.stream, norm, *x, step.norm, m, n, r.run.norm_eps);
        *x = norm;
    }
    if (error == cudaSuccess && packed)
        error = quantize_q8(r.stream, reinterpret_cast<int8_t *>(r.base + r.layout.q),
                            reinterpret_cast<float *>(r.base + r.layout.scale),
                            reinterpret_cast<int16_t *>(r.base + r.layout.sum), *x, m, n);
    return error;
}

cudaError_t multiply(const Runner &r, const strata_cuda_product &product, const float *x,
                     uint32_t first, uint32_t m)
{
    uint32_t width = static_cast<uint32_t>(width_of(r.run, static_cast<int>(product.out)));
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
    if (product.packed && r.run.q8) {
        p.q = reinterpret_cast<int8_t *>(r.base + r.layout.q);
        p.scale = reinterpret_cast<float *>(r.base + r.layout.scale);
        p.sum = reinterpret_cast<int16_t *>(r.base + r.layout.sum);
    } else {
        p.x = x;
    }
    cudaError_t error = product.packed ? packed_product(r.stream, p) : float_product(r.stream, p);
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
    if (m == 0)
        return cudaSuccess;
    cudaError_t error = prepare(r, step, first, m, &x);
    for (uint32_t i = 0; i < step.products && error == cudaSuccess; i++)
        error = multiply(r, step.product[i], x, first, m);
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

cudaError_t attend_all(const Runner &r)
{
    SpanAttention a = {};
    a.q = r.rows(STRATA_CUDA_Q);
    a.k = r.rows(STRATA_CUDA_K);
    a.v = r.rows(STRATA_CUDA_V);
    a.out = r.rows(STRATA_CUDA_MIX);
    a.spans = spans_of(r);
    a.n_spans = r.run.n_spans;
    for (uint32_t s = 0; s < r.run.n_spans; s++)
        a.longest = r.run.spans[s].count > a.longest ? r.run.spans[s].count : a.longest;
    a.heads = r.run.heads;
    a.head_dim = r.run.head_dim;
    return attend_spans(r.stream, a);
}

cudaError_t pool_rows(const Runner &r, const strata_cuda_step &step)
{
    const float *x;
    cudaError_t error = prepare(r, step, 0, r.run.tokens, &x);
    return error == cudaSuccess
               ? pool(r.stream, reinterpret_cast<float *>(r.base + r.layout.pooled), x, spans_of(r),
                      r.run.n_spans, r.run.pooling, r.run.embedding)
               : error;
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
    case STRATA_CUDA_ATTEND_SPANS:
        return attend_all(r);
    case STRATA_CUDA_POOL:
        return pool_rows(r, step);
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
    for (uint32_t i = 0; i < r.run.n_steps && error == cudaSuccess; i++)
        error = run_step(r, r.run.steps[i]);
    return error;
}

} // namespace strata

/* The launches of each step of a run. */
#include "run.cuh"

using namespace strata;

namespace
{

/* What a product step's products have in common. */
struct Projection {
    const strata_cuda_step &step;
    uint32_t first, m, k; /* tokens first .. first + m - 1, of k elements */
    bool floats, quants;  /* how products take them */
    Prelude prelude;
    Prepared in;
};

bool takes_quants(const Runner &r, const strata_cuda_product &product)
{
    return product.packed && r.run.q8;
}

Projection projection_of(const Runner &r, const strata_cuda_step &step, uint32_t first)
{
    Projection p = {step, first, r.run.tokens - first, 0, false, false, Prelude(), Prepared()};
    p.k = static_cast<uint32_t>(width_of(r.run, static_cast<int>(step.in)));
    for (uint32_t i = 0; i < step.products; i++)
        (takes_quants(r, step.product[i]) ? p.quants : p.floats) = true;
    size_t at = static_cast<size_t>(first) * p.k;
    p.prelude.x = r.rows(step.in) + at;
    p.prelude.norm = step.prelude == STRATA_CUDA_RMS_NORM ? step.norm : nullptr;
    p.prelude.up = step.prelude == STRATA_CUDA_SILU_GATE ? r.rows(STRATA_CUDA_UP) + at : nullptr;
    p.prelude.eps = r.run.norm_eps;
    return p;
}

/* The input as the products take it, unless they prepare it themselves. */
cudaError_t prepare(const Runner &r, Projection *p)
{
    bool as_it_is = p->step.prelude == STRATA_CUDA_AS_IT_IS;
    if (p->m == 1 && !p->floats && p->k <= GEMV_MOST_OWN)
        return cudaSuccess;
    if (p->floats)
        p->in.x = as_it_is ? const_cast<float *>(p->prelude.x)
                           : reinterpret_cast<float *>(r.base + r.layout.norm);
    bool halves = p->quants && takes_halves(p->m);
    if (halves) {
        p->in.halves = reinterpret_cast<uint16_t *>(r.base + r.layout.halves);
        p->in.token_scale = reinterpret_cast<float *>(r.base + r.layout.token_scale);
    } else if (p->quants) {
        p->in.q = reinterpret_cast<int8_t *>(r.base + r.layout.q);
        p->in.scale = reinterpret_cast<float *>(r.base + r.layout.scale);
        p->in.sum = reinterpret_cast<int16_t *>(r.base + r.layout.sum);
    }
    Prelude prelude = p->prelude;
    p->prelude = Prelude();
    if (as_it_is && !p->quants)
        return cudaSuccess;
    Prepared out = p->in;
    out.x = as_it_is ? nullptr : p->in.x;
    return prepare_rows(r.stream, out, prelude, p->m, p->k);
}

Product product_of(const Runner &r, const Projection &p, const strata_cuda_product &product)
{
    bool add = p.step.combine == STRATA_CUDA_ADD_TO_X;
    uint32_t buffer = add ? static_cast<uint32_t>(STRATA_CUDA_X) : product.out;
    uint32_t width = static_cast<uint32_t>(width_of(r.run, static_cast<int>(buffer)));
    bool logits = product.out == STRATA_CUDA_LOGITS;
    Product out = {};
    out.y = r.rows(buffer) + (logits ? 0 : static_cast<uint64_t>(p.first) * width);
    out.ldy = width;
    out.accumulate = add;
    out.bias = product.bias;
    out.weights = product.weights;
    out.type = product.type;
    out.rows = product.rows;
    out.k = product.cols;
    out.m = p.m;
    out.row_bytes = product.row_bytes;
    if (takes_quants(r, product))
        out.in = p.in;
    else
        out.in.x = p.in.x;
    out.prelude = p.prelude;
    return out;
}

cudaError_t project(const Runner &r, const strata_cuda_step &step)
{
    bool head = step.products && step.product[0].out == STRATA_CUDA_LOGITS;
    Projection p = projection_of(r, step, head ? r.run.tokens - r.run.logit_rows : 0);
    if (step.combine == STRATA_CUDA_ADD_TO_X && (step.products != 1 || step.in == STRATA_CUDA_X))
        return cudaErrorNotSupported;
    if (p.m == 0)
        return cudaSuccess;
    cudaError_t error = prepare(r, &p);
    Product packed[GROUP];
    uint32_t n_packed = 0;
    for (uint32_t i = 0; i < step.products && error == cudaSuccess; i++) {
        Product product = product_of(r, p, step.product[i]);
        if (step.product[i].packed)
            packed[n_packed++] = product;
        else
            error = float_product(r.stream, product);
    }
    return error == cudaSuccess ? packed_products(r.stream, packed, n_packed) : error;
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
    a.tiles = reinterpret_cast<QueryTile *>(r.base + r.layout.tiles);
    a.partial = reinterpret_cast<float *>(r.base + r.layout.partial);
    a.arrived = reinterpret_cast<uint32_t *>(r.base + r.layout.arrived);
    return a;
}

cudaError_t run_step(const Runner &r, const strata_cuda_step &step)
{
    bool single = r.run.tokens == r.run.n_spans;
    switch (step.kind) {
    case STRATA_CUDA_PROJECT:
        return project(r, step);
    case STRATA_CUDA_ROPE_STORE: /* attend_single does it too */
        return single ? cudaSuccess : rope_store(r.stream, attention_of(r, step));
    case STRATA_CUDA_ATTEND:
        return (single ? attend_single : attend)(r.stream, attention_of(r, step));
    default:
        return cudaErrorInvalidValue;
    }
}

/* The first rows of X, where the device has them to make. */
cudaError_t embed(const Runner &r)
{
    if (!r.run.ids)
        return cudaSuccess;
    return look_up(r.stream, r.rows(STRATA_CUDA_X),
                   reinterpret_cast<int32_t *>(r.base + r.layout.ids), r.run.tokens, r.run.table);
}

/* The best logits of each row, where they are asked for. */
cudaError_t choose_best(const Runner &r)
{
    const strata_cuda_run &run = r.run;
    if (run.n_best == 0 || !has_logits(run))
        return cudaSuccess;
    return best_of_rows(r.stream, reinterpret_cast<strata_cuda_candidate *>(r.base + r.layout.best),
                        reinterpret_cast<uint64_t *>(r.base + r.layout.entries),
                        r.rows(STRATA_CUDA_LOGITS), run.logit_rows, run.vocab, run.n_best);
}

} // namespace

namespace strata
{

cudaError_t launch_steps(const Runner &r)
{
    cudaError_t error = embed(r);
    for (uint32_t i = 0; i < r.run.n_steps && error == cudaSuccess; i++)
        error = run_step(r, r.run.steps[i]);
    return error == cudaSuccess ? choose_best(r) : error;
}

} // namespace strata

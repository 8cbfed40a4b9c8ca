/* The launches of each step of a run. */
#include "run.cuh"

using namespace strata;

namespace
{

/* How a product takes its activations. */
enum Input { FLOATS, QUANTS, HALVES, INPUTS };

bool by_blas(const Runner &r, const strata_cuda_product &product, uint32_t m)
{
    return r.blas.handle && blas_serves(product, m);
}

Input input_of(const Runner &r, const strata_cuda_product &product, uint32_t m)
{
    if (by_blas(r, product, m))
        return blas_takes_halves(product.type, product.packed, !r.run.q8) ? HALVES : FLOATS;
    if (!product.packed || !r.run.q8)
        return FLOATS;
    return takes_halves(product, m) ? HALVES : QUANTS;
}

/* What a product step's products have in common. */
struct Projection {
    const strata_cuda_step &step;
    uint32_t first, m, k; /* tokens first .. first + m - 1, of k elements */
    bool takes[INPUTS];
    Prelude prelude;
    Prepared in;
};

Projection projection_of(const Runner &r, const strata_cuda_step &step, uint32_t first, uint32_t m)
{
    Projection p = {step, first, m, 0, {}, Prelude(), Prepared()};
    p.k = static_cast<uint32_t>(width_of(r.run, static_cast<int>(step.in)));
    for (uint32_t i = 0; i < step.products; i++)
        p.takes[input_of(r, step.product[i], p.m)] = true;
    size_t at = static_cast<size_t>(first) * p.k;
    p.prelude.x = r.rows(step.in) + at;
    p.prelude.norm = step.norm;
    p.prelude.bias = step.bias;
    p.prelude.addend = step.addend;
    p.prelude.up = step.prelude == STRATA_CUDA_SILU_GATE ? r.rows(STRATA_CUDA_UP) + at : nullptr;
    if (step.prelude == STRATA_CUDA_LAYER_NORM && step.addend)
        p.prelude.delta = r.rows(STRATA_CUDA_DELTA) + at;
    p.prelude.eps = r.run.norm_eps;
    p.prelude.gelu = step.prelude == STRATA_CUDA_GELU;
    return p;
}

/* The input as the products take it, unless they prepare it themselves.  Rows that a later step
 * adds to, as it finds them, change where they are. */
cudaError_t prepare(const Runner &r, Projection *p)
{
    const bool as_it_is = p->step.prelude == STRATA_CUDA_AS_IT_IS;
    const bool in_place = p->step.prelude == STRATA_CUDA_LAYER_NORM;
    if (p->m == 1 && !p->prelude.of_encoders() && !p->takes[FLOATS] && !p->takes[HALVES] &&
        p->k <= GEMV_MOST_OWN)
        return cudaSuccess;
    const Prelude prelude = p->prelude;
    p->prelude = Prelude();
    if (as_it_is || in_place)
        p->in.x = const_cast<float *>(prelude.x);
    else if (p->takes[FLOATS])
        p->in.x = r.at<float>(r.layout.norm);
    if (p->takes[QUANTS]) {
        p->in.q = r.at<int8_t>(r.layout.q);
        p->in.scale = r.at<float>(r.layout.scale);
        p->in.sum = r.at<int16_t>(r.layout.sum);
    }
    if (p->takes[HALVES]) {
        p->in.halves = r.at<uint16_t>(r.layout.halves);
        p->in.token_scale = r.at<float>(r.layout.token_scale);
    }
    Prepared out = p->in;
    if (as_it_is)
        out.x = nullptr;
    if (!out.x && !out.q && !out.halves)
        return cudaSuccess;
    return prepare_rows(r.stream, out, prelude, p->m, p->k);
}

/* Rows of a buffer for the projection's tokens. */
float *rows_for(const Runner &r, const Projection &p, uint32_t buffer)
{
    bool logits = buffer == STRATA_CUDA_LOGITS; /* these have no rows before `first` */
    return r.rows(buffer) + (logits ? 0 : p.first * width_of(r.run, static_cast<int>(buffer)));
}

Product product_of(const Runner &r, const Projection &p, const strata_cuda_product &product)
{
    bool add = p.step.combine == STRATA_CUDA_ADD_TO_X;
    uint32_t buffer = add ? static_cast<uint32_t>(STRATA_CUDA_X) : product.out;
    Product out = {};
    out.y = rows_for(r, p, buffer);
    out.ldy = static_cast<uint32_t>(width_of(r.run, static_cast<int>(buffer)));
    out.accumulate = add;
    out.bias = product.bias;
    out.weights = product.weights;
    out.type = product.type;
    out.rows = product.rows;
    out.k = product.cols;
    out.m = p.m;
    out.row_bytes = product.row_bytes;
    out.tile = p.m <= STRATA_CUDA_FEW_TOKENS ? product.tile_few : product.tile_many;
    out.in = p.in;
    Input input = input_of(r, product, p.m);
    if (input != FLOATS)
        out.in.x = nullptr;
    if (input != QUANTS)
        out.in.q = nullptr;
    if (input != HALVES)
        out.in.halves = nullptr;
    out.prelude = p.prelude;
    return out;
}

cudaError_t multiply_by_blas(const Runner &r, const Projection &p,
                             const strata_cuda_product &product)
{
    BlasScratch scratch = {};
    scratch.x = r.at<uint16_t>(r.layout.narrow);
    scratch.of_row = r.at<int>(r.layout.of_row);
    scratch.w = r.at<unsigned char>(r.layout.unpacked);
    scratch.w_bytes = r.layout.unpacked_bytes;
    return blas_product(r.blas, r.stream, product_of(r, p, product), product.packed, !r.run.q8,
                        scratch);
}

cudaError_t project_rows(const Runner &r, const strata_cuda_step &step, uint32_t first, uint32_t m)
{
    Projection p = projection_of(r, step, first, m);
    if (step.combine == STRATA_CUDA_ADD_TO_X && (step.products != 1 || step.in == STRATA_CUDA_X))
        return cudaErrorNotSupported;
    if (p.m == 0)
        return cudaSuccess;
    cudaError_t error = prepare(r, &p);
    Product packed[GROUP];
    uint32_t n_packed = 0;
    for (uint32_t i = 0; i < step.products && error == cudaSuccess; i++) {
        const strata_cuda_product &product = step.product[i];
        if (by_blas(r, product, p.m))
            error = multiply_by_blas(r, p, product);
        else if (product.packed)
            packed[n_packed++] = product_of(r, p, product);
        else
            error = float_product(r.stream, product_of(r, p, product));
    }
    return error == cudaSuccess ? packed_products(r.stream, packed, n_packed) : error;
}

/* The output head of a tree's tokens, some rows of logits after the other. */
cudaError_t score(const Runner &r, const strata_cuda_step &head)
{
    const strata_cuda_run &run = r.run;
    cudaError_t error = cudaSuccess;
    for (uint32_t done = 0, m; done < run.logit_rows && error == cudaSuccess; done += m) {
        m = run.logit_rows - done < TREE_ROWS ? run.logit_rows - done : TREE_ROWS;
        Logprobs wanted = {};
        wanted.out = r.at<float>(r.layout.logprobs);
        wanted.logits = r.rows(STRATA_CUDA_LOGITS);
        wanted.first = r.at<uint32_t>(r.layout.first) + done;
        wanted.next = r.at<int32_t>(r.layout.next);
        wanted.n = run.vocab;
        wanted.base = run.tree->first[0];
        error = project_rows(r, head, done, m);
        if (error == cudaSuccess)
            error = logprobs(r.stream, wanted, m);
    }
    return error;
}

cudaError_t project(const Runner &r, const strata_cuda_step &step)
{
    const strata_cuda_run &run = r.run;
    if (!step.products || step.product[0].out != STRATA_CUDA_LOGITS)
        return project_rows(r, step, 0, run.tokens);
    return run.tree ? score(r, step)
                    : project_rows(r, step, run.tokens - run.logit_rows, run.logit_rows);
}

cudaError_t attend_all(const Runner &r)
{
    SpanAttention a = {};
    a.q = r.rows(STRATA_CUDA_Q);
    a.k = r.rows(STRATA_CUDA_K);
    a.v = r.rows(STRATA_CUDA_V);
    a.out = r.rows(STRATA_CUDA_MIX);
    a.spans = r.at<strata_cuda_span>(r.layout.spans);
    a.n_spans = r.run.n_spans;
    for (uint32_t s = 0; s < r.run.n_spans; s++)
        a.longest = r.run.spans[s].count > a.longest ? r.run.spans[s].count : a.longest;
    a.heads = r.run.heads;
    a.head_dim = r.run.head_dim;
    return attend_spans(r.stream, a);
}

cudaError_t pool_rows(const Runner &r, const strata_cuda_step &step)
{
    bool in_place = step.prelude == STRATA_CUDA_AS_IT_IS || step.prelude == STRATA_CUDA_LAYER_NORM;
    if (!in_place || !r.run.pooled)
        return cudaErrorNotSupported;
    Projection p = projection_of(r, step, 0, r.run.tokens);
    cudaError_t error = prepare(r, &p);
    if (error != cudaSuccess)
        return error;
    return pool(r.stream, r.at<float>(r.layout.pooled), r.rows(step.in),
                r.at<strata_cuda_span>(r.layout.spans), r.run.n_spans, r.run.pooling,
                r.run.embedding);
}

Attention attention_of(const Runner &r, const strata_cuda_step &step)
{
    Attention a = shape_of(r.run);
    a.q = r.rows(STRATA_CUDA_Q);
    a.k = r.rows(STRATA_CUDA_K);
    a.v = r.rows(STRATA_CUDA_V);
    a.out = r.rows(STRATA_CUDA_MIX);
    a.rope = r.at<float>(r.layout.rope);
    a.tokens = r.at<TokenKv>(r.layout.tokens) + static_cast<uint64_t>(step.layer) * r.run.tokens;
    a.tiles = r.at<QueryTile>(r.layout.tiles);
    a.partial = r.at<float>(r.layout.partial);
    a.arrived = r.at<uint32_t>(r.layout.arrived);
    a.until = r.run.tree ? r.at<uint32_t>(r.layout.until) : nullptr;
    return a;
}

cudaError_t run_step(const Runner &r, const strata_cuda_step &step)
{
    const bool single = is_decoding(r.run);
    switch (step.kind) {
    case STRATA_CUDA_PROJECT:
        return project(r, step);
    case STRATA_CUDA_ROPE_STORE: /* attend_single does it too */
        return single ? cudaSuccess : rope_store(r.stream, attention_of(r, step));
    case STRATA_CUDA_ATTEND:
        return (single ? attend_single : attend)(r.stream, attention_of(r, step));
    case STRATA_CUDA_ATTEND_SPANS:
        return attend_all(r);
    case STRATA_CUDA_POOL:
        return pool_rows(r, step);
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

/* The best logits of each row, where they are asked for, and the one that is drawn from them. */
cudaError_t choose_best(const Runner &r)
{
    const strata_cuda_run &run = r.run;
    if (run.n_best == 0 || !has_logits(run))
        return cudaSuccess;
    strata_cuda_candidate *best = r.at<strata_cuda_candidate>(r.layout.best);
    cudaError_t error =
        best_of_rows(r.stream, best, r.at<uint64_t>(r.layout.entries), r.rows(STRATA_CUDA_LOGITS),
                     run.logit_rows, run.vocab, run.n_best);
    if (error != cudaSuccess || !run.draws)
        return error;
    return draw_of_rows(r.stream, r.at<strata_cuda_candidate>(r.layout.drawn), best,
                        r.at<strata_cuda_draw>(r.layout.draws), run.logit_rows, run.n_best);
}

} // namespace

namespace strata
{

cudaError_t launch_steps(const Runner &r)
{
    cudaError_t error = embed(r);
    if (error == cudaSuccess && r.layout.blas && r.blas.handle)
        error = blas_set_workspace(r.blas, r.base + r.layout.blas);
    for (uint32_t i = 0; i < r.run.n_steps && error == cudaSuccess; i++)
        error = run_step(r, r.run.steps[i]);
    return error == cudaSuccess ? choose_best(r) : error;
}

} // namespace strata

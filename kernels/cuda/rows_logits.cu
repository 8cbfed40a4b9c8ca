/* What the rows of kernels of logits (rows.cu) work on at a shape, and their calls. */
#include "rows.cuh"

namespace strata
{

static const uint32_t TOP_K = 40;

void setup_top_k(Lane &l)
{
    const uint64_t elements = static_cast<uint64_t>(l.m) * l.n;
    l.prelude.x = l.take<float>(elements);
    l.out = l.take<float>(2 * static_cast<uint64_t>(l.m) * TOP_K);
    l.entries = l.take<uint64_t>(best_entries(l.m, l.n, TOP_K));
    l.bytes = 4.0 * static_cast<double>(elements);
    l.ops = static_cast<double>(elements);
}

cudaError_t call_top_k(Lane &l, uint64_t)
{
    return best_of_rows(l.bench->stream, reinterpret_cast<strata_cuda_candidate *>(l.out),
                        l.entries, l.prelude.x, l.m, l.n, TOP_K);
}

/* The widest there is: all are kept, and the last is drawn. */
void setup_draw(Lane &l)
{
    const uint64_t n = l.n, m = l.m;
    l.best = l.send<strata_cuda_candidate>(n * m, [n](uint64_t i) {
        return strata_cuda_candidate{static_cast<int32_t>(i % n),
                                     -0.01f * static_cast<float>(i % n)};
    });
    l.draws = l.send<strata_cuda_draw>(m, [n](uint64_t) {
        return strata_cuda_draw{static_cast<uint32_t>(n), 0.8f, 1, 0.01f, 0.999999};
    });
    l.out = l.take<float>(2 * m);
    l.bytes = static_cast<double>((n + 1) * m * sizeof *l.best + m * sizeof *l.draws);
    l.ops = 4.0 * static_cast<double>(n * m);
}

cudaError_t call_draw(Lane &l, uint64_t)
{
    return draw_of_rows(l.bench->stream, reinterpret_cast<strata_cuda_candidate *>(l.out), l.best,
                        l.draws, l.m, l.n);
}

/* Two tokens after each row, as where continuations branch. */
void setup_logprobs(Lane &l)
{
    const uint64_t n = l.n, m = l.m;
    Logprobs &a = l.logprobs;
    a.out = l.take<float>(2 * m);
    a.logits = l.take<float>(n * m);
    a.first = l.send<uint32_t>(m + 1, [](uint64_t i) { return static_cast<uint32_t>(2 * i); });
    a.next = l.send<int32_t>(2 * m, [n](uint64_t i) { return static_cast<int32_t>(i * 389 % n); });
    a.n = l.n;
    l.bytes = 8.0 * static_cast<double>(n * m);
    l.ops = 4.0 * static_cast<double>(n * m);
}

cudaError_t call_logprobs(Lane &l, uint64_t)
{
    return logprobs(l.bench->stream, l.logprobs, l.m);
}

} // namespace strata

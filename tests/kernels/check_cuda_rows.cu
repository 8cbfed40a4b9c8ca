/* Checks of how rows are prepared for products. */
#include "check_cuda.cuh"

using namespace strata;

namespace
{

const float ODD[] = {INFINITY, -INFINITY, NAN, 0, -0.0f, 1e-31f, 7e-31f, 9e-31f, 3e38f};

struct Quants {
    std::vector<int8_t> q;
    std::vector<float> scale, total;
    std::vector<int16_t> sum;

    explicit Quants(const std::vector<float> &x, unsigned m, unsigned k)
        : q(x.size()), scale(x.size() / 32), total(x.size() / 32), sum(x.size() / 16)
    {
        strata_q8_rows rows = {q.data(), scale.data(), sum.data(), total.data()};
        reference.quantize_q8(&rows, x.data(), m, k);
    }
};

/* The device's quants; of the floats that it prepared, if they were asked for too. */
void compare_quants(const char *what, unsigned m, unsigned k, const Quants &wanted,
                    const Device<int8_t> &q, const Device<float> &scale, const Device<int16_t> &sum)
{
    std::vector<int8_t> found = q.host();
    std::vector<float> found_scale = scale.host();
    std::vector<int16_t> found_sum = sum.host();
    for (size_t i = 0; i < found_sum.size(); i++, checks++)
        if (found_sum[i] != wanted.sum[i])
            report(what, "sum", m, k, static_cast<unsigned>(i), found_sum[i], wanted.sum[i]);
    for (size_t i = 0; i < found.size(); i++, checks++)
        if (found[i] != wanted.q[i])
            report(what, "quant", m, k, static_cast<unsigned>(i), found[i], wanted.q[i]);
    for (size_t i = 0; i < found_scale.size(); i++, checks++)
        if (!same_bits(found_scale[i], wanted.scale[i]))
            report(what, "scale", m, k, static_cast<unsigned>(i), found_scale[i], wanted.scale[i]);
}

} // namespace

/* Rows as they are: the reference's bytes, of what is not finite or very small too. */
void check_quantize()
{
    unsigned m = 1 + below(5), k = 32 * (1 + below(40));
    std::vector<float> x = floats(static_cast<size_t>(m) * k);
    for (unsigned i = 0; i < below(20); i++)
        x[below(m * k)] = ODD[below(9)];
    if (below(2))
        for (unsigned i = 0; i < 32; i++) /* a whole block of small ones */
            x[i] = ODD[3 + below(5)];
    Device<float> x_there(x), scale(x.size() / 32);
    Device<int8_t> q(x.size());
    Device<int16_t> sum(x.size() / 16);
    Prelude prelude = {};
    prelude.x = x_there.data;
    Prepared out = {};
    out.q = q.data;
    out.scale = scale.data;
    out.sum = sum.data;
    must(prepare_rows(stream, out, prelude, m, k), "prepare_rows");
    covers("quantize_q8");
    compare_quants("quantize", m, k, Quants(x, m, k), q, scale, sum);
}

/* Norms and gates, near the reference; and the quants of what was found. */
static void check_rows(bool norm)
{
    bool quants = below(2);
    unsigned m = 1 + below(4), n = quants ? 32 * (1 + below(40)) : 1 + below(900);
    std::vector<float> x = floats(static_cast<size_t>(m) * n), up = floats(x.size());
    std::vector<float> weight = floats(n), wanted = x;
    Device<float> x_there(x), weight_there(weight), up_there(up), out(x.size());
    Device<float> scale(x.size() / 32 + 1);
    Device<int8_t> q(x.size());
    Device<int16_t> sum(x.size() / 16 + 1);
    Prelude prelude = {};
    prelude.x = x_there.data;
    prelude.eps = 1e-5f;
    (norm ? prelude.norm : prelude.up) = (norm ? weight_there : up_there).data;
    Prepared prepared = {};
    prepared.x = out.data;
    prepared.q = quants ? q.data : nullptr;
    prepared.scale = scale.data;
    prepared.sum = sum.data;
    must(prepare_rows(stream, prepared, prelude, m, n), "prepare_rows");
    covers(norm ? "rms_norm" : "silu_mul");
    for (unsigned t = 0; t < m && norm; t++)
        reference.rms_norm(&wanted[t * n], &x[t * n], weight.data(), n, 1e-5f);
    if (!norm)
        reference.silu_mul(wanted.data(), x.data(), up.data(), x.size());
    std::vector<float> found = out.host();
    check_near(norm ? "rms_norm" : "silu_mul", found, wanted, 3e-6f);
    if (!quants)
        return;
    Quants of_found(found, m, n);
    std::vector<float> scales = scale.host();
    scales.resize(x.size() / 32);
    std::vector<int16_t> sums = sum.host();
    sums.resize(x.size() / 16);
    compare_quants("prepared", m, n, of_found, q, Device<float>(scales), Device<int16_t>(sums));
}

void check_rows()
{
    check_rows(true);
    check_rows(false);
}

/* Heads of queries and keys, in place; what is beside them stays. */
void check_head_norms()
{
    const unsigned n_q = 1 + below(20), n_k = 1 + below(9), dim = 2 * (1 + below(64));
    std::vector<float> q = floats(static_cast<size_t>(n_q) * dim);
    std::vector<float> k = floats(static_cast<size_t>(n_k) * dim);
    const std::vector<float> q_norm = floats(dim), k_norm = floats(dim);
    Device<float> q_there(q), k_there(k), q_norm_there(q_norm), k_norm_there(k_norm);
    HeadNorms a = {};
    a.q = q_there.data;
    a.k = k_there.data;
    a.q_norm = q_norm_there.data;
    a.k_norm = k_norm_there.data;
    a.n_q = n_q;
    a.n_k = n_k;
    a.dim = dim;
    a.eps = 1e-6f;
    must(norm_heads(stream, a), "norm_heads");
    covers("rms_norm_heads");
    for (unsigned i = 0; i < n_q; i++)
        reference.rms_norm(&q[i * dim], &q[i * dim], q_norm.data(), dim, a.eps);
    for (unsigned i = 0; i < n_k; i++)
        reference.rms_norm(&k[i * dim], &k[i * dim], k_norm.data(), dim, a.eps);
    check_near("norms of queries", q_there.host(), q, 3e-6f);
    check_near("norms of keys", k_there.host(), k, 3e-6f);
}

/* Halves: every element within what rounding to eleven bits, or to the smallest of them, can
 * change; rows that are not finite are marked. */
void check_halves()
{
    const unsigned m = 1 + below(4), n = 4 * (1 + below(300));
    std::vector<float> x = floats(static_cast<size_t>(m) * n);
    for (unsigned t = 0; t < m; t++) {
        static const float sizes[] = {1, 1e-30f, 1e30f, 0};
        const float size = sizes[below(4)];
        for (unsigned i = 0; i < n; i++)
            x[t * n + i] *= size;
        if (below(3) == 0)
            x[t * n + below(n)] = ODD[below(9)];
    }
    Device<float> x_there(x), scale(m);
    Device<uint16_t> halves(x.size());
    Prelude prelude = {};
    prelude.x = x_there.data;
    Prepared out = {};
    out.halves = halves.data;
    out.token_scale = scale.data;
    must(prepare_rows(stream, out, prelude, m, n), "prepare_rows");
    covers("quantize_halves");
    const std::vector<uint16_t> found = halves.host();
    const std::vector<float> scales = scale.host();
    for (unsigned t = 0; t < m; t++) {
        bool finite = true;
        for (unsigned i = 0; i < n; i++)
            finite &= isfinite(x[t * n + i]) != 0;
        if (finite != (isfinite(scales[t]) != 0))
            report("halves", "finite", m, n, t, scales[t], finite);
        for (unsigned i = 0; i < n && finite; i++, checks++) {
            const float value = strata_half_to_float(found[t * n + i]) * scales[t];
            const float wanted = x[t * n + i];
            if (!(fabsf(value - wanted) <=
                  0x1p-11f * fabsf(wanted) + 0x1p-25f * scales[t] + 1e-38f))
                report("halves", "element", m, n, i, value, wanted);
        }
    }
}

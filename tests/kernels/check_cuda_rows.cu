/* Checks of operations on rows of floats. */
#include "check_cuda.cuh"

using namespace strata;

void check_quantize()
{
    static const float odd[] = {INFINITY, -INFINITY, NAN, 0, -0.0f, 1e-31f, 7e-31f, 9e-31f, 3e38f};
    unsigned m = 1 + below(5), k = 32 * (1 + below(40));
    std::vector<float> x = floats(static_cast<size_t>(m) * k);
    for (unsigned i = 0; i < below(20); i++)
        x[below(m * k)] = odd[below(9)];
    if (below(2))
        for (unsigned i = 0; i < 32; i++) /* a whole block of small ones */
            x[i] = odd[3 + below(5)];
    std::vector<int8_t> q(x.size());
    std::vector<float> scale(x.size() / 32), total(x.size() / 32);
    std::vector<int16_t> sum(x.size() / 16);
    strata_q8_rows rows = {q.data(), scale.data(), sum.data(), total.data()};
    reference.quantize_q8(&rows, x.data(), m, k);
    Device<float> x_there(x), scale_there(scale.size());
    Device<int8_t> q_there(q.size());
    Device<int16_t> sum_there(sum.size());
    must(quantize_q8(stream, q_there.data, scale_there.data, sum_there.data, x_there.data, m, k),
         "quantize_q8");
    std::vector<int8_t> found = q_there.host();
    std::vector<float> found_scale = scale_there.host();
    std::vector<int16_t> found_sum = sum_there.host();
    for (size_t i = 0; i < sum.size(); i++, checks++)
        if (found_sum[i] != sum[i])
            report("quantize_q8", "sum", m, k, static_cast<unsigned>(i), found_sum[i], sum[i]);
    for (size_t i = 0; i < q.size(); i++, checks++)
        if (found[i] != q[i])
            report("quantize_q8", "quant", m, k, static_cast<unsigned>(i), found[i], q[i]);
    for (size_t i = 0; i < scale.size(); i++, checks++)
        if (!same_bits(found_scale[i], scale[i]))
            report("quantize_q8", "scale", m, k, static_cast<unsigned>(i), found_scale[i],
                   scale[i]);
}

void check_rows()
{
    unsigned m = 1 + below(4), n = 1 + below(900);
    std::vector<float> x = floats(static_cast<size_t>(m) * n), y = floats(x.size());
    std::vector<float> weight = floats(n), wanted(x.size());
    Device<float> x_there(x), weight_there(weight), out(x.size());
    for (unsigned t = 0; t < m; t++)
        reference.rms_norm(&wanted[t * n], &x[t * n], weight.data(), n, 1e-5f);
    must(rms_norm(stream, out.data, x_there.data, weight_there.data, m, n, 1e-5f), "rms_norm");
    check_near("rms_norm", out.host(), wanted, 3e-6f);
    Device<float> sum(y), gated(y), biased(x);
    wanted = y;
    reference.add(wanted.data(), x.data(), wanted.size());
    must(add(stream, sum.data, x_there.data, y.size()), "add");
    check_near("add", sum.host(), wanted, 0);
    reference.silu_mul(wanted.data(), y.data(), x.data(), y.size());
    must(silu_mul(stream, gated.data, x_there.data, y.size()), "silu_mul");
    check_near("silu_mul", gated.host(), wanted, 3e-6f);
    wanted = x;
    for (unsigned t = 0; t < m; t++)
        reference.add(&wanted[t * n], weight.data(), n);
    must(add_bias(stream, biased.data, weight_there.data, m, n), "add_bias");
    check_near("add_bias", biased.host(), wanted, 0);
}

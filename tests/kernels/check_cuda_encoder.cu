/* Checks of what encoders have of their own. */
#include "check_cuda.cuh"

using namespace strata;

namespace
{

/* Rows in 8 bits, of the device and of the reference. */
struct QuantRows {
    Device<int8_t> q;
    Device<float> scale;
    Device<int16_t> sum;

    explicit QuantRows(size_t n) : q(n + 1), scale(n / 32 + 1), sum(n / 16 + 1)
    {
    }
    /* With the floats, in place. */
    Prepared there(float *x, bool q8) const
    {
        Prepared out = {};
        out.x = x;
        out.q = q8 ? q.data : nullptr;
        out.scale = scale.data;
        out.sum = sum.data;
        return out;
    }
};

/* They are the reference's of the device's own rows: to the byte. */
void check_quants(const char *what, const QuantRows &found, const std::vector<float> &x, unsigned m,
                  unsigned n)
{
    std::vector<int8_t> q(x.size());
    std::vector<float> scale(x.size() / 32), total(x.size() / 32);
    std::vector<int16_t> sum(x.size() / 16);
    strata_q8_rows rows = {q.data(), scale.data(), sum.data(), total.data()};
    reference.quantize_q8(&rows, x.data(), m, n);
    std::vector<int8_t> found_q = found.q.host();
    std::vector<float> found_scale = found.scale.host();
    std::vector<int16_t> found_sum = found.sum.host();
    for (unsigned i = 0; i < q.size(); i++, checks++)
        if (found_q[i] != q[i] || found_sum[i / 16] != sum[i / 16] ||
            !same_bits(found_scale[i / 32], scale[i / 32]))
            report(what, "quant", m, n, i, found_q[i], q[i]);
}

/* Within `relative` of the magnitude given for each; what is not finite is so in both. */
void check_rows_near(const char *what, const std::vector<float> &found,
                     const std::vector<float> &wanted, const std::vector<float> &magnitude,
                     float relative)
{
    for (size_t i = 0; i < wanted.size(); i++, checks++) {
        bool alike = isfinite(wanted[i])
                         ? fabsf(found[i] - wanted[i]) <= relative * magnitude[i] + 1e-30f
                         : !isfinite(found[i]);
        if (!alike)
            report(what, "element", static_cast<unsigned>(i), 0, 0, found[i], wanted[i]);
    }
}

/* Half of the time a width that can be quantised. */
unsigned random_width(bool *q8)
{
    *q8 = below(2);
    return *q8 ? 32 * (1 + below(20)) : 1 + below(600);
}

/* Values that are not finite, or as large as squares of floats can be. */
void spoil(std::vector<float> &x)
{
    static const float odd[] = {INFINITY, -INFINITY, NAN, 1e15f, -0.0f, 1e-31f};
    if (below(3) == 0)
        x[below(static_cast<unsigned>(x.size()))] = odd[below(6)];
}

void check_layer_norm()
{
    bool q8, adds = below(2);
    unsigned m = 1 + below(4), n = random_width(&q8);
    std::vector<float> x = floats(static_cast<size_t>(m) * n), delta = floats(x.size());
    std::vector<float> addend = floats(n), weight = floats(n), bias = floats(n);
    std::vector<float> wanted(x.size()), magnitude(x.size());
    spoil(adds ? delta : x);
    Device<float> x_there(x), delta_there(delta), addend_there(addend), weight_there(weight);
    Device<float> bias_there(bias);
    QuantRows quants(q8 ? x.size() : 0);
    Prelude prelude = {};
    prelude.x = x_there.data;
    prelude.norm = weight_there.data;
    prelude.bias = bias_there.data;
    prelude.delta = adds ? delta_there.data : nullptr;
    prelude.addend = adds ? addend_there.data : nullptr;
    prelude.eps = 1e-5f;
    must(prepare_rows(stream, quants.there(x_there.data, q8), prelude, m, n), "layer_norm");
    covers("layer_norm");
    for (unsigned t = 0; t < m; t++) {
        float *row = &x[static_cast<size_t>(t) * n], largest = 0;
        if (adds) {
            reference.add(row, &delta[static_cast<size_t>(t) * n], n);
            reference.add(row, addend.data(), n);
        }
        reference.layer_norm(&wanted[static_cast<size_t>(t) * n], row, weight.data(), bias.data(),
                             n, 1e-5f);
        for (unsigned i = 0; i < n; i++)
            largest = fmaxf(largest, fabsf(wanted[static_cast<size_t>(t) * n + i]));
        for (unsigned i = 0; i < n; i++)
            magnitude[static_cast<size_t>(t) * n + i] = largest + 1;
    }
    std::vector<float> found = x_there.host();
    check_rows_near("layer_norm", found, wanted, magnitude, n < 8 ? 1e-4f : 4e-6f);
    if (q8)
        check_quants("layer_norm", quants, found, m, n);
}

void check_gelu()
{
    bool q8;
    unsigned m = 1 + below(4), n = random_width(&q8);
    std::vector<float> x = floats(static_cast<size_t>(m) * n), addend = floats(n);
    for (float &value : x)
        value *= 6;
    spoil(x);
    Device<float> x_there(x), addend_there(addend);
    QuantRows quants(q8 ? x.size() : 0);
    Prelude prelude = {};
    prelude.x = x_there.data;
    prelude.addend = addend_there.data;
    prelude.gelu = true;
    must(prepare_rows(stream, quants.there(x_there.data, q8), prelude, m, n), "gelu");
    covers("gelu");
    for (unsigned t = 0; t < m; t++)
        reference.add(&x[static_cast<size_t>(t) * n], addend.data(), n);
    std::vector<float> wanted(x.size()), magnitude(x.size());
    reference.gelu(wanted.data(), x.data(), x.size());
    for (size_t i = 0; i < x.size(); i++)
        magnitude[i] = fabsf(x[i]);
    std::vector<float> found = x_there.host();
    check_rows_near("gelu", found, wanted, magnitude, 4e-7f);
    if (q8)
        check_quants("gelu", quants, found, m, n);
}

/* ---- Attention and pooling ---- */

/* Sequences of uneven lengths, one after the other. */
std::vector<strata_cuda_span> random_spans(unsigned longest, unsigned *tokens)
{
    std::vector<strata_cuda_span> spans(1 + below(4));
    *tokens = 0;
    for (strata_cuda_span &span : spans) {
        span = strata_cuda_span();
        span.first = *tokens;
        span.count = below(4) ? 1 + below(longest) : 32;
        *tokens += span.count;
    }
    return spans;
}

void reference_spans(const std::vector<strata_cuda_span> &spans, unsigned heads, unsigned dim,
                     const std::vector<float> &q, const std::vector<float> &k,
                     const std::vector<float> &v, std::vector<float> *out)
{
    std::vector<unsigned char> scratch(STRATA_ATTENTION_SCRATCH_BYTES(dim) + 64);
    size_t width = static_cast<size_t>(heads) * dim;
    for (const strata_cuda_span &span : spans)
        for (unsigned t = 0; t < span.count; t++)
            for (unsigned head = 0; head < heads; head++) {
                strata_attention a = {};
                uint32_t visible = span.count;
                a.out = &(*out)[(span.first + t) * width + head * dim];
                a.q = &q[(span.first + t) * width + head * dim];
                a.k = &k[span.first * width + head * dim];
                a.v = &v[span.first * width + head * dim];
                a.k_stride = a.v_stride = width * sizeof(float);
                a.visible = &visible;
                a.window = SIZE_MAX;
                a.tokens = a.heads = 1;
                a.head_dim = dim;
                a.scale = 1 / sqrtf(static_cast<float>(dim));
                a.scratch =
                    scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64);
                reference.attention[STRATA_TYPE_F32](&a);
            }
}

/* What is not finite in one head of one sequence changes no other. */
void check_attend_spans()
{
    static const unsigned dims[] = {8, 32, 32, 33, 64, 64, 80, 128, 130, 256};
    unsigned dim = dims[below(10)], heads = 1 + below(3), tokens;
    std::vector<strata_cuda_span> spans = random_spans(dim > 64 ? 40 : 80, &tokens);
    size_t n = static_cast<size_t>(tokens) * heads * dim;
    std::vector<float> q = floats(n), k = floats(n), v = floats(n), wanted(n), magnitude(n, 1.0f);
    for (float &value : q)
        value *= 3;
    spoil(below(2) ? k : v);
    Device<float> q_there(q), k_there(k), v_there(v), out(n);
    Device<strata_cuda_span> spans_there(spans);
    SpanAttention a = {q_there.data,
                       k_there.data,
                       v_there.data,
                       out.data,
                       spans_there.data,
                       static_cast<uint32_t>(spans.size()),
                       0,
                       heads,
                       dim};
    for (const strata_cuda_span &span : spans)
        a.longest = span.count > a.longest ? span.count : a.longest;
    must(attend_spans(stream, a), "attend_spans");
    covers("attention_spans");
    reference_spans(spans, heads, dim, q, k, v, &wanted);
    for (size_t i = 0; i < n; i++)
        magnitude[i] = fmaxf(1, fabsf(wanted[i])); /* a value may be large */
    check_rows_near("attend_spans", out.host(), wanted, magnitude, 1e-5f);
}

void check_pool()
{
    unsigned n = 1 + below(200), pooling = below(3), tokens;
    std::vector<strata_cuda_span> spans = random_spans(20, &tokens);
    std::vector<float> x = floats(static_cast<size_t>(tokens) * n), wanted(spans.size() * n);
    spoil(x);
    std::vector<float> magnitude(wanted.size());
    Device<float> x_there(x), out(wanted.size());
    Device<strata_cuda_span> spans_there(spans);
    must(pool(stream, out.data, x_there.data, spans_there.data, static_cast<uint32_t>(spans.size()),
              pooling, n),
         "pool");
    covers("pool");
    for (size_t s = 0; s < spans.size(); s++)
        for (unsigned i = 0; i < n; i++) {
            const float *column = &x[static_cast<size_t>(spans[s].first) * n + i];
            double sum = 0;
            for (unsigned t = 0; t < spans[s].count; t++) {
                sum += static_cast<double>(column[static_cast<size_t>(t) * n]);
                if (pooling == STRATA_CUDA_POOL_MEAN)
                    magnitude[s * n + i] += fabsf(column[static_cast<size_t>(t) * n]);
            }
            size_t last = static_cast<size_t>(spans[s].count - 1) * n;
            wanted[s * n + i] = pooling == STRATA_CUDA_POOL_FIRST ? column[0]
                                : pooling == STRATA_CUDA_POOL_LAST
                                    ? column[last]
                                    : static_cast<float>(sum / spans[s].count);
        }
    check_rows_near("pool", out.host(), wanted, magnitude, 1e-6f);
}

} // namespace

void check_encoder()
{
    check_layer_norm();
    check_gelu();
    check_attend_spans();
    check_pool();
}

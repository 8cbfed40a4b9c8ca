/* Checks every kernel of the CUDA plug-in against the reference: on the emulator in every build, on
 * a device where one is (the same source, built by nvcc).
 *
 *   check_cuda [ITERATIONS]
 *
 * Sizes and values are random, with those at the edges among them: rows and tokens beside multiples
 * of what a block takes, single positions, values that are not finite.  Integer results must be the
 * reference's bytes; sums of floats agree within what other orders of summation can change. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vector>

#include "kernels.cuh"

#define _Static_assert static_assert
extern "C" {
#include "half.h"
#include "kernels.h"
#include "quantize_blocks.h"
}

using namespace strata;

namespace
{

unsigned failures, checks;
uint64_t seed = 1;
strata_kernels reference;
cudaStream_t stream;

void report(const char *what, const char *name, unsigned a, unsigned b, unsigned c, double found,
            double wanted)
{
    if (++failures <= 20)
        fprintf(stderr, "check_cuda: %s %s (%u, %u, %u): %.9g, reference %.9g\n", what, name, a, b,
                c, found, wanted);
}

uint64_t random_bits()
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}
unsigned below(unsigned n)
{
    return static_cast<unsigned>(random_bits() % n);
}
float unit()
{
    return static_cast<float>(static_cast<double>(random_bits() >> 11) * 0x1p-52 - 1);
}

std::vector<float> floats(size_t n)
{
    std::vector<float> x(n);
    for (size_t i = 0; i < n; i++)
        x[i] = unit();
    return x;
}

void must(cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return;
    fprintf(stderr, "check_cuda: %s: %s\n", what, cudaGetErrorString(error));
    exit(1);
}

/* A copy of host values in memory of the device. */
template <class T> struct Device {
    T *data;
    size_t count;

    explicit Device(size_t n) : data(nullptr), count(n)
    {
        must(cudaMalloc(reinterpret_cast<void **>(&data), n * sizeof(T)), "cudaMalloc");
    }
    explicit Device(const std::vector<T> &host) : Device(host.size())
    {
        must(cudaMemcpyAsync(data, host.data(), count * sizeof(T), cudaMemcpyHostToDevice, stream),
             "upload");
    }
    Device(const Device &) = delete;
    Device &operator=(const Device &) = delete;
    ~Device()
    {
        must(cudaFree(data), "cudaFree: memory beside a block was written");
    }

    std::vector<T> host() const
    {
        std::vector<T> out(count);
        must(cudaStreamSynchronize(stream), "running");
        must(cudaMemcpyAsync(out.data(), data, count * sizeof(T), cudaMemcpyDeviceToHost, stream),
             "download");
        must(cudaStreamSynchronize(stream), "download");
        return out;
    }
};

bool same_bits(float a, float b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

/* ---- Products ---- */

unsigned gguf_id(strata_type type)
{
    return strata_block_format(type)->gguf_id;
}

/* Rows, columns and tokens; and a stride of outputs that leaves a gap. */
struct Shape {
    unsigned rows, k, m, ldy;
};

Shape random_shape(unsigned unit_k)
{
    static const unsigned rows[] = {1, 15, 16, 17, 31, 33, 64, 81},
                          tokens[] = {1, 2, 4, 5, 8, 9, 17, 64, 65, 75};
    Shape s = {rows[below(8)], unit_k * (1 + below(unit_k == 256 ? 9 : 40)), tokens[below(10)], 0};
    s.ldy = s.rows + below(3);
    return s;
}

/* Every output is there, within the bound that the terms' sum of sizes gives; gaps are as before.
 */
void compare_product(const char *what, const char *name, const Shape &s,
                     const std::vector<float> &found, const std::vector<float> &wanted,
                     const std::vector<float> &weights, const std::vector<float> &x)
{
    for (unsigned t = 0; t < s.m; t++)
        for (unsigned i = 0; i < s.ldy; i++) {
            size_t at = static_cast<size_t>(t) * s.ldy + i;
            checks++;
            if (i >= s.rows) {
                if (found[at] != 7)
                    report(what, "writes between rows", s.rows, s.k, s.m, found[at], 7);
                continue;
            }
            double size = 0;
            for (unsigned c = 0; c < s.k; c++)
                size += fabs(static_cast<double>(weights[static_cast<size_t>(i) * s.k + c]) *
                             static_cast<double>(x[static_cast<size_t>(t) * s.k + c]));
            double bound = 4e-6 * size + 1e-30;
            if (!(fabs(static_cast<double>(found[at]) - static_cast<double>(wanted[at])) <= bound))
                report(what, name, s.rows, s.k, s.m, found[at], wanted[at]);
        }
}

void check_packed(strata_type type)
{
    const struct strata_block_format *format = strata_block_format(type);
    Shape s = random_shape(format->block_elems);
    size_t row_bytes = s.k / format->block_elems * format->block_bytes;
    size_t panels = (s.rows + 15) / 16, panel_bytes = strata_panel_bytes(type, s.k);
    std::vector<float> source = floats(static_cast<size_t>(s.rows) * s.k), weights(source.size());
    std::vector<float> x = floats(static_cast<size_t>(s.m) * s.k);
    std::vector<unsigned char> blocks(s.rows * row_bytes), packed(panels * panel_bytes + 64);
    strata_quantize_blocks(STRATA_LEVEL_ref, type, blocks.data(), source.data(), nullptr,
                           source.size());
    reference.dequantize[type](weights.data(), blocks.data(), weights.size());
    unsigned char *aligned = packed.data() + (64 - reinterpret_cast<uintptr_t>(packed.data()) % 64);
    for (size_t p = 0; p < panels; p++)
        strata_pack_panel(type, aligned + p * panel_bytes, blocks.data() + 16 * p * row_bytes,
                          row_bytes, p + 1 < panels ? 16 : s.rows - 16 * p, s.k);
    std::vector<int8_t> q(x.size());
    std::vector<float> scale(x.size() / 32), total(x.size() / 32), wanted(s.m * s.ldy, 7);
    std::vector<int16_t> sum(x.size() / 16);
    strata_q8_rows rows = {q.data(), scale.data(), sum.data(), total.data()};
    reference.quantize_q8(&rows, x.data(), s.m, s.k);
    strata_matmul a = {};
    a.y = wanted.data();
    a.ldy = s.ldy;
    a.w = aligned;
    a.rows = s.rows;
    a.x = x.data();
    a.ldx = s.k;
    a.xq = rows;
    a.m = s.m;
    a.k = s.k;
    Device<unsigned char> panels_there(
        std::vector<unsigned char>(aligned, aligned + panels * panel_bytes));
    Device<float> x_there(x), scale_there(scale);
    Device<int8_t> q_there(q);
    Device<int16_t> sum_there(sum);
    for (int floats_too = 0; floats_too < 2; floats_too++) {
        Device<float> y(std::vector<float>(s.m * s.ldy, 7));
        Product p = {y.data,
                     s.ldy,
                     panels_there.data,
                     gguf_id(type),
                     s.rows,
                     s.k,
                     s.m,
                     0,
                     floats_too ? x_there.data : nullptr,
                     q_there.data,
                     scale_there.data,
                     sum_there.data};
        must(packed_product(stream, p), format->name);
        (floats_too ? reference.packed_f32 : reference.packed_q8)[type](&a);
        compare_product(floats_too ? "packed_f32" : "packed_q8", format->name, s, y.host(), wanted,
                        weights, x);
    }
}

void check_float(strata_type type)
{
    Shape s = random_shape(1 + below(7));
    unsigned bytes = strata_block_format(type)->block_bytes;
    size_t row_bytes = static_cast<size_t>(s.k) * bytes;
    std::vector<float> weights = floats(static_cast<size_t>(s.rows) * s.k);
    std::vector<float> x = floats(static_cast<size_t>(s.m) * s.k), wanted(s.m * s.ldy, 7);
    std::vector<unsigned char> stored(s.rows * row_bytes),
        scratch(STRATA_GEMM_SCRATCH_BYTES(s.k) + 64);
    for (size_t i = 0; i < weights.size(); i++) {
        uint32_t bits = strata_float_to_bits(weights[i]);
        uint16_t half = type == STRATA_TYPE_F16 ? strata_float_to_half(weights[i])
                                                : static_cast<uint16_t>(bits >> 16);
        memcpy(&stored[i * bytes], bytes == 4 ? static_cast<void *>(&bits) : &half, bytes);
    }
    reference.dequantize[type](weights.data(), stored.data(), weights.size());
    strata_matmul a = {};
    a.y = wanted.data();
    a.ldy = s.ldy;
    a.w = stored.data();
    a.row_bytes = row_bytes;
    a.rows = s.rows;
    a.x = x.data();
    a.ldx = s.k;
    a.m = s.m;
    a.k = s.k;
    a.scratch = scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64);
    (s.m == 1 ? reference.gemv_f32 : reference.gemm_f32)[type](&a);
    Device<unsigned char> stored_there(stored);
    Device<float> x_there(x), y(std::vector<float>(s.m * s.ldy, 7));
    Product p = {y.data, s.ldy,     stored_there.data, gguf_id(type), s.rows,  s.k,
                 s.m,    row_bytes, x_there.data,      nullptr,       nullptr, nullptr};
    must(float_product(stream, p), strata_block_format(type)->name);
    compare_product("float", strata_block_format(type)->name, s, y.host(), wanted, weights, x);
}

/* ---- Rows of floats ---- */

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

void check_near(const char *what, const std::vector<float> &found, const std::vector<float> &wanted,
                float relative)
{
    for (size_t i = 0; i < found.size(); i++, checks++)
        if (!(fabsf(found[i] - wanted[i]) <= relative * fabsf(wanted[i]) + 1e-30f))
            report(what, "element", static_cast<unsigned>(i), 0, 0, found[i], wanted[i]);
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

/* ---- Attention ---- */

struct Heads {
    unsigned tokens, heads, kv_heads, dim, pairs, context, window;
    uint64_t position;
    bool neox, q8_0;
    strata_type type() const
    {
        return q8_0 ? STRATA_TYPE_Q8_0 : STRATA_TYPE_F16;
    }
    size_t row_bytes() const
    {
        return q8_0 ? dim / 32 * 34 : dim * 2;
    }
    size_t cache_bytes() const
    {
        return kv_heads * context * row_bytes();
    }
};

Heads random_heads()
{
    static const unsigned dims[] = {8, 32, 48, 64, 96, 128, 256};
    Heads h = {};
    h.q8_0 = below(2);
    do
        h.dim = dims[below(7)];
    while (h.q8_0 && h.dim % 32);
    h.kv_heads = 1 + below(3);
    h.heads = h.kv_heads * (1 + below(3));
    h.tokens = 1 + below(5);
    h.position = below(2) ? below(200) : 0;
    h.context = static_cast<unsigned>(h.position) + h.tokens + below(3);
    h.window = below(2) ? 1 + below(60) : 0;
    h.pairs = below(2) ? h.dim / 2 : h.dim / 4;
    h.neox = below(2);
    return h;
}

/* The cache before `position`, of random rows. */
std::vector<unsigned char> random_cache(const Heads &h)
{
    std::vector<unsigned char> cache(h.cache_bytes(), 0xff); /* NaNs where nothing is yet */
    for (unsigned head = 0; head < h.kv_heads; head++)
        for (uint64_t p = 0; p < h.position; p++) {
            std::vector<float> row = floats(h.dim);
            reference.encode[h.type()](&cache[(head * h.context + p) * h.row_bytes()], row.data(),
                                       h.dim);
        }
    return cache;
}

void reference_rope_store(const Heads &h, const std::vector<float> &rope, std::vector<float> *q,
                          std::vector<float> k, const std::vector<float> &v,
                          std::vector<unsigned char> *keys, std::vector<unsigned char> *values)
{
    strata_rope_fn *rotate = h.neox ? reference.rope_neox : reference.rope_norm;
    for (unsigned t = 0; t < h.tokens; t++) {
        const float *cs = &rope[2 * h.pairs * t];
        rotate(&(*q)[static_cast<size_t>(t) * h.heads * h.dim], cs, h.heads, h.dim, h.pairs);
        float *key = &k[static_cast<size_t>(t) * h.kv_heads * h.dim];
        rotate(key, cs, h.kv_heads, h.dim, h.pairs);
        for (unsigned head = 0; head < h.kv_heads; head++) {
            size_t at = (head * h.context + h.position + t) * h.row_bytes();
            reference.encode[h.type()](&(*keys)[at], key + head * h.dim, h.dim);
            reference.encode[h.type()](
                &(*values)[at], &v[(static_cast<size_t>(t) * h.kv_heads + head) * h.dim], h.dim);
        }
    }
}

std::vector<float> reference_attention(const Heads &h, const std::vector<float> &q,
                                       const std::vector<unsigned char> &keys,
                                       const std::vector<unsigned char> &values)
{
    std::vector<float> out(q.size());
    std::vector<unsigned char> scratch(STRATA_ATTENTION_SCRATCH_BYTES(h.dim) + 64);
    unsigned share = h.heads / h.kv_heads;
    for (unsigned t = 0; t < h.tokens; t++)
        for (unsigned head = 0; head < h.heads; head++) {
            uint32_t visible = static_cast<uint32_t>(h.position) + t + 1;
            size_t row = (static_cast<size_t>(t) * h.heads + head) * h.dim;
            strata_attention a = {};
            a.out = &out[row];
            a.q = &q[row];
            a.k = &keys[head / share * h.context * h.row_bytes()];
            a.v = &values[head / share * h.context * h.row_bytes()];
            a.k_stride = a.v_stride = h.row_bytes();
            a.visible = &visible;
            a.window = h.window ? h.window : SIZE_MAX;
            a.tokens = a.heads = 1;
            a.head_dim = h.dim;
            a.scale = 1 / sqrtf(static_cast<float>(h.dim));
            a.scratch = scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64);
            reference.attention[h.type()](&a);
        }
    return out;
}

/* Rounding may differ by one step of the stored type: rotations are computed with or without fused
 * multiply-adds. */
void compare_cache(const char *what, const Heads &h, const std::vector<unsigned char> &found,
                   const std::vector<unsigned char> &wanted, float bound)
{
    for (unsigned head = 0; head < h.kv_heads; head++)
        for (uint64_t p = 0; p < h.context; p++) {
            size_t at = (head * h.context + p) * h.row_bytes();
            std::vector<float> a(h.dim), b(h.dim);
            if (p < h.position || p >= h.position + h.tokens) {
                if (memcmp(&found[at], &wanted[at], h.row_bytes()) != 0)
                    report(what, "another position changed", head, static_cast<unsigned>(p), 0, 0,
                           0);
                continue;
            }
            reference.dequantize[h.type()](a.data(), &found[at], h.dim);
            reference.dequantize[h.type()](b.data(), &wanted[at], h.dim);
            for (unsigned i = 0; i < h.dim; i++, checks++)
                if (!(fabsf(a[i] - b[i]) <= bound))
                    report(what, h.q8_0 ? "Q8_0" : "F16", head, static_cast<unsigned>(p), i, a[i],
                           b[i]);
        }
}

void check_attention()
{
    Heads h = random_heads();
    std::vector<float> q = floats(static_cast<size_t>(h.tokens) * h.heads * h.dim);
    std::vector<float> k = floats(static_cast<size_t>(h.tokens) * h.kv_heads * h.dim);
    std::vector<float> v = floats(k.size()), rope(2 * h.pairs * h.tokens + 1);
    for (size_t i = 0; i + 1 < rope.size(); i += 2) {
        float angle = 4 * unit();
        rope[i] = cosf(angle);
        rope[i + 1] = sinf(angle);
    }
    std::vector<unsigned char> keys = random_cache(h), values = random_cache(h);
    Device<float> q_there(q), k_there(k), v_there(v), rope_there(rope), out(q.size());
    Device<unsigned char> keys_there(keys), values_there(values);
    std::vector<TokenKv> tokens(h.tokens);
    for (unsigned t = 0; t < h.tokens; t++)
        tokens[t] = TokenKv{keys_there.data, values_there.data, h.context, h.position + t, h.q8_0};
    Device<TokenKv> tokens_there(tokens);
    Attention a = {q_there.data,
                   k_there.data,
                   v_there.data,
                   out.data,
                   rope_there.data,
                   tokens_there.data,
                   h.tokens,
                   h.heads,
                   h.kv_heads,
                   h.dim,
                   h.pairs,
                   h.neox,
                   h.window,
                   1,
                   0,
                   nullptr};
    must(rope_store(stream, a), "rope_store");
    reference_rope_store(h, rope, &q, k, v, &keys, &values);
    std::vector<float> rotated = q_there.host();
    for (size_t i = 0; i < q.size(); i++, checks++)
        if (!(fabsf(rotated[i] - q[i]) <= 1e-6f))
            report("rope", "query", h.dim, h.pairs, static_cast<unsigned>(i), rotated[i], q[i]);
    float step = h.q8_0 ? 2.0f / 127 : 2e-3f;
    compare_cache("keys", h, keys_there.host(), keys, step);
    compare_cache("values", h, values_there.host(), values, 0);
    keys = keys_there.host(); /* from here on the same cache */
    a.parts = below(2) ? 1 : 1 + below(5);
    a.part = (h.context + a.parts - 1) / a.parts;
    Device<float> partial(attention_floats(a) + 1);
    a.partial = partial.data;
    must(attend(stream, a), "attend");
    std::vector<float> found = out.host(), wanted = reference_attention(h, rotated, keys, values);
    for (size_t i = 0; i < found.size(); i++, checks++)
        if (!(fabsf(found[i] - wanted[i]) <= 4e-6f))
            report("attend", h.q8_0 ? "Q8_0" : "F16", h.dim, h.window,
                   static_cast<unsigned>(h.position), found[i], wanted[i]);
}

} // namespace

int main(int argc, char **argv)
{
    unsigned iterations = argc > 1 ? static_cast<unsigned>(atoi(argv[1])) : 20;
    strata_kernels_select(&reference, STRATA_LEVEL_ref);
    must(cudaSetDevice(0), "cudaSetDevice");
    must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
    for (unsigned i = 0; i < iterations; i++) {
        for (int t = 0; t < STRATA_TYPE_COUNT; t++) {
            if (reference.packed_q8[t])
                check_packed(static_cast<strata_type>(t));
            if (reference.gemv_f32[t])
                check_float(static_cast<strata_type>(t));
        }
        check_quantize();
        check_rows();
        for (int n = 0; n < 4; n++)
            check_attention();
    }
    cudaStreamDestroy(stream);
    printf("check_cuda: %u checks, %u failed\n", checks, failures);
    return failures || !checks;
}

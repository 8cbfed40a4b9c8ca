/* Checks of products. */
#include "check_cuda.cuh"

using namespace strata;

namespace
{

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

} // namespace

std::vector<unsigned char> panels_of(strata_type type, const std::vector<unsigned char> &blocks,
                                     unsigned rows, unsigned k)
{
    const struct strata_block_format *format = strata_block_format(type);
    size_t row_bytes = k / format->block_elems * format->block_bytes;
    size_t panels = (rows + 15) / 16, panel_bytes = strata_panel_bytes(type, k);
    std::vector<unsigned char> room(panels * panel_bytes + 64);
    unsigned char *aligned = room.data() + (64 - reinterpret_cast<uintptr_t>(room.data()) % 64);
    for (size_t p = 0; p < panels; p++)
        strata_pack_panel(type, aligned + p * panel_bytes, blocks.data() + 16 * p * row_bytes,
                          row_bytes, p + 1 < panels ? 16 : rows - 16 * p, k);
    return std::vector<unsigned char>(aligned, aligned + panels * panel_bytes);
}

void check_packed(strata_type type)
{
    const struct strata_block_format *format = strata_block_format(type);
    Shape s = random_shape(format->block_elems);
    size_t row_bytes = s.k / format->block_elems * format->block_bytes;
    std::vector<float> source = floats(static_cast<size_t>(s.rows) * s.k), weights(source.size());
    std::vector<float> x = floats(static_cast<size_t>(s.m) * s.k);
    std::vector<unsigned char> blocks(s.rows * row_bytes);
    strata_quantize_blocks(STRATA_LEVEL_ref, type, blocks.data(), source.data(), nullptr,
                           source.size());
    reference.dequantize[type](weights.data(), blocks.data(), weights.size());
    std::vector<unsigned char> panels = panels_of(type, blocks, s.rows, s.k);
    std::vector<int8_t> q(x.size());
    std::vector<float> scale(x.size() / 32), total(x.size() / 32), wanted(s.m * s.ldy, 7);
    std::vector<int16_t> sum(x.size() / 16);
    strata_q8_rows rows = {q.data(), scale.data(), sum.data(), total.data()};
    reference.quantize_q8(&rows, x.data(), s.m, s.k);
    strata_matmul a = {};
    a.y = wanted.data();
    a.ldy = s.ldy;
    a.w = panels.data();
    a.rows = s.rows;
    a.x = x.data();
    a.ldx = s.k;
    a.xq = rows;
    a.m = s.m;
    a.k = s.k;
    Device<unsigned char> panels_there(panels);
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

/* Checks of products. */
#include <deque>

#include "check_cuda.cuh"
#include "rows.cuh"

using namespace strata;

namespace
{

/* Rows, columns and tokens; and a stride of outputs that leaves a gap.  Now and then few rows of
 * many columns, so that whoever keeps some of them ahead goes around more than once. */
struct Shape {
    unsigned rows, k, m, ldy;
};

Shape random_shape(unsigned unit_k)
{
    static const unsigned rows[] = {1, 15, 16, 17, 31, 33, 64, 81},
                          tokens[] = {1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 63, 64, 65, 75, 129};
    Shape s = {rows[below(8)], unit_k * (1 + below(unit_k == 256 ? 9 : 72)), tokens[below(16)], 0};
    if (below(6) == 0) {
        s.rows = 1 + below(48);
        s.k = unit_k * (unit_k == 256 ? 16 : 128) + below(2048 / unit_k) * unit_k;
        s.m = 1 + below(24);
    }
    s.ldy = s.rows + below(3);
    return s;
}

/* How far an output may be from the reference: what other orders of summation can change; and,
 * with halves, the rounding of activations, and of weights and their scales, a block of 32 at a
 * time the same way (errors of several blocks add up like a random walk). */
double bound_of(const float *weights, const float *x, unsigned k, bool halves, double ends)
{
    double size = 0, squares = 0;
    for (unsigned first = 0; first < k; first += 32) {
        double largest = 0, sum = 0;
        for (unsigned c = first; c < k && c < first + 32; c++) {
            double w = fabs(static_cast<double>(weights[c])), v = fabs(static_cast<double>(x[c]));
            size += w * v;
            sum += v;
            largest = fmax(largest, w);
        }
        squares += 4 * largest * largest * sum * sum;
    }
    return 4e-6 * (size + ends) + 1e-30 + (halves ? 0x1p-10 * sqrt(squares) : 0);
}

/* How a product ends, at random: a bias, and the output added to the 7 that is there. */
struct Ends {
    bool accumulate, biased;
    std::vector<float> bias;
    Device<float> bias_there;

    explicit Ends(const Shape &s)
        : accumulate(below(2)), biased(below(2)), bias(floats(s.rows)), bias_there(bias)
    {
    }
    Product product(const Shape &s, float *y, const void *weights, strata_type type) const
    {
        Product p = {};
        p.y = y;
        p.ldy = s.ldy;
        p.accumulate = accumulate;
        p.bias = biased ? bias_there.data : nullptr;
        p.weights = weights;
        p.type = gguf_id(type);
        p.rows = s.rows;
        p.k = s.k;
        p.m = s.m;
        return p;
    }
    /* What is added to a product, at most. */
    double size() const
    {
        return (accumulate ? 7 : 0) + (biased ? 1 : 0);
    }
    std::vector<float> of(const Shape &s, std::vector<float> y) const
    {
        for (unsigned t = 0; t < s.m; t++)
            for (unsigned i = 0; i < s.rows; i++)
                y[static_cast<size_t>(t) * s.ldy + i] +=
                    (accumulate ? 7 : 0) + (biased ? bias[i] : 0);
        return y;
    }
};

/* Every output is there, within its bound; gaps are as before. */
void compare_product(const char *what, const char *name, const Shape &s,
                     const std::vector<float> &found, const std::vector<float> &wanted,
                     const std::vector<float> &weights, const std::vector<float> &x, bool halves,
                     const Ends &ends)
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
            double bound = bound_of(&weights[static_cast<size_t>(i) * s.k],
                                    &x[static_cast<size_t>(t) * s.k], s.k, halves, ends.size());
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

namespace
{

/* Rows of k floats.  Some are normalised, of small integers: their squares have the same sum in any
 * order. */
struct Tokens {
    std::vector<float> x;
    std::vector<float> raw, norm; /* x = rms_norm(raw, norm), if there are any */

    void make(unsigned m, unsigned k)
    {
        x = floats(static_cast<size_t>(m) * k);
        if (below(2))
            return;
        norm = floats(k);
        for (float &weight : norm)
            weight = fabsf(weight) <= 1e6f ? weight : 1;
        for (size_t i = 0; i < x.size(); i++)
            raw.push_back(static_cast<float>(below(9)) - 4);
        for (unsigned token = 0; token < m; token++)
            reference.rms_norm(&x[token * k], &raw[token * k], norm.data(), k, 1e-5f);
    }
};

/* A packed matrix and tokens for it; those of another one, perhaps. */
struct Case : Tokens {
    strata_type type;
    Shape s;
    const char *name;
    std::vector<float> weights;
    std::vector<unsigned char> panels;

    explicit Case(strata_type type_, const Case *like = nullptr)
        : type(type_), s(random_shape(strata_block_format(type)->block_elems)),
          name(strata_block_format(type)->name)
    {
        if (like) {
            s.k = like->s.k;
            s.m = like->s.m;
        }
        weights.resize(static_cast<size_t>(s.rows) * s.k);
        if (like)
            x = like->x;
        else
            make(s.m, s.k);
        const struct strata_block_format *format = strata_block_format(type);
        std::vector<float> source = floats(weights.size());
        std::vector<unsigned char> blocks(weights.size() / format->block_elems *
                                          format->block_bytes);
        strata_quantize_blocks(STRATA_LEVEL_ref, type, blocks.data(), source.data(), nullptr,
                               source.size());
        reference.dequantize[type](weights.data(), blocks.data(), weights.size());
        panels = panels_of(type, blocks, s.rows, s.k);
    }

    /* What the reference computes, with activations in 8 bits or as they are. */
    std::vector<float> wanted(bool quants) const
    {
        std::vector<int8_t> q(x.size());
        std::vector<float> scale(x.size() / 32), total(x.size() / 32), y(s.m * s.ldy, 7);
        std::vector<int16_t> sum(x.size() / 16);
        strata_matmul a = {};
        a.y = y.data();
        a.ldy = s.ldy;
        a.w = panels.data();
        a.rows = s.rows;
        a.x = x.data();
        a.ldx = s.k;
        a.xq = {q.data(), scale.data(), sum.data(), total.data()};
        a.m = s.m;
        a.k = s.k;
        reference.quantize_q8(&a.xq, x.data(), s.m, s.k);
        (quants ? reference.packed_q8 : reference.packed_f32)[type](&a);
        return y;
    }
};

enum Way { QUANTS, FLOATS, HALVES, OWN, WAYS }; /* OWN: the kernel prepares its 8 bits itself */

/* A product of some rows of a case, from a panel on. */
struct Part {
    const Case &c;
    unsigned first;
    Shape s;
    Ends ends;
    Device<float> y;

    explicit Part(const Case &c_)
        : c(c_), first(16 * below((c.s.rows + 15) / 16)), s(shape_of(c, first)), ends(s),
          y(std::vector<float>(s.m * s.ldy, 7))
    {
    }
    static Shape shape_of(const Case &c, unsigned first)
    {
        Shape s = c.s;
        s.rows = below(2) ? c.s.rows - first : 1 + below(c.s.rows - first);
        s.ldy = s.rows + below(3);
        return s;
    }
    Product product(const unsigned char *panels) const
    {
        size_t at = first / 16 * strata_panel_bytes(c.type, s.k);
        return ends.product(s, y.data, panels + at, c.type);
    }
    void compare(const char *what, const std::vector<float> &all, bool halves) const
    {
        std::vector<float> wanted(s.m * s.ldy, 7);
        for (unsigned t = 0; t < s.m; t++)
            for (unsigned i = 0; i < s.rows; i++)
                wanted[t * s.ldy + i] = all[t * c.s.ldy + first + i];
        std::vector<float> weights(c.weights.begin() + static_cast<long>(first) * s.k,
                                   c.weights.end());
        compare_product(what, c.name, s, y.host(), ends.of(s, wanted), weights, c.x, halves, ends);
    }
};

/* Up to GROUP products of the same input at once: of those of one type that follow each other
 * packed_products makes one launch.  HALVES: by a tile, or as the plug-in chooses. */
void check_way(const Case *const *cases, unsigned n_cases, Way way, const Prelude &own,
               const Prepared &input, const Device<unsigned char> *panels,
               const strata_cuda_tile *tile = nullptr)
{
    static const char *const names[] = {"packed_q8", "packed_f32", "packed, halves",
                                        "packed_q8, prepared by itself"};
    static const char *const ops[] = {"packed_q8", "packed_f32", "packed_halves", "packed_q8"};
    Product products[GROUP];
    std::deque<Part> parts; /* they stay where they are */
    std::vector<unsigned> chosen;
    std::vector<float> wanted[2];
    unsigned count = 1 + below(GROUP);
    for (unsigned i = 0; i < n_cases; i++)
        wanted[i] = cases[i]->wanted(way == QUANTS || way == OWN);
    for (unsigned i = 0; i < count; i++) {
        chosen.push_back(below(n_cases));
        parts.emplace_back(*cases[chosen[i]]);
        products[i] = parts[i].product(panels[chosen[i]].data);
        products[i].tile = tile ? tile->tokens : 0;
        if (way == OWN)
            products[i].prelude = own;
        else
            products[i].in = input;
    }
    must(packed_products(stream, products, count), cases[0]->name);
    for (unsigned i = 0; i < count; i++)
        parts[i].compare(names[way], wanted[chosen[i]], way == HALVES);
    for (unsigned i = 0; i < n_cases; i++)
        covers(tile ? tile->op : ops[way], cases[i]->type);
}

} // namespace

void check_packed(strata_type type)
{
    const Case c(type);
    strata_type other = static_cast<strata_type>(below(STRATA_TYPE_COUNT));
    if (!reference.packed_q8[other] || c.s.k % strata_block_format(other)->block_elems)
        other = type;
    const Case second(other, &c);
    const Case *const cases[] = {&c, &second};
    const Device<unsigned char> panels[2] = {Device<unsigned char>(c.panels),
                                             Device<unsigned char>(second.panels)};
    Device<float> x(c.x), scale(c.x.size() / 32), token_scale(c.s.m);
    Device<int8_t> q(c.x.size());
    Device<int16_t> sum(c.x.size() / 16);
    Device<uint16_t> halves(c.x.size());
    Prelude plain = {};
    plain.x = x.data;
    const bool normed = !c.raw.empty();
    Device<float> raw(normed ? c.raw : c.x), norm(normed ? c.norm : c.x);
    Prelude own = plain;
    if (normed) {
        own.x = raw.data;
        own.norm = norm.data;
        own.eps = 1e-5f;
    }
    Prepared all = {nullptr, q.data, scale.data, sum.data, halves.data, token_scale.data};
    must(prepare_rows(stream, all, plain, c.s.m, c.s.k), "prepare_rows");
    for (int way = 0; way < WAYS; way++) {
        Prepared input = all;
        if (way != HALVES)
            input.halves = nullptr;
        if (way == FLOATS) {
            input.q = nullptr;
            input.x = x.data;
        }
        bool serves = way != OWN || c.s.m == 1;
        if (serves)
            check_way(cases, 2, static_cast<Way>(way), own, input, panels);
        for (uint32_t i = 0; i < TILE_COUNT && way == HALVES; i++)
            check_way(cases, 2, HALVES, own, input, panels, &TILES[i]);
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
    Ends ends(s);
    Product p = ends.product(s, y.data, stored_there.data, type);
    p.row_bytes = row_bytes;
    p.in.x = x_there.data;
    must(float_product(stream, p), strata_block_format(type)->name);
    covers("gemv_f32", type);
    compare_product("float", strata_block_format(type)->name, s, y.host(), ends.of(s, wanted),
                    weights, x, false, ends);
}

/* Checks of products through cuBLAS: what it is given, to the bit, and its results within what
 * other orders of summation change. */
#include "blas.cuh"
#include "check_cuda.cuh"

using namespace strata;

namespace
{

Blas blas;
void *workspace;

/* 2^-24 is the smallest number of binary16. */
const double HALF_STEP = 0x1p-25, HALF_ROUNDING = 0x1p-11;

float from_bits16(uint16_t bits, BlasType type)
{
    return type == BLAS_BF16 ? strata_bfloat_to_float(bits) : strata_half_to_float(bits);
}

/* ---- Weights ---- */

/* Packed rows of many sizes, some so large or small that binary16 does not hold them; or blocks of
 * random bytes. */
struct Packed {
    unsigned rows, k;
    std::vector<unsigned char> blocks;
    std::vector<float> weights;

    Packed(strata_type type, unsigned rows_, unsigned k_, bool random_bytes)
        : rows(rows_), k(k_), weights(static_cast<size_t>(rows_) * k_)
    {
        static const float sizes[] = {1, 1, 30, 1e-6f, 6e4f, 3e5f};
        const struct strata_block_format *format = strata_block_format(type);
        bool minimum_in_half = type == STRATA_TYPE_Q4_1 || type == STRATA_TYPE_Q5_1;
        blocks.resize(weights.size() / format->block_elems * format->block_bytes);
        std::vector<float> source = floats(weights.size());
        for (unsigned r = 0; r < rows; r++) {
            float size = sizes[below(minimum_in_half ? 5 : 6)];
            for (unsigned c = 0; c < k; c++)
                source[static_cast<size_t>(r) * k + c] *= size;
        }
        if (random_bytes)
            for (unsigned char &byte : blocks)
                byte = static_cast<unsigned char>(below(256));
        else
            strata_quantize_blocks(STRATA_LEVEL_ref, type, blocks.data(), source.data(), nullptr,
                                   source.size());
        reference.dequantize[type](weights.data(), blocks.data(), weights.size());
    }
    float largest(unsigned row) const
    {
        float largest = 0;
        for (unsigned c = 0; c < k; c++)
            largest = fmaxf(largest, fabsf(weights[static_cast<size_t>(row) * k + c]));
        return largest;
    }
    bool finite(unsigned row) const
    {
        for (unsigned c = 0; c < k; c++)
            if (!isfinite(weights[static_cast<size_t>(row) * k + c]))
                return false;
        return true;
    }
};

Product product_of(strata_type type, const void *weights, unsigned rows, unsigned k)
{
    Product p = {};
    p.weights = weights;
    p.type = gguf_id(type);
    p.rows = rows;
    p.k = k;
    return p;
}

/* A row's exponent: none for ordinary sizes, and one with which no element overflows and the
 * largest has all its bits. */
void check_exponent(const char *name, const Packed &m, unsigned row, int exponent)
{
    float largest = m.largest(row), there = ldexpf(largest, -exponent);
    bool ordinary = largest >= 0x1p-8f && largest < 0x1p10f;
    checks++;
    if (m.finite(row) &&
        ((ordinary && exponent) || there > 65504 || (largest > 0 && there < 0x1p-14f)))
        report("exponent of", name, m.rows, m.k, row, exponent, static_cast<double>(largest));
}

unsigned random_rows()
{
    static const unsigned rows[] = {1, 15, 16, 17, 33, 50};
    return rows[below(6)];
}

unsigned random_columns(strata_type type)
{
    unsigned elems = strata_block_format(type)->block_elems;
    return elems * (1 + below(elems == 256 ? 12 : 40));
}

} // namespace

void check_unpack(strata_type type)
{
    const char *name = strata_block_format(type)->name;
    Packed m(type, random_rows(), random_columns(type), below(3) == 0);
    Device<unsigned char> panels(panels_of(type, m.blocks, m.rows, m.k));
    Product p = product_of(type, panels.data, m.rows, m.k);
    /* All, or those behind the first panel. */
    unsigned first = m.rows > 16 ? 16 * below(2) : 0, rows = m.rows - first;
    Device<uint16_t> halves(static_cast<size_t>(rows) * m.k);
    Device<float> exact(halves.count);
    Device<int> exponents(rows);
    must(unpack(stream, halves.data, exponents.data, BLAS_HALF, p, first, rows), "unpack");
    must(unpack(stream, exact.data, nullptr, BLAS_FLOAT, p, first, rows), "unpack");
    covers("unpack", type);
    std::vector<uint16_t> found = halves.host();
    std::vector<float> found_exact = exact.host();
    std::vector<int> exponent = exponents.host();
    for (unsigned r = 0; r < rows; r++) {
        check_exponent(name, m, first + r, exponent[r]);
        for (unsigned c = 0; c < m.k; c++, checks += 2) {
            size_t at = static_cast<size_t>(r) * m.k + c;
            float weight = m.weights[static_cast<size_t>(first) * m.k + at];
            float half = from_bits16(found[at], BLAS_HALF);
            float wanted = strata_half_to_float(strata_float_to_half(ldexpf(weight, -exponent[r])));
            if (!same_bits(half, wanted) && half != wanted) /* but for the sign of 0 */
                report("unpack", name, m.rows, m.k, c, static_cast<double>(half),
                       static_cast<double>(wanted));
            if (!same_bits(found_exact[at], weight) && found_exact[at] != weight)
                report("unpack to floats", name, m.rows, m.k, c,
                       static_cast<double>(found_exact[at]), static_cast<double>(weight));
        }
    }
}

/* ---- Activations ---- */

namespace
{

/* Rows of many sizes; some with infinities and NaNs. */
std::vector<float> hostile_rows(unsigned m, unsigned k)
{
    static const float sizes[] = {1, 1, 40, 2e-5f, 5e4f, 1e30f, 1e-36f, 0},
                       odd[] = {INFINITY, -INFINITY, NAN, 1e30f, 3e38f, 1e5f, 65519, 65520, 1e-40f};
    std::vector<float> x = floats(static_cast<size_t>(m) * k);
    for (unsigned t = 0; t < m; t++) {
        float size = sizes[below(8)];
        for (unsigned c = 0; c < k; c++)
            x[static_cast<size_t>(t) * k + c] *= size;
        if (below(4) == 0)
            x[static_cast<size_t>(t) * k + below(k)] = odd[below(9)];
    }
    return x;
}

/* As cuBLAS is to have them: halves times the power of two of their row, or bfloat16. */
struct Narrow {
    std::vector<uint16_t> bits;
    std::vector<float> scale;

    Narrow(const std::vector<float> &x, unsigned m, unsigned k, BlasType type)
        : bits(x.size()), scale(m, 1)
    {
        Device<float> there(x), token_scale(scale);
        Device<uint16_t> out(x.size());
        Prelude prelude = {};
        prelude.x = there.data;
        Prepared prepared = {};
        prepared.halves = out.data;
        prepared.token_scale = token_scale.data;
        must(type == BLAS_HALF ? prepare_rows(stream, prepared, prelude, m, k)
                               : narrow(stream, out.data, there.data, m, k),
             "narrow");
        bits = out.host();
        scale = token_scale.host();
    }
};

} // namespace

void check_narrow()
{
    unsigned m = 1 + below(20), k = 1 + below(700);
    std::vector<float> x = hostile_rows(m, k);
    Narrow bf16(x, m, k, BLAS_BF16);
    covers("narrow");
    for (size_t i = 0; i < x.size(); i++, checks++) {
        float found = from_bits16(bf16.bits[i], BLAS_BF16);
        float rounded = from_bits16(strata_float_to_bfloat(x[i]), BLAS_BF16);
        if (!same_bits(found, rounded))
            report("narrow", "bfloat16", m, k, static_cast<unsigned>(i), static_cast<double>(found),
                   static_cast<double>(rounded));
    }
}

/* ---- Products ---- */

namespace
{

/* Both sides of a product, as numbers that are multiplied without further rounding. */
struct Sides {
    unsigned rows, m, k, ldy;
    std::vector<double> w, x;
    double rounding; /* of a sum, by the sizes of its terms */
};

/* Rows of k, each with a factor of its own. */
std::vector<double> doubles_of(const std::vector<uint16_t> &bits, const std::vector<double> &scale,
                               BlasType type)
{
    std::vector<double> out(bits.size());
    size_t k = bits.size() / scale.size();
    for (size_t i = 0; i < bits.size(); i++)
        out[i] = static_cast<double>(from_bits16(bits[i], type)) * scale[i / k];
    return out;
}

std::vector<double> powers(const std::vector<int> &exponents)
{
    std::vector<double> out;
    for (int exponent : exponents)
        out.push_back(ldexp(1, exponent));
    return out;
}

std::vector<double> exactly(const std::vector<float> &x)
{
    return std::vector<double>(x.begin(), x.end());
}

/* What a product gave, less its bias and the 7 that it was added to; and by how much that may have
 * rounded it. */
struct Found {
    std::vector<float> y;
    double slack;
};

void compare(const char *what, const char *name, const Sides &s, const Found &found)
{
    for (unsigned t = 0; t < s.m; t++)
        for (unsigned r = 0; r < s.ldy; r++, checks++) {
            double value = static_cast<double>(found.y[static_cast<size_t>(t) * s.ldy + r]);
            if (r >= s.rows) {
                if (value != 7)
                    report(what, "writes between rows", s.rows, s.k, s.m, value, 7);
                continue;
            }
            double sum = 0, size = 0;
            for (unsigned c = 0; c < s.k; c++) {
                double term =
                    s.w[static_cast<size_t>(r) * s.k + c] * s.x[static_cast<size_t>(t) * s.k + c];
                sum += term;
                size += fabs(term);
            }
            if (size > 1e38 && isfinite(size))
                continue; /* at the end of floats */
            bool good = isfinite(sum) ? fabs(value - sum) <= s.rounding * size + found.slack + 1e-36
                                      : !isfinite(value);
            if (!good)
                report(what, name, s.rows, s.k, s.m, value, sum);
        }
}

/* A product through cuBLAS, with scratch for so many panels at a time; into y, where it is added to
 * the 7 that is there, or not. */
Found multiply(Product p, bool packed, bool exact, const std::vector<float> &x, unsigned m,
               unsigned ldy, unsigned panels)
{
    Device<float> there(x), y(std::vector<float>(static_cast<size_t>(m) * ldy, 7));
    Device<float> token_scale(m);
    Device<uint16_t> halves(x.size()), bf16(x.size());
    Device<int> of_row(p.rows);
    Device<unsigned char> w(static_cast<size_t>(panels) * 16 * p.k * (exact ? 4 : 2));
    const std::vector<float> bias = floats(p.rows);
    Device<float> bias_there(bias);
    p.accumulate = below(2);
    p.bias = below(2) ? bias_there.data : nullptr;
    BlasScratch scratch = {bf16.data, of_row.data, w.data, w.count};
    p.y = y.data;
    p.ldy = ldy;
    p.m = m;
    p.in.x = there.data;
    if (blas_takes_halves(p.type, packed, exact)) {
        Prelude prelude = {};
        prelude.x = there.data;
        p.in = Prepared();
        p.in.halves = halves.data;
        p.in.token_scale = token_scale.data;
        must(prepare_rows(stream, p.in, prelude, m, p.k), "prepare_rows");
    }
    cudaError_t error = blas_product(blas, stream, p, packed, exact, scratch);
    char text[256] = "";
    if (error == cudaErrorUnknown)
        blas_failed(blas, text, sizeof text);
    must(error, text[0] ? text : "a product through cuBLAS");
    Found found = {y.host(), p.accumulate || p.bias ? 2e-6 : 0};
    for (size_t i = 0; i < found.y.size(); i++)
        if (i % ldy < p.rows)
            found.y[i] -= (p.accumulate ? 7 : 0) + (p.bias ? bias[i % ldy] : 0);
    return found;
}

Sides random_sides(unsigned rows, unsigned k)
{
    static const unsigned tokens[] = {1, 9, 17, 40, 75};
    Sides s = {};
    s.rows = rows;
    s.k = k;
    s.m = tokens[below(5)];
    s.ldy = rows + below(3);
    s.rounding = 1e-5;
    return s;
}

/* Rounding both sides to binary16 changes a product by no more than half an ulp of each factor. */
void compare_rounding(const char *name, const Packed &weights, const std::vector<float> &x,
                      const Sides &s, const std::vector<int> &of_row,
                      const std::vector<float> &of_token, const Found &found)
{
    for (unsigned t = 0; t < s.m; t++)
        for (unsigned r = 0; r < s.rows; r++, checks++) {
            double sum = 0, size = 0, w = 0, all = 0;
            for (unsigned c = 0; c < s.k; c++) {
                double a = static_cast<double>(weights.weights[static_cast<size_t>(r) * s.k + c]);
                double b = static_cast<double>(x[static_cast<size_t>(t) * s.k + c]);
                sum += a * b;
                size += fabs(a * b);
                w += fabs(a);
                all += fabs(b);
            }
            double value = static_cast<double>(found.y[static_cast<size_t>(t) * s.ldy + r]);
            double bound =
                (2.01 * HALF_ROUNDING + s.rounding) * size +
                HALF_STEP * (w * static_cast<double>(of_token[t]) + ldexp(all, of_row[r])) +
                found.slack + 1e-36;
            bool good = isfinite(sum) ? fabs(value - sum) <= bound : !isfinite(value);
            if (!good && !(size > 1e38 && isfinite(size)))
                report("rounding", name, s.rows, s.k, s.m, value, sum);
        }
}

} // namespace

void check_blas_packed(strata_type type)
{
    const char *name = strata_block_format(type)->name;
    if (!blas.handle)
        return;
    Packed m(type, random_rows(), 256 * (1 + below(5)), below(4) == 0);
    Sides s = random_sides(m.rows, m.k);
    std::vector<float> x = hostile_rows(s.m, s.k);
    Device<unsigned char> panels(panels_of(type, m.blocks, m.rows, m.k));
    Product p = product_of(type, panels.data, m.rows, m.k);
    s.w = exactly(m.weights);
    s.x = exactly(x);
    compare("cuBLAS in floats", name, s, multiply(p, true, true, x, s.m, s.ldy, 1 + below(4)));
    Device<uint16_t> halves(m.weights.size());
    Device<int> of_row(m.rows);
    must(unpack(stream, halves.data, of_row.data, BLAS_HALF, p, 0, m.rows), "unpack");
    Narrow narrowed(x, s.m, s.k, BLAS_HALF);
    s.w = doubles_of(halves.host(), powers(of_row.host()), BLAS_HALF);
    s.x = doubles_of(narrowed.bits, exactly(narrowed.scale), BLAS_HALF);
    Found found = multiply(p, true, false, x, s.m, s.ldy, 1 + below(4));
    compare("cuBLAS", name, s, found);
    covers("packed_blas", type);
    covers("scale");
    compare_rounding(name, m, x, s, of_row.host(), narrowed.scale, found);
}

void check_blas_float(strata_type type)
{
    const char *name = strata_block_format(type)->name;
    if (!blas.handle)
        return;
    unsigned bytes = strata_block_format(type)->block_bytes;
    Sides s =
        random_sides(random_rows(), type == STRATA_TYPE_F16 ? 8 * (1 + below(80))
                                                            : (1 + below(7)) * (1 + below(90)));
    std::vector<float> weights = floats(static_cast<size_t>(s.rows) * s.k);
    std::vector<float> x = hostile_rows(s.m, s.k);
    std::vector<unsigned char> stored(weights.size() * bytes);
    for (size_t i = 0; i < weights.size(); i++) {
        uint32_t bits = strata_float_to_bits(weights[i]);
        uint16_t half = type == STRATA_TYPE_F16 ? strata_float_to_half(weights[i])
                                                : static_cast<uint16_t>(bits >> 16);
        memcpy(&stored[i * bytes], bytes == 4 ? static_cast<void *>(&bits) : &half, bytes);
    }
    reference.dequantize[type](weights.data(), stored.data(), weights.size());
    const size_t row = static_cast<size_t>(s.k) * bytes, apart = row + below(3) * bytes;
    std::vector<unsigned char> spread((s.rows - 1) * apart + row);
    for (unsigned r = 0; r < s.rows; r++)
        memcpy(&spread[r * apart], &stored[r * row], row);
    Device<unsigned char> there(spread);
    Product p = product_of(type, there.data, s.rows, s.k);
    p.row_bytes = apart;
    s.w = exactly(weights);
    s.x = exactly(x);
    compare("cuBLAS in floats", name, s, multiply(p, false, true, x, s.m, s.ldy, 1 + below(4)));
    if (type != STRATA_TYPE_F32) {
        covers("widen", type);
        BlasType form = type == STRATA_TYPE_F16 ? BLAS_HALF : BLAS_BF16;
        Narrow narrowed(x, s.m, s.k, form);
        s.x = doubles_of(narrowed.bits, exactly(narrowed.scale), form);
    }
    compare("cuBLAS", name, s, multiply(p, false, false, x, s.m, s.ldy, 1));
    covers("gemm_blas", type);
}

/* ---- The library ---- */

bool has_blas()
{
    return blas.handle != nullptr;
}

void open_blas()
{
    char text[256];
    if (blas_open(&blas, stream) != cudaSuccess) {
        blas_failed(blas, text, sizeof text);
        fprintf(stderr, "check_cuda: %s\n", text);
        exit(1);
    }
    blas_found(text, sizeof text);
    printf("check_cuda: %s\n", text);
    if (!blas.handle)
        return;
    must(cudaMalloc(&workspace, BLAS_WORKSPACE), "cudaMalloc");
    must(blas_set_workspace(blas, workspace), "cublasSetWorkspace");
}

void close_blas()
{
    blas_close(&blas);
    must(cudaFree(workspace), "cudaFree: memory beside a block was written");
}

/* Checks of what begins and ends a decoder's run: rows of a table of embeddings,
 * and the best logits of rows. */
#include <algorithm>

#include "check_cuda.cuh"

using namespace strata;

namespace
{

/* Logits of a kind: any floats; few values, so that there are ties; zeros of both signs; those of
 * all sizes; rising and falling with the id. */
float logit_of(unsigned kind, unsigned id)
{
    static const float few[] = {-1, 0.5f, 0.75f, 2}, zeros[] = {-0.0f, 0.0f, 1e-44f, -1e-44f};
    switch (kind) {
    case 0:
        return unit();
    case 1:
        return few[below(4)];
    case 2:
        return zeros[below(4)];
    case 3:
        return ldexpf(unit(), static_cast<int>(below(255)) - 126);
    case 4:
        return static_cast<float>(id) - 50;
    default:
        return -1e-3f * static_cast<float>(id / 3);
    }
}

/* Puts a value that is not finite somewhere; returns whether it did. */
bool spoil(float *row, unsigned n)
{
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    if (below(8) != 0)
        return false;
    row[below(n)] = bad[below(4)];
    return true;
}

void compare_best(const float *row, const strata_cuda_candidate *found, unsigned n, unsigned k)
{
    std::vector<int32_t> ids(n);
    for (unsigned i = 0; i < n; i++)
        ids[i] = static_cast<int32_t>(i);
    std::stable_sort(ids.begin(), ids.end(),
                     [row](int32_t a, int32_t b) { return row[a] > row[b]; });
    for (unsigned i = 0; i < k; i++, checks++)
        if (found[i].id != ids[i] || found[i].logit != row[ids[i]])
            report("best", "id", n, k, i, found[i].id, ids[i]);
}

/* A table of random rows: as in a file, and as the device has it. */
struct Table {
    std::vector<unsigned char> stored, there;
    std::vector<float> rows;
    size_t row_bytes;

    /* Values are between -1 and 1, so that the halves and blocks of a row are of their own sizes.
     */
    Table(strata_type type, unsigned n, unsigned k, bool packed)
    {
        const struct strata_block_format *format = strata_block_format(type);
        row_bytes = static_cast<size_t>(k) / format->block_elems * format->block_bytes;
        rows = floats(static_cast<size_t>(n) * k);
        stored.resize(n * row_bytes);
        for (size_t i = 0; i < rows.size(); i++)
            rows[i] *= static_cast<float>(i / 16 % 5 + 1);
        if (packed)
            strata_quantize_blocks(STRATA_LEVEL_ref, type, stored.data(), rows.data(), nullptr,
                                   rows.size());
        for (size_t i = 0; i < rows.size() && !packed; i++) {
            uint32_t bits = strata_float_to_bits(rows[i]);
            uint16_t half = type == STRATA_TYPE_F16 ? strata_float_to_half(rows[i])
                                                    : static_cast<uint16_t>(bits >> 16);
            memcpy(&stored[i * format->block_bytes],
                   format->block_bytes == 4 ? static_cast<void *>(&bits) : &half,
                   format->block_bytes);
        }
        reference.dequantize[type](rows.data(), stored.data(), rows.size());
        there = packed ? panels(type, n, k) : stored;
    }

    std::vector<unsigned char> panels(strata_type type, unsigned n, unsigned k) const
    {
        size_t bytes = strata_panel_bytes(type, k), count = (n + 15) / 16;
        std::vector<unsigned char> room(count * bytes + 64);
        unsigned char *at = room.data() + (64 - reinterpret_cast<uintptr_t>(room.data()) % 64);
        for (size_t p = 0; p < count; p++)
            strata_pack_panel(type, at + p * bytes, &stored[16 * p * row_bytes], row_bytes,
                              p + 1 < count ? 16 : n - 16 * p, k);
        return std::vector<unsigned char>(at, at + count * bytes);
    }
};

} // namespace

/* Rows that repeat and the last one among them; widths beside multiples of what a block takes. */
void check_look_up(strata_type type)
{
    const struct strata_block_format *format = strata_block_format(type);
    bool packed = reference.packed_q8[type] != nullptr;
    unsigned n = 1 + below(40), tokens = 1 + below(6);
    unsigned k = packed ? format->block_elems * (1 + below(format->block_elems == 256 ? 4 : 30))
                        : 1 + below(1030);
    Table table(type, n, k, packed);
    std::vector<int32_t> ids(tokens);
    for (int32_t &id : ids)
        id = static_cast<int32_t>(below(n));
    ids[0] = static_cast<int32_t>(n - 1);
    Device<unsigned char> there(table.there);
    Device<int32_t> ids_there(ids);
    Device<float> y(static_cast<size_t>(tokens) * k);
    strata_cuda_product product = {};
    product.weights = there.data;
    product.type = gguf_id(type);
    product.packed = packed;
    product.rows = n;
    product.cols = k;
    product.row_bytes = table.row_bytes;
    must(look_up(stream, y.data, ids_there.data, tokens, product), "look_up");
    covers("look_up", type);
    std::vector<float> found = y.host();
    for (unsigned t = 0; t < tokens; t++)
        for (unsigned c = 0; c < k; c++, checks++) {
            float wanted = table.rows[static_cast<size_t>(ids[t]) * k + c];
            float bound = packed ? 1e-6f * (fabsf(wanted) + 5) : 0; /* offset and scale are < 5 */
            if (!(fabsf(found[t * k + c] - wanted) <= bound))
                report("look_up", format->name, n, k, c, found[t * k + c], wanted);
        }
}

void check_best()
{
    static const unsigned sizes[] = {1, 2, 3, 31, 257, 1000, 2047, 2048, 2049, 4097, 6001, 20000};
    static const unsigned ks[] = {1, 1, 2, 3, 40, 64, 255, 256};
    unsigned n = sizes[below(12)], rows = 1 + below(n > 5000 ? 2 : 5);
    unsigned k = std::min(ks[below(8)], n);
    std::vector<float> logits(static_cast<size_t>(rows) * n);
    std::vector<bool> bad(rows);
    for (unsigned r = 0; r < rows; r++) {
        unsigned kind = below(6);
        for (unsigned i = 0; i < n; i++)
            logits[r * n + i] = logit_of(kind, i);
        bad[r] = spoil(&logits[r * n], n);
    }
    Device<float> there(logits);
    Device<uint64_t> entries(best_entries(rows, n, k));
    Device<strata_cuda_candidate> best(rows * k);
    must(best_of_rows(stream, best.data, entries.data, there.data, rows, n, k), "best_of_rows");
    covers("top_k");
    std::vector<strata_cuda_candidate> found = best.host();
    for (unsigned r = 0; r < rows; r++, checks++)
        if (!bad[r])
            compare_best(&logits[r * n], &found[r * k], n, k);
        else if (found[r * k].id != -1)
            report("best", "of a row that is not finite", n, k, r, found[r * k].id, -1);
}

/* Checks of drawing: the token of the reference, for any numbers of tokens, filters, and logits. */
#include <algorithm>

#include "check_cuda.cuh"

extern "C" {
#include "draw.h"
}

using namespace strata;

namespace
{

/* Sums are of at most 256 doubles in the same order here and there, so that only the last bits of
 * exp and of fused multiply-adds are different: below 2^-43 of the sum.  A token is right if it is
 * the reference's for a random number that is so near. */
const double NEAR = 1e-12;

/* Logits of a row, best first: any; few values, with ties; all the same; such that many weights are
 * lost in a sum; far apart; as large as floats are. */
std::vector<float> sorted_logits(unsigned n)
{
    static const float few[] = {-1, 0.5f, 0.75f, 2};
    const unsigned kind = below(6);
    std::vector<float> row(n);
    for (float &logit : row)
        logit = kind == 0   ? 8 * unit()
                : kind == 1 ? few[below(4)]
                : kind == 2 ? -3.5f
                : kind == 3 ? 30 * unit()
                : kind == 4 ? 1e4f * unit()
                            : 3.4e38f * unit();
    std::sort(row.begin(), row.end(), [](float a, float b) { return a > b; });
    return row;
}

strata_cuda_draw draw_from(unsigned most)
{
    static const float temperatures[] = {0, 1e-45f, 1e-3f, 0.7f, 1, 1.5f, 100, 1e6f};
    static const float top_ps[] = {0, 1e-6f, 0.3f, 0.9f, 0.999f, 1, 1};
    static const float min_ps[] = {0, 1e-30f, 1e-30f, 0.05f, 0.4f, 1};
    strata_cuda_draw draw = {};
    const unsigned u = below(8);
    draw.top_k = 1 + below(below(3) ? most : 2 * most);
    draw.temperature = temperatures[below(8)];
    draw.top_p = top_ps[below(7)];
    draw.min_p = min_ps[below(6)];
    draw.random = u == 0 ? 0 : u == 1 ? 1 - 0x1p-53 : fabs(static_cast<double>(unit()));
    return draw;
}

/* What the reference draws with a random number that is so much greater. */
unsigned wanted(const std::vector<float> &row, const strata_cuda_draw &draw, double more)
{
    const size_t n = std::min<size_t>(row.size(), draw.top_k);
    return static_cast<unsigned>(strata_draw_ref(row.data(), nullptr, n, draw.temperature,
                                                 draw.top_p, draw.min_p, draw.random + more));
}

} // namespace

/* Ids say the place in the row; a row that is not finite begins with -1. */
void check_draw()
{
    static const unsigned sizes[] = {1, 2, 3, 40, 127, 128, 129, 200, 255, 256};
    const unsigned n = sizes[below(10)], rows = 1 + below(5);
    std::vector<std::vector<float>> logits;
    std::vector<strata_cuda_candidate> best;
    std::vector<strata_cuda_draw> draws;
    for (unsigned r = 0; r < rows; r++) {
        const bool bad = below(8) == 0;
        logits.push_back(sorted_logits(n));
        draws.push_back(draw_from(n));
        for (unsigned i = 0; i < n; i++)
            best.push_back({static_cast<int32_t>(i), logits[r][i]});
        if (bad)
            best[r * n] = {-1, NAN};
    }
    Device<strata_cuda_candidate> best_there(best), drawn(rows);
    Device<strata_cuda_draw> draws_there(draws);
    must(draw_of_rows(stream, drawn.data, best_there.data, draws_there.data, rows, n), "draw");
    covers("draw");
    std::vector<strata_cuda_candidate> found = drawn.host();
    for (unsigned r = 0; r < rows; r++, checks++) {
        if (best[r * n].id < 0) {
            if (found[r].id != -1)
                report("draw", "of a row that is not finite", n, rows, r, found[r].id, -1);
            continue;
        }
        const unsigned id = static_cast<unsigned>(found[r].id);
        if (id < wanted(logits[r], draws[r], -NEAR) || id > wanted(logits[r], draws[r], NEAR))
            report("draw", "id", n, draws[r].top_k, r, found[r].id, wanted(logits[r], draws[r], 0));
        else if (found[r].logit != logits[r][id])
            report("draw", "logit", n, draws[r].top_k, r, found[r].logit, logits[r][id]);
    }
}

/* Checks of what begins and ends a decoder's run: the best logits of rows. */
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

} // namespace

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
    std::vector<strata_cuda_candidate> found = best.host();
    for (unsigned r = 0; r < rows; r++, checks++)
        if (!bad[r])
            compare_best(&logits[r * n], &found[r * k], n, k);
        else if (found[r * k].id != -1)
            report("best", "of a row that is not finite", n, k, r, found[r * k].id, -1);
}

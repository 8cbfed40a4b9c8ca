/* Checks of log-probabilities of rows of logits. */
#include "check_cuda.cuh"

using namespace strata;

namespace
{

/* Logits of a row: any; far apart; all the same; large; one of them, or all, not finite. */
std::vector<float> row_of_logits(unsigned n)
{
    const unsigned kind = below(8);
    std::vector<float> row(n);
    for (float &logit : row)
        logit = kind == 0   ? 1e4f * unit()
                : kind == 1 ? -3.5f
                : kind == 2 ? 3e30f * unit()
                : kind == 3 ? -INFINITY
                            : 8 * unit();
    if (kind == 4)
        row[below(n)] = below(2) ? NAN : INFINITY;
    return row;
}

double wanted_of(const float *row, unsigned n, int32_t id)
{
    double largest = -INFINITY, sum = 0;
    for (unsigned i = 0; i < n; i++)
        largest = fmax(largest, row[i]);
    for (unsigned i = 0; i < n; i++)
        sum += exp(row[i] - largest);
    return row[id] - largest - log(sum);
}

} // namespace

/* Rows with several tokens after them, with one, and with none. */
void check_logprobs()
{
    static const unsigned sizes[] = {1, 2, 31, 255, 256, 257, 1000, 2049};
    const unsigned n = sizes[below(8)], rows = 1 + below(6), base = below(2) ? below(1000) : 0;
    std::vector<float> logits;
    std::vector<uint32_t> first(1, base);
    std::vector<int32_t> next(1, 0); /* of the first row */
    for (unsigned r = 0; r < rows; r++) {
        std::vector<float> row = row_of_logits(n);
        logits.insert(logits.end(), row.begin(), row.end());
        for (unsigned i = below(3) ? below(4) : 250 + below(20); i > 0; i--)
            next.push_back(static_cast<int32_t>(below(n)));
        first.push_back(base + static_cast<uint32_t>(next.size()));
    }
    Device<float> logits_there(logits), out(next.size());
    Device<uint32_t> first_there(first);
    Device<int32_t> next_there(next);
    Logprobs a = {};
    a.out = out.data;
    a.logits = logits_there.data;
    a.first = first_there.data;
    a.next = next_there.data;
    a.n = n;
    a.base = base;
    must(logprobs(stream, a, rows), "logprobs");
    covers("logprobs");
    const std::vector<float> found = out.host();
    for (unsigned r = 0; r < rows; r++)
        for (uint32_t i = first[r] - base; i < first[r + 1] - base; i++, checks++) {
            const float *row = &logits[static_cast<size_t>(r) * n];
            const double wanted = wanted_of(row, n, next[i]);
            /* Roundings of logits and of the largest one, and of a sum of 2049. */
            const double bound =
                4e-7 * (fabs(wanted) + fabs(static_cast<double>(row[next[i]]))) + 1e-5;
            if (isfinite(wanted) ? !(fabs(found[i] - wanted) <= bound) : isfinite(found[i]))
                report("logprobs", "of a token", n, rows, r, found[i], wanted);
        }
}

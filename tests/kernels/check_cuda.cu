/* Checks every kernel of the CUDA plug-in against the reference: on the emulator in every build, on
 * a device where one is (the same source, built by nvcc).
 *
 *   check_cuda [ITERATIONS [first]]      first: ends at the first failure
 *
 * Sizes and values are random, with those at the edges among them: rows and tokens beside multiples
 * of what a block takes, single positions, values that are not finite.  Integer results must be the
 * reference's bytes; sums of floats agree within what other orders of summation can change. */
#include "check_cuda.cuh"

unsigned failures, checks;
strata_kernels reference;
cudaStream_t stream;

namespace
{

uint64_t seed = 1;
bool only_first;

uint64_t random_bits()
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

extern "C" const struct strata_cuda_plugin *strata_cuda_entry(void);

std::vector<bool> covered; /* the rows of the plug-in's table */

/* A kernel that no check has marked is not checked. */
void check_coverage()
{
    const strata_cuda_plugin *plugin = strata_cuda_entry();
    for (uint32_t i = 0; i < plugin->n_rows; i++) {
        if (covered[i] || (plugin->rows[i].needs_blas && !has_blas()))
            continue;
        fprintf(stderr, "check_cuda: %s: no check covers this row\n", plugin->rows[i].name);
        failures++;
    }
}

} // namespace

void covers(const char *op, strata_type type)
{
    const strata_cuda_plugin *plugin = strata_cuda_entry();
    const uint32_t id = type == STRATA_TYPE_COUNT ? STRATA_CUDA_NO_TYPE : gguf_id(type);
    covered.resize(plugin->n_rows);
    for (uint32_t i = 0; i < plugin->n_rows; i++)
        if (strcmp(plugin->rows[i].op, op) == 0 && plugin->rows[i].type == id) {
            covered[i] = true;
            return;
        }
    fprintf(stderr, "check_cuda: %s of type %u is checked, but is no row\n", op, id);
    failures++;
}

void report(const char *what, const char *name, unsigned a, unsigned b, unsigned c, double found,
            double wanted)
{
    if (++failures <= 20)
        fprintf(stderr, "check_cuda: %s %s (%u, %u, %u): %.9g, reference %.9g\n", what, name, a, b,
                c, found, wanted);
    if (only_first)
        exit(1);
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

std::vector<uint32_t> random_tree(uint32_t from, uint32_t rows)
{
    std::vector<uint32_t> until(rows), path;
    for (uint32_t i = 0; i <= rows; i++) {
        uint32_t leaves = i == rows ? rows : below(3) ? 0 : 1 + below(8);
        for (; leaves && !path.empty(); leaves--, path.pop_back())
            until[path.back()] = from + i;
        path.push_back(i);
    }
    if (below(2))
        until[0] = from;
    return until;
}

void must(cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return;
    fprintf(stderr, "check_cuda: %s: %s\n", what, cudaGetErrorString(error));
    exit(1);
}

bool same_bits(float a, float b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

unsigned gguf_id(strata_type type)
{
    return strata_block_format(type)->gguf_id;
}

void check_near(const char *what, const std::vector<float> &found, const std::vector<float> &wanted,
                float relative)
{
    for (size_t i = 0; i < found.size(); i++, checks++)
        if (!(fabsf(found[i] - wanted[i]) <= relative * fabsf(wanted[i]) + 1e-30f))
            report(what, "element", static_cast<unsigned>(i), 0, 0, found[i], wanted[i]);
}

int main(int argc, char **argv)
{
    unsigned iterations = argc > 1 ? static_cast<unsigned>(atoi(argv[1])) : 20;
    only_first = argc > 2 && strcmp(argv[2], "first") == 0;
    strata_kernels_select(&reference, STRATA_LEVEL_ref);
    must(cudaSetDevice(0), "cudaSetDevice");
    must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
    open_blas();
    for (unsigned i = 0; i < iterations; i++) {
        for (int t = 0; t < STRATA_TYPE_COUNT; t++) {
            strata_type type = static_cast<strata_type>(t);
            if (reference.packed_q8[t]) {
                check_packed(type);
                check_unpack(type);
                check_blas_packed(type);
            }
            if (reference.gemv_f32[t]) {
                check_float(type);
                check_blas_float(type);
            }
            if (reference.packed_q8[t] || reference.gemv_f32[t])
                check_look_up(type);
        }
        check_narrow();
        check_quantize();
        check_rows();
        check_halves();
        for (int n = 0; n < 4; n++) {
            check_attention(n % 2);
            check_single(n % 2);
        }
        for (int n = 0; n < 4; n++)
            check_tiled(n % 2, n / 2);
        check_best();
        for (int n = 0; n < 16; n++)
            check_draw();
        for (int n = 0; n < 4; n++)
            check_logprobs();
        for (int n = 0; n < 3; n++)
            check_encoder();
    }
    check_coverage();
    close_blas();
    cudaStreamDestroy(stream);
    printf("check_cuda: %u checks, %u failed\n", checks, failures);
    return failures || !checks;
}

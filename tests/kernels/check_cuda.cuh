/* What the checks of check_cuda share. */
#ifndef STRATA_CHECK_CUDA_CUH
#define STRATA_CHECK_CUDA_CUH

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

extern unsigned failures, checks;
extern strata_kernels reference;
extern cudaStream_t stream;

/* Counts a failure, and prints the first ones. */
void report(const char *what, const char *name, unsigned a, unsigned b, unsigned c, double found,
            double wanted);

/* Marks a row of the plug-in's table (plugin.h) as checked: an operation, and a type where it has
 * one. */
void covers(const char *op, strata_type type = STRATA_TYPE_COUNT);

unsigned below(unsigned n); /* at random */
float unit();               /* in [-1, 1) */
std::vector<float> floats(size_t n);

/* Ends the program unless the call succeeded. */
void must(cudaError_t error, const char *what);

bool same_bits(float a, float b); /* all NaNs are the same */
unsigned gguf_id(strata_type type);
void check_near(const char *what, const std::vector<float> &found, const std::vector<float> &wanted,
                float relative);

/* The ends of the subtrees of `rows` tokens from position `from` on, in preorder; the first one may
 * be seen by nobody. */
std::vector<uint32_t> random_tree(uint32_t from, uint32_t rows);

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

/* Panels of blocks of a type (packed.h), with zeros behind the last row. */
std::vector<unsigned char> panels_of(strata_type type, const std::vector<unsigned char> &blocks,
                                     unsigned rows, unsigned k);

/* Before the checks of cuBLAS: prints which library does it; and after them. */
void open_blas();
void close_blas();
bool has_blas();

/* One case of each at random: products of a type, rows, attention, rows of a table, the best of
 * rows of logits, one drawn from these, log-probabilities, what goes through cuBLAS, encoders. */
void check_packed(strata_type type);
void check_float(strata_type type);
void check_quantize();
void check_rows();
void check_halves();
void check_attention(bool q8_0);
void check_single(bool q8_0);
void check_tiled(bool q8_0, bool tree);
void check_look_up(strata_type type);
void check_best();
void check_draw();
void check_logprobs();
void check_unpack(strata_type type);
void check_narrow();
void check_blas_packed(strata_type type);
void check_blas_float(strata_type type);
void check_encoder();

#endif

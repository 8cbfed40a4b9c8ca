/* What kernels use of CUDA, under names of our own: the emulator (tests/kernels/cuda_emu) stands in
 * for the headers below, and kernels have no #ifdef for it. */
#ifndef STRATA_CUDA_PRIMITIVES_CUH
#define STRATA_CUDA_PRIMITIVES_CUH

#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stddef.h>
#include <stdint.h>

#define WARP 32
#define ALL_LANES 0xffffffffu

/* Before a loop of known length: arrays that it indexes stay in registers; and before one that is
 * not worth more code. */
#define UNROLL _Pragma("unroll")
#define ROLLED _Pragma("unroll 1")

/* Shared memory of a launch; kernels lay it out themselves. */
extern __shared__ __align__(16) unsigned char shared_bytes[];

__device__ static inline float *shared_floats()
{
    return reinterpret_cast<float *>(shared_bytes);
}

/* The lane of a thread in its warp, and the warp's number in the block (blocks have one dimension).
 */
__device__ static inline unsigned lane_of()
{
    return threadIdx.x % WARP;
}
__device__ static inline unsigned warp_of()
{
    return threadIdx.x / WARP;
}

__device__ static inline float from_half(uint16_t bits)
{
    return __half2float(__ushort_as_half(bits));
}
__device__ static inline uint16_t to_half(float value)
{
    return __half_as_ushort(__float2half_rn(value));
}
__device__ static inline float from_bf16(uint16_t bits)
{
    return __uint_as_float(static_cast<uint32_t>(bits) << 16);
}

/* Sums over a warp, in every lane. */
__device__ static inline float warp_sum(float value)
{
    for (int step = WARP / 2; step > 0; step /= 2)
        value += __shfl_xor_sync(ALL_LANES, value, step);
    return value;
}
__device__ static inline float warp_max(float value)
{
    for (int step = WARP / 2; step > 0; step /= 2)
        value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, step));
    return value;
}

/* Four products of signed bytes, added to `sum`. */
__device__ static inline int dot4(uint32_t a, uint32_t b, int sum)
{
    return __dp4a(static_cast<int>(a), static_cast<int>(b), sum);
}

/* A kernel that is launched by launch_chained may begin while the one before it ends (programmatic
 * dependent launch).  Each of its threads calls wait_for_inputs() once, before it reads what other
 * kernels of the run write or writes anything; what it reads before that are weights, what the host
 * has sent, and keys and values of earlier runs, which all end before the first kernel begins.
 * let_next_start(): the
 * kernel behind may come as soon as every block of this one has called it. */
__device__ static inline void wait_for_inputs()
{
#if __CUDA_ARCH__ >= 900
    cudaGridDependencySynchronize();
#endif
}
__device__ static inline void let_next_start()
{
#if __CUDA_ARCH__ >= 900
    cudaTriggerProgrammaticLaunchCompletion();
#endif
}

/* An attribute of the device at hand. */
static inline cudaError_t device_attribute(cudaDeviceAttr attribute, int *value)
{
    int device = 0;
    cudaError_t error = cudaGetDevice(&device);
    return error == cudaSuccess ? cudaDeviceGetAttribute(value, attribute, device) : error;
}

/* Lets a block of a kernel have all the shared memory that one can have, and asks for as much as
 * there is for its blocks: multiprocessors then do not have to run dry to share memory out anew
 * between kernels that follow each other. */
template <class... Parameters> cudaError_t allow_shared(void (*kernel)(Parameters...))
{
    int most = 0;
    cudaError_t error = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, &most);
    if (error == cudaSuccess)
        error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most);
    return error != cudaSuccess
               ? error
               : cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                      cudaSharedmemCarveoutMaxShared);
}

/* Launches a kernel; the status is that of the launch alone. */
template <class... Parameters, class... Arguments>
cudaError_t launch_chained(void (*kernel)(Parameters...), dim3 grid, unsigned threads,
                           size_t shared, cudaStream_t stream, Arguments... arguments)
{
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attribute = {};
    int major = 0;
    cudaError_t error = device_attribute(cudaDevAttrComputeCapabilityMajor, &major);
    if (error != cudaSuccess)
        return error;
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = grid;
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = major >= 9 ? 1 : 0;
    return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

#endif

/* Stands in for CUDA's header: what kernels/cuda uses of it, on the CPU (cuda_emu.cc).
 *
 * A launch runs its blocks one after the other.  The threads of a block are fibres, which run in
 * turn until they wait: at __syncthreads for all threads of the block that have not returned, at
 * shuffles and votes for those of the warp.  A warp goes on as far as it can before the next one
 * runs, and odd blocks run their threads in the opposite order, so that what is read before it is
 * written shows: shared memory and fresh device memory hold NaNs.
 * Launches are finished when they return, and so are copies; streams are only checked.  While a
 * stream is captured, launches are kept for the graph instead.
 *
 * What is found: threads that wait for others which never come, writes beyond shared or device
 * memory (by marks around them), matrices and copies at odd addresses, launches that ask for too
 * much, threads of a dependent launch that do not wait for the one before.  Such a launch fails,
 * and like a real one that does, it makes every later call fail.  What touches more than 15 bytes
 * behind device memory, reading too, ends the program (SIGSEGV). */
#ifndef STRATA_EMU_CUDA_RUNTIME_H
#define STRATA_EMU_CUDA_RUNTIME_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define __global__
#define __device__
#define __host__
#define __shared__
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};
struct uint2 {
    uint32_t x, y;
};
struct uint4 {
    uint32_t x, y, z, w;
};
struct float4 {
    float x, y, z, w;
};
static inline float4 make_float4(float x, float y, float z, float w)
{
    return {x, y, z, w};
}

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

/* ---- Threads ---- */

void __syncthreads();

/* The bits of every lane of the warp; 0 for lanes that have returned. */
const uint64_t *emu_exchange(uint32_t mask, uint64_t bits);

/* The launch fails unless the address is a multiple of `bytes`. */
void emu_aligned(const void *address, size_t bytes);

template <class T> T __shfl_xor_sync(uint32_t mask, T value, int lanes)
{
    uint64_t bits = 0;
    static_assert(sizeof value <= sizeof bits, "shuffles take 8 bytes at most");
    memcpy(&bits, &value, sizeof value);
    bits = emu_exchange(mask, bits)[(threadIdx.x % 32) ^ static_cast<unsigned>(lanes)];
    memcpy(&value, &bits, sizeof value);
    return value;
}
static inline void __syncwarp()
{
    emu_exchange(0xffffffffu, 0);
}
static inline int __any_sync(uint32_t mask, bool predicate)
{
    const uint64_t *all = emu_exchange(mask, predicate);
    bool any = false;
    for (int i = 0; i < 32; i++)
        any |= all[i] != 0;
    return any;
}

/* Blocks run one after the other: every write is seen by all. */
static inline void __threadfence()
{
}
static inline uint32_t atomicAdd(uint32_t *at, uint32_t value)
{
    uint32_t before = *at;
    *at += value;
    return before;
}

/* Of a launch with the attribute, each thread must wait once. */
#define __CUDA_ARCH__ 900
void cudaGridDependencySynchronize();
static inline void cudaTriggerProgrammaticLaunchCompletion()
{
}

/* ---- Arithmetic ---- */

static inline int __dp4a(int a, int b, int sum)
{
    for (int i = 0; i < 4; i++)
        sum += static_cast<int8_t>(a >> 8 * i) * static_cast<int8_t>(b >> 8 * i);
    return sum;
}
static inline uint32_t __byte_perm(uint32_t x, uint32_t y, uint32_t selector)
{
    uint64_t bytes = static_cast<uint64_t>(y) << 32 | x;
    uint32_t out = 0;
    for (int i = 0; i < 4; i++)
        out |= static_cast<uint32_t>(bytes >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
    return out;
}
static inline int __float2int_rn(float x)
{
    return static_cast<int>(lrintf(x));
}
static inline float __uint_as_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t __float_as_uint(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* ---- Runtime ---- */

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorInvalidResourceHandle = 400,
    cudaErrorLaunchFailure = 719,
    cudaErrorNotSupported = 801,
    cudaErrorUnknown = 999
};
enum cudaMemcpyKind {
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost = 2,
    cudaMemcpyDeviceToDevice = 3
};
enum { cudaStreamNonBlocking = 1 };
typedef struct EmuStream *cudaStream_t;

enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};
enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
    cudaFuncAttributePreferredSharedMemoryCarveout = 9
};
enum { cudaSharedmemCarveoutMaxShared = 100 };

struct cudaDeviceProp {
    char name[256];
    int pciDomainID, pciBusID, pciDeviceID, major, minor;
};

enum cudaLaunchAttributeID { cudaLaunchAttributeProgrammaticStreamSerialization = 6 };
struct cudaLaunchAttribute {
    cudaLaunchAttributeID id;
    struct {
        int programmaticStreamSerializationAllowed;
    } val;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute *attrs; /* at most the one above; looked at during the call */
    unsigned numAttrs;
};

const char *cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total);
cudaError_t cudaMalloc(void **memory, size_t bytes);
cudaError_t cudaFree(void *memory);
enum { cudaHostAllocDefault = 0, cudaEventDisableTiming = 2 };
cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *memory);
typedef struct EmuStream *cudaEvent_t; /* copies are finished when they return */
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);

typedef struct EmuGraph *cudaGraph_t;
typedef struct EmuGraph *cudaGraphExec_t;
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);

/* What every thread of a launch does. */
struct EmuBody {
    virtual void operator()() const = 0;
    virtual EmuBody *copy() const = 0;
    virtual ~EmuBody()
    {
    }
};
cudaError_t emu_launch(const cudaLaunchConfig_t *config, const EmuBody &body);

/* The shared memory that a kernel may have where that is more than usual. */
cudaError_t emu_allow_shared(const void *kernel, int bytes);
bool emu_allows_shared(const void *kernel, size_t bytes);

template <class... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute attribute,
                                 int value)
{
    return attribute == cudaFuncAttributePreferredSharedMemoryCarveout
               ? cudaSuccess
               : emu_allow_shared(reinterpret_cast<const void *>(kernel), value);
}

template <class F> struct EmuClosure : EmuBody {
    F f;
    explicit EmuClosure(F f_) : f(f_)
    {
    }
    void operator()() const override
    {
        f();
    }
    EmuBody *copy() const override
    {
        return new EmuClosure(f);
    }
};

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(Parameters...),
                               Arguments... arguments)
{
    auto call = [=]() { kernel(arguments...); };
    if (!emu_allows_shared(reinterpret_cast<const void *>(kernel), config->dynamicSmemBytes))
        return cudaErrorInvalidValue;
    return emu_launch(config, EmuClosure<decltype(call)>(call));
}

/* ---- For tests ---- */

/* Exported by the emulated plug-in.  Memory of each device; calls to come that fail: of cudaMalloc
 * with no memory, of copies or launches with the loss of the device, of cuBLAS with an error of its
 * own; 0: none.  Also forgets losses. */
enum { EMU_ALLOC, EMU_COPY, EMU_LAUNCH, EMU_BLAS, EMU_CALLS };
bool emu_fails(int call); /* the call at hand is to fail; counts it */
extern "C" void strata_emu_reset(unsigned devices, size_t memory_bytes);
extern "C" void strata_emu_set_memory(size_t memory_bytes);
extern "C" void strata_emu_fail(int call, unsigned nth);
extern "C" size_t strata_emu_used(void);
extern "C" size_t strata_emu_copied(int to_host); /* bytes to devices, or from them */
extern "C" unsigned long strata_emu_launches(void);
extern "C" unsigned long strata_emu_graphs(void); /* launches of graphs */

#endif

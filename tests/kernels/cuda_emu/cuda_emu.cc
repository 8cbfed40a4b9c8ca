/* A runtime that keeps its memory on the host (cuda_runtime.h). */
#include "cuda_fp16.h"
#include "emu_fibres.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <memory>
#include <vector>

extern "C" {
#include "half.h"
}

/* Shared memory of a block: of one that asks for more, as on compute capability 8.0, and of others.
 */
static const size_t SHARED_MOST = 163 << 10, SHARED_USUAL = 48 << 10, MARK_BYTES = 64;
static const unsigned char MARK = 0xa5, FRESH = 0xff; /* floats of FRESH bytes are NaNs */

__attribute__((aligned(256))) unsigned char shared_bytes[SHARED_MOST + MARK_BYTES];

float __half2float(__half half)
{
    return strata_half_to_float(half.bits);
}
__half __float2half_rn(float value)
{
    return __ushort_as_half(strata_float_to_half(value));
}

/* ---- Memory ---- */

/* An allocation ends at most 15 bytes before a page that cannot be touched, with marks in them, and
 * begins after MARK_BYTES of marks. */
struct Block {
    Block *next;
    unsigned char *data, *map;
    size_t bytes, map_bytes;
    int device;
};

static size_t page_bytes()
{
    return static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

static const int DEVICES_MOST = 4;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Block *blocks;
static size_t limit = static_cast<size_t>(8) << 30, used[DEVICES_MOST];
static bool lost[DEVICES_MOST];
static unsigned n_devices = 1, fail_at[EMU_CALLS];
static unsigned long launches, graphs_launched;
static size_t copied[2]; /* bytes to devices, and from them */
static __thread int device_now;

/* Launches and copies, to be made on a stream. */
struct EmuGraph {
    std::vector<std::function<cudaError_t(cudaStream_t)>> nodes;
};

struct EmuStream {
    int device;
    EmuGraph *captured; /* or NULL */
};

static bool marks_hold(const Block *block)
{
    const unsigned char *end = block->map + block->map_bytes - page_bytes();
    for (const unsigned char *at = block->data - MARK_BYTES; at < block->data; at++)
        if (*at != MARK)
            return false;
    for (const unsigned char *at = block->data + block->bytes; at < end; at++)
        if (*at != MARK)
            return false;
    return true;
}

/* With the lock held: the next call of this kind is one that is to fail. */
static bool fails(int call)
{
    return fail_at[call] && --fail_at[call] == 0;
}

bool emu_fails(int call)
{
    pthread_mutex_lock(&lock);
    bool fail = fails(call);
    pthread_mutex_unlock(&lock);
    return fail;
}

static cudaError_t lose()
{
    lost[device_now] = true;
    return cudaErrorLaunchFailure;
}

static bool shared_holds(size_t bytes)
{
    for (size_t i = 0; i < MARK_BYTES; i++)
        if (shared_bytes[bytes + i] != MARK)
            return false;
    return true;
}

static bool all_marks_hold()
{
    bool hold = true;
    pthread_mutex_lock(&lock);
    for (Block *block = blocks; block && hold; block = block->next)
        hold = marks_hold(block);
    pthread_mutex_unlock(&lock);
    return hold;
}

static std::map<const void *, size_t> allowed; /* of kernels that asked */

cudaError_t emu_allow_shared(const void *kernel, int bytes)
{
    if (bytes < 0 || static_cast<size_t>(bytes) > SHARED_MOST)
        return cudaErrorInvalidValue;
    pthread_mutex_lock(&lock);
    allowed[kernel] = static_cast<size_t>(bytes);
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

bool emu_allows_shared(const void *kernel, size_t bytes)
{
    pthread_mutex_lock(&lock);
    bool asked = bytes > SHARED_USUAL && allowed.count(kernel) && bytes <= allowed[kernel];
    pthread_mutex_unlock(&lock);
    return asked || bytes <= SHARED_USUAL;
}

static cudaError_t check_launch(const cudaLaunchConfig_t *config)
{
    const dim3 &grid = config->gridDim, &block = config->blockDim;
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.z > 65535 || block.y != 1 ||
        block.z != 1 || block.x == 0 || block.x > EMU_THREADS_MOST || grid.x > 0x7fffffffu ||
        grid.y > 65535 || config->dynamicSmemBytes > SHARED_MOST)
        return cudaErrorInvalidConfiguration;
    if (!config->stream || config->stream->device != device_now)
        return cudaErrorInvalidResourceHandle;
    return emu_open_stacks() ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t emu_launch(const cudaLaunchConfig_t *config, const EmuBody &body)
{
    static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
    if (config->stream && config->stream->captured) {
        std::shared_ptr<const EmuBody> kept(body.copy());
        cudaLaunchConfig_t how = *config;
        config->stream->captured->nodes.push_back([how, kept](cudaStream_t stream) mutable {
            how.stream = stream;
            return emu_launch(&how, *kept);
        });
        return cudaSuccess;
    }
    pthread_mutex_lock(&one);
    pthread_mutex_lock(&lock);
    bool fail = lost[device_now] || fails(EMU_LAUNCH);
    launches++;
    pthread_mutex_unlock(&lock);
    cudaError_t error = fail ? lose() : check_launch(config);
    bool broken = false;
    blockDim = config->blockDim;
    gridDim = config->gridDim;
    uint64_t plane = static_cast<uint64_t>(gridDim.x) * gridDim.y;
    for (uint64_t i = 0; error == cudaSuccess && !broken && i < plane * gridDim.z; i++) {
        blockIdx =
            dim3(static_cast<unsigned>(i % gridDim.x), static_cast<unsigned>(i % plane / gridDim.x),
                 static_cast<unsigned>(i / plane));
        memset(shared_bytes, FRESH, config->dynamicSmemBytes);
        memset(shared_bytes + config->dynamicSmemBytes, MARK, MARK_BYTES);
        broken = !emu_run_block(body, config->blockDim.x, config->numAttrs != 0, i % 2 == 1) ||
                 !shared_holds(config->dynamicSmemBytes);
    }
    if (error == cudaSuccess && (broken || !all_marks_hold()))
        error = lose();
    pthread_mutex_unlock(&one);
    return error;
}

/* ---- Runtime ---- */

const char *cudaGetErrorString(cudaError_t error)
{
    switch (error) {
    case cudaSuccess:
        return "no error";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorInvalidConfiguration:
        return "invalid configuration argument";
    case cudaErrorNoDevice:
        return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
        return "invalid device ordinal";
    case cudaErrorInvalidResourceHandle:
        return "invalid resource handle";
    case cudaErrorLaunchFailure:
        return "unspecified launch failure";
    case cudaErrorNotSupported:
        return "operation not supported";
    default:
        return "invalid argument";
    }
}

cudaError_t cudaGetLastError()
{
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = static_cast<int>(n_devices);
    return n_devices ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device)
{
    if (device < 0 || static_cast<unsigned>(device) >= n_devices)
        return cudaErrorInvalidDevice;
    memset(properties, 0, sizeof *properties);
    snprintf(properties->name, sizeof properties->name, "emulated device %d", device);
    properties->pciBusID = device + 1;
    properties->major = 9;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    if (device < 0 || static_cast<unsigned>(device) >= n_devices)
        return cudaErrorInvalidDevice;
    device_now = device;
    return lost[device] ? cudaErrorLaunchFailure : cudaSuccess;
}

cudaError_t cudaGetDevice(int *device)
{
    *device = device_now;
    return cudaSuccess;
}

/* So few multiprocessors that small products fill the device. */
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device)
{
    if (device < 0 || static_cast<unsigned>(device) >= n_devices)
        return cudaErrorInvalidDevice;
    *value = attribute == cudaDevAttrMultiProcessorCount            ? 2
             : attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin ? static_cast<int>(SHARED_MOST)
                                                                    : 9;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    pthread_mutex_lock(&lock);
    *free_bytes = used[device_now] < limit ? limit - used[device_now] : 0;
    *total = limit;
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

static Block *map_block(size_t bytes)
{
    size_t page = page_bytes(), size = (MARK_BYTES + bytes + 15 + page - 1) / page * page + page;
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    Block *block = map == MAP_FAILED ? NULL : new Block();
    if (!block)
        return NULL;
    block->map = static_cast<unsigned char *>(map);
    block->map_bytes = size;
    block->bytes = bytes;
    block->device = device_now;
    block->data = block->map + size - page - (bytes + 15) / 16 * 16;
    mprotect(block->map + size - page, page, PROT_NONE);
    memset(block->data - MARK_BYTES, MARK, MARK_BYTES);
    memset(block->data, FRESH, bytes);
    memset(block->data + bytes, MARK, (bytes + 15) / 16 * 16 - bytes);
    return block;
}

cudaError_t cudaMalloc(void **memory, size_t bytes)
{
    *memory = NULL;
    pthread_mutex_lock(&lock);
    bool room = !fails(EMU_ALLOC) && bytes <= limit && used[device_now] <= limit - bytes;
    Block *block = room ? map_block(bytes) : NULL;
    if (block) {
        block->next = blocks;
        blocks = block;
        used[device_now] += bytes;
        *memory = block->data;
    }
    pthread_mutex_unlock(&lock);
    return block ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFree(void *memory)
{
    if (!memory)
        return cudaSuccess;
    pthread_mutex_lock(&lock);
    Block **at = &blocks;
    while (*at && (*at)->data != memory)
        at = &(*at)->next;
    Block *block = *at;
    if (block) {
        *at = block->next;
        used[block->device] -= block->bytes;
    }
    pthread_mutex_unlock(&lock);
    if (!block)
        return cudaErrorInvalidValue;
    bool hold = marks_hold(block);
    munmap(block->map, block->map_bytes);
    delete block;
    return hold ? cudaSuccess : lose();
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    if (stream && stream->captured) {
        stream->captured->nodes.push_back([=](cudaStream_t launched) {
            return cudaMemcpyAsync(to, from, bytes, kind, launched);
        });
        return cudaSuccess;
    }
    pthread_mutex_lock(&lock);
    bool fail = lost[device_now] || fails(EMU_COPY);
    copied[kind == cudaMemcpyDeviceToHost] += bytes;
    pthread_mutex_unlock(&lock);
    if (fail)
        return lose();
    memcpy(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    *stream = new EmuStream();
    (*stream)->device = device_now;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    return lost[stream->device] ? cudaErrorLaunchFailure : cudaSuccess;
}

cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned flags)
{
    (void)flags;
    *memory = malloc(bytes);
    return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *memory)
{
    free(memory);
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    (void)flags;
    *event = new EmuStream();
    (*event)->device = device_now;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    return event && stream && event->device == stream->device ? cudaSuccess
                                                              : cudaErrorInvalidResourceHandle;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    return lost[event->device] ? cudaErrorLaunchFailure : cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}

/* ---- Graphs ---- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode)
{
    if (stream->captured)
        return cudaErrorInvalidValue;
    stream->captured = new EmuGraph();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    *graph = stream->captured;
    stream->captured = NULL;
    return *graph ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    *exec = new EmuGraph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    graphs_launched++;
    for (auto &node : exec->nodes) {
        cudaError_t error = node(stream);
        if (error != cudaSuccess)
            return error;
    }
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    return cudaGraphDestroy(exec);
}

/* ---- For tests ---- */

#define EXPORTED __attribute__((visibility("default")))

EXPORTED void strata_emu_reset(unsigned devices, size_t memory_bytes)
{
    n_devices = devices < DEVICES_MOST ? devices : DEVICES_MOST;
    limit = memory_bytes;
    memset(lost, 0, sizeof lost);
    memset(fail_at, 0, sizeof fail_at);
}

EXPORTED void strata_emu_set_memory(size_t memory_bytes)
{
    pthread_mutex_lock(&lock);
    limit = memory_bytes;
    pthread_mutex_unlock(&lock);
}

EXPORTED void strata_emu_fail(int call, unsigned nth)
{
    pthread_mutex_lock(&lock);
    fail_at[call] = nth;
    pthread_mutex_unlock(&lock);
}

EXPORTED size_t strata_emu_used(void)
{
    size_t all = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < DEVICES_MOST; i++)
        all += used[i];
    pthread_mutex_unlock(&lock);
    return all;
}

EXPORTED size_t strata_emu_copied(int to_host)
{
    pthread_mutex_lock(&lock);
    size_t bytes = copied[to_host];
    pthread_mutex_unlock(&lock);
    return bytes;
}

EXPORTED unsigned long strata_emu_launches(void)
{
    return launches;
}

EXPORTED unsigned long strata_emu_graphs(void)
{
    return graphs_launched;
}

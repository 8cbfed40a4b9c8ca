/* Fibres for the threads of a block (cuda_runtime.h). */
#include "emu_fibres.h"

#include <sys/mman.h>
#include <ucontext.h>

dim3 threadIdx, blockIdx, blockDim, gridDim;

static const size_t STACK_BYTES = 64 << 10;

/* Saves this stack's registers and goes on with those of another. */
#if defined(__x86_64__)
extern "C" void emu_switch(void **from, void *to);
__asm__(".text\n.globl emu_switch\n.hidden emu_switch\nemu_switch:\n"
        "  push %rbp\n  push %rbx\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
        "  mov %rsp, (%rdi)\n  mov %rsi, %rsp\n"
        "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbx\n  pop %rbp\n  ret\n");
#endif

enum Wait { RUNS, AT_WARP, AT_BLOCK, RETURNED };

struct Fibre {
#if defined(__x86_64__)
    void *stack_pointer;
#else
    ucontext_t context;
#endif
    Wait wait;
};

struct Warp {
    uint64_t given[32], shown[32];
};

static unsigned char *stacks;
static Fibre fibres[EMU_THREADS_MOST], scheduler;
static Warp warps[EMU_THREADS_MOST / 32];
static unsigned current, n_threads, waited; /* for the launch before */
static const EmuBody *body_now;
static bool broken; /* the block at hand */

static void leave(Wait wait)
{
    fibres[current].wait = wait;
#if defined(__x86_64__)
    emu_switch(&fibres[current].stack_pointer, scheduler.stack_pointer);
#else
    swapcontext(&fibres[current].context, &scheduler.context);
#endif
}

static void fibre_main()
{
    (*body_now)();
    leave(RETURNED);
}

static void prepare_fibre(unsigned i)
{
    unsigned char *stack = stacks + i * STACK_BYTES;
    fibres[i].wait = RUNS;
#if defined(__x86_64__)
    void **top = reinterpret_cast<void **>(stack + STACK_BYTES);
    *--top = NULL; /* where fibre_main would return to */
    *--top = reinterpret_cast<void *>(fibre_main);
    for (int registers = 0; registers < 6; registers++)
        *--top = NULL;
    fibres[i].stack_pointer = top;
#else
    getcontext(&fibres[i].context);
    fibres[i].context.uc_stack.ss_sp = stack;
    fibres[i].context.uc_stack.ss_size = STACK_BYTES;
    fibres[i].context.uc_link = NULL;
    makecontext(&fibres[i].context, fibre_main, 0);
#endif
}

static void enter(unsigned i)
{
    current = i;
    threadIdx = dim3(i, 0, 0);
#if defined(__x86_64__)
    emu_switch(&scheduler.stack_pointer, fibres[i].stack_pointer);
#else
    swapcontext(&scheduler.context, &fibres[i].context);
#endif
}

void __syncthreads()
{
    leave(AT_BLOCK);
}

void cudaGridDependencySynchronize()
{
    waited++;
}

const uint64_t *emu_exchange(uint32_t mask, uint64_t bits)
{
    Warp &warp = warps[threadIdx.x / 32];
    if (mask != 0xffffffffu)
        broken = true; /* all that the kernels use */
    warp.given[threadIdx.x % 32] = bits;
    leave(AT_WARP);
    return warp.shown;
}

void emu_aligned(const void *address, size_t bytes)
{
    broken |= reinterpret_cast<uintptr_t>(address) % bytes != 0;
}

/* Lets all of a warp go on when all that have not returned wait there. */
static bool release_warp(unsigned first)
{
    unsigned end = first + 32 < n_threads ? first + 32 : n_threads, waiting = 0, left = 0;
    for (unsigned i = first; i < end; i++) {
        waiting += fibres[i].wait == AT_WARP;
        left += fibres[i].wait != RETURNED;
    }
    if (waiting == 0 || waiting != left)
        return false;
    broken |= waiting != 32; /* a full mask is for full warps */
    Warp &warp = warps[first / 32];
    memcpy(warp.shown, warp.given, sizeof warp.shown);
    memset(warp.given, 0, sizeof warp.given);
    for (unsigned i = first; i < end; i++)
        if (fibres[i].wait == AT_WARP)
            fibres[i].wait = RUNS;
    return true;
}

static bool release_block()
{
    unsigned waiting = 0, left = 0;
    for (unsigned i = 0; i < n_threads; i++) {
        waiting += fibres[i].wait == AT_BLOCK;
        left += fibres[i].wait != RETURNED;
    }
    if (waiting == 0 || waiting != left)
        return false;
    broken |= waiting != n_threads; /* others have returned */
    for (unsigned i = 0; i < n_threads; i++)
        if (fibres[i].wait == AT_BLOCK)
            fibres[i].wait = RUNS;
    return true;
}

/* Runs a warp until its threads wait for others. */
static void run_warp(unsigned first, bool backwards)
{
    unsigned n = n_threads - first < 32 ? n_threads - first : 32;
    do {
        for (unsigned lane = 0; lane < n; lane++) {
            unsigned i = first + (backwards ? n - 1 - lane : lane);
            if (fibres[i].wait == RUNS)
                enter(i);
        }
    } while (release_warp(first));
}

bool emu_run_block(const EmuBody &body, unsigned threads, bool dependent, bool backwards)
{
    n_threads = threads;
    body_now = &body;
    broken = false;
    unsigned n_warps = (n_threads + 31) / 32;
    memset(warps, 0, sizeof warps);
    waited = 0;
    for (unsigned i = 0; i < n_threads; i++)
        prepare_fibre(i);
    do {
        for (unsigned warp = 0; warp < n_warps; warp++)
            run_warp(32 * (backwards ? n_warps - 1 - warp : warp), backwards);
    } while (release_block());
    for (unsigned i = 0; i < n_threads; i++)
        broken |= fibres[i].wait != RETURNED;
    return !broken && waited == (dependent ? n_threads : 0);
}

bool emu_open_stacks()
{
    if (stacks)
        return true;
    void *map = mmap(NULL, EMU_THREADS_MOST * STACK_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return false;
    stacks = static_cast<unsigned char *>(map);
    return true;
}

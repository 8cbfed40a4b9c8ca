/* Spin-then-sleep gates: one generation word that waiters watch and an opener advances. */
#include "threads.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ledger.h"
#include "memory.h"

/* Looks at a gate before a waiter sleeps: about 50 us, several times the longest step of a decoded
 * token's work between two barriers on a small model. */
#define SPINS 4096

/* Processing units that Linux can be built for. */
#define MAX_PUS 8192

struct gate {
    _Alignas(64) _Atomic uint32_t generation;
    _Atomic uint32_t sleepers;
};

struct strata__threads {
    struct gate start, barrier;
    _Alignas(64) _Atomic unsigned arrived;
    _Alignas(64) _Atomic unsigned next_claim;
    _Alignas(64) unsigned count;
    int spins; /* SPINS, or 0 when there are more threads than processing units to spin on */
    strata__threads_task *task; /* NULL: end */
    void *context;
    struct strata__scope scope; /* of the caller: also of what its tasks allocate */
    pthread_mutex_t one_run;
    struct worker {
        struct strata__threads *pool;
        unsigned index;
        pthread_t handle;
    } * workers; /* count - 1 of them */
};

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void gate_wait(struct gate *gate, uint32_t seen, int spins)
{
    for (int i = 0; i < spins; i++) {
        if (atomic_load_explicit(&gate->generation, memory_order_acquire) != seen)
            return;
        pause_briefly();
    }
    atomic_fetch_add(&gate->sleepers, 1);
    while (atomic_load(&gate->generation) == seen)
        syscall(SYS_futex, &gate->generation, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_fetch_sub(&gate->sleepers, 1);
}

static void gate_open(struct gate *gate)
{
    atomic_fetch_add(&gate->generation, 1);
    if (atomic_load(&gate->sleepers))
        syscall(SYS_futex, &gate->generation, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

void strata__threads_barrier(struct strata__threads *pool)
{
    uint32_t seen = atomic_load_explicit(&pool->barrier.generation, memory_order_relaxed);
    if (atomic_fetch_add(&pool->arrived, 1) + 1 < pool->count) {
        gate_wait(&pool->barrier, seen, pool->spins);
        return;
    }
    atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->next_claim, 0, memory_order_relaxed);
    if (pool->count > 1)
        gate_open(&pool->barrier);
}

unsigned strata__threads_claim(struct strata__threads *pool)
{
    return atomic_fetch_add_explicit(&pool->next_claim, 1, memory_order_relaxed);
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct strata__threads *pool = worker->pool;
    for (uint32_t seen = 0;; seen++) {
        gate_wait(&pool->start, seen, pool->spins);
        if (!pool->task)
            return NULL;
        strata__scope_set(pool->scope);
        pool->task(pool->context, worker->index);
        strata__threads_barrier(pool);
    }
}

static void begin(struct strata__threads *pool, strata__threads_task *task, void *context)
{
    pool->task = task;
    pool->context = context;
    pool->scope = strata__scope_now();
    atomic_store_explicit(&pool->next_claim, 0, memory_order_relaxed);
    if (pool->count > 1)
        gate_open(&pool->start);
}

void strata__threads_run(struct strata__threads *pool, strata__threads_task *task, void *context)
{
    pthread_mutex_lock(&pool->one_run);
    begin(pool, task, context);
    task(context, 0);
    strata__threads_barrier(pool);
    pthread_mutex_unlock(&pool->one_run);
}

/* Processing units that this process may use; the whole set when the system does not say. */
static unsigned allowed_pus(void)
{
    cpu_set_t set[MAX_PUS / CPU_SETSIZE];
    if (sched_getaffinity(0, sizeof set, set) != 0)
        return MAX_PUS;
    return (unsigned)CPU_COUNT_S(sizeof set, set);
}

static strata_status start_worker(struct worker *worker, const unsigned *pus, size_t n_pus)
{
    int error = pthread_create(&worker->handle, NULL, worker_main, worker);
    if (error)
        return strata__fail_errno(STRATA_E_IO, error, "cannot start compute thread %u",
                                  worker->index);
    if (n_pus) {
        cpu_set_t set[MAX_PUS / CPU_SETSIZE];
        CPU_ZERO_S(sizeof set, set);
        CPU_SET_S(pus[worker->index % n_pus], sizeof set, set);
        pthread_setaffinity_np(worker->handle, sizeof set, set);
    }
    return STRATA_OK;
}

strata_status strata__threads_open(struct strata__threads **out, unsigned count,
                                   const unsigned *pus, size_t n_pus)
{
    *out = NULL;
    struct strata__threads *pool;
    STRATA_TRY(strata__alloc_aligned(&pool, sizeof *pool, "thread pool"));
    memset(pool, 0, sizeof *pool);
    pthread_mutex_init(&pool->one_run, NULL);
    pool->count = 1;
    pool->spins = count <= allowed_pus() ? SPINS : 0;
    strata_status status =
        strata__calloc(&pool->workers, count - 1, sizeof *pool->workers, "thread pool");
    for (unsigned i = 1; i < count && status == STRATA_OK; i++) {
        struct worker *worker = &pool->workers[i - 1];
        worker->pool = pool;
        worker->index = i;
        status = start_worker(worker, pus, n_pus);
        if (status == STRATA_OK)
            pool->count = i + 1;
    }
    if (status != STRATA_OK)
        strata__threads_close(&pool);
    *out = pool;
    return status;
}

void strata__threads_close(struct strata__threads **handle)
{
    struct strata__threads *pool = handle ? *handle : NULL;
    if (!pool)
        return;
    begin(pool, NULL, NULL);
    for (unsigned i = 1; i < pool->count; i++)
        pthread_join(pool->workers[i - 1].handle, NULL);
    pthread_mutex_destroy(&pool->one_run);
    strata__free(pool->workers);
    strata__free(pool);
    *handle = NULL;
}

unsigned strata__threads_count(const struct strata__threads *pool)
{
    return pool->count;
}

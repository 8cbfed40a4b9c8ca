/* strata-bench kernels: each row of the kernel registry at shapes of real models.
 *
 * k is 576 and 1536 in SmolLM2-135M, 2048 and 8192 in SmolLM2-1.7B; a product takes `rows` rows, a
 * part of a matrix such as one thread computes at a time.  Weights, keys and values are read from a
 * stretch of memory that no cache holds, each call going on where the last one stopped; activations
 * and results stay in the first caches.
 *
 * of_roofline is the least time that the host's peaks of the kernel's level allow (the longest of:
 * streamed bytes at memory speed, other bytes at first-level cache speed, operations at the f32 or,
 * for products of 8-bit values, int8 peak) over the time taken.  Operations: a multiply-add is two,
 * and exp, a division and a square root are one each. */
#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_features.h"
#include "device_rows.h"
#include "harness.h"
#include "registry.h"
#include "roofline.h"
#include "strata.h"
#include "suites.h"

#define ROWS 64 /* of a product; one token: 256 */
#define HEAD_DIM 64
#define GROUP_HEADS 3 /* query heads that share keys and values */
#define TOP_K 40

/* Two sizes of a call; what they are says op_bench.n_name and m_name. */
struct shape {
    size_t n, m;
};

struct cost {
    double streamed, local, ops; /* bytes from memory, bytes from and to caches, operations */
};

/* One benchmark: a kernel at a shape. */
struct work {
    const struct strata_kernel *kernel;
    struct shape shape;
    const struct stream *stream;
};

/* What one thread works on. */
struct lane {
    const struct strata_kernel *kernel;
    struct shape shape;
    struct stream part;
    size_t offset, step; /* in the part; streamed bytes of a call */
    union {
        struct strata_matmul product;
        struct strata_attention attention;
        struct strata_attention_parts parts;
        struct strata_q8_rows q8;
        int32_t *index;
    } u;
    float *x, *y, *weight;
    void *buffers[8];
    size_t n_buffers;
    bool failed;
};

/* How an operation is measured. */
struct op_bench {
    const char *n_name, *m_name; /* "k", "m"; m_name NULL: shapes have no m */
    const struct shape *shapes;
    size_t n_shapes;
    struct cost (*cost)(const struct work *work);
    void (*setup)(struct lane *lane);
    void (*run)(void *lane);
};

/* ---- Memory of a lane ---- */

/* Bytes aligned to 64, all zero; NULL marks the lane as failed. */
static void *buffer(struct lane *lane, size_t bytes)
{
    size_t rounded = (bytes + 63) / 64 * 64;
    void *memory = aligned_alloc(64, rounded);
    assert(lane->n_buffers < sizeof lane->buffers / sizeof *lane->buffers);
    lane->buffers[lane->n_buffers++] = memory;
    if (memory)
        memset(memory, 0, rounded);
    else
        lane->failed = true;
    return memory;
}

/* n floats in -1..1, in no order. */
static float *numbers(struct lane *lane, size_t n)
{
    float *x = buffer(lane, n * sizeof *x);
    uint32_t random = 1;
    for (size_t i = 0; x && i < n; i++) {
        random = random * 1664525u + 1013904223u;
        x[i] = (float)(random >> 8) / (1 << 23) - 1;
    }
    return x;
}

/* The next `step` bytes of the stream. */
static const void *stream_next(struct lane *lane)
{
    const void *at = lane->part.data + lane->offset;
    lane->offset += lane->step;
    if (lane->offset + lane->step > lane->part.bytes)
        lane->offset = 0;
    return at;
}

/* ---- Products ---- */

static size_t row_bytes(enum strata_type type, size_t k)
{
    if (type == STRATA_TYPE_COUNT) /* sketches */
        return k / 2;
    const struct strata_block_format *format = strata_block_format(type);
    return k / format->block_elems * format->block_bytes;
}

/* Tokens and weight rows of a product, and the bytes of those rows. */
struct product_size {
    size_t m, rows, weight_bytes;
};

static struct product_size product_size(const struct strata_kernel *kernel, struct shape shape)
{
    struct product_size size = {.m = shape.m ? shape.m : 1};
    size.rows = size.m == 1 ? 4 * ROWS : ROWS;
    bool packed = kernel->op == STRATA_OP_packed_f32 || kernel->op == STRATA_OP_packed_q8;
    size.weight_bytes =
        packed ? size.rows / STRATA_PANEL_ROWS * strata_panel_bytes(kernel->type, shape.n)
               : size.rows * row_bytes(kernel->type, shape.n);
    return size;
}

static struct cost product_cost(const struct work *work)
{
    struct product_size size = product_size(work->kernel, work->shape);
    double k = (double)work->shape.n, m = (double)size.m, rows = (double)size.rows;
    double activation = work->kernel->op == STRATA_OP_packed_q8 ? 1 + 8.0 / 32 + 2.0 / 16 : 4;
    return (struct cost){
        .streamed = (double)size.weight_bytes,
        .local = m * k * activation + rows * m * 4,
        .ops = 2 * rows * m * k,
    };
}

static struct strata_q8_rows q8_rows(struct lane *lane, size_t m, size_t k)
{
    return (struct strata_q8_rows){
        .q = buffer(lane, m * k),
        .scale = buffer(lane, m * (k / 32) * sizeof(float)),
        .sum = buffer(lane, m * (k / 16) * sizeof(int16_t)),
        .total = buffer(lane, m * (k / 32) * sizeof(float)),
    };
}

static void setup_product(struct lane *lane)
{
    enum strata_op op = lane->kernel->op;
    struct product_size size = product_size(lane->kernel, lane->shape);
    size_t k = lane->shape.n;
    struct strata_matmul *a = &lane->u.product;
    *a = (struct strata_matmul){
        .y = buffer(lane, size.m * size.rows * sizeof(float)),
        .ldy = size.rows,
        .row_bytes = row_bytes(lane->kernel->type, k),
        .rows = size.rows,
        .x = numbers(lane, size.m * k),
        .ldx = k,
        .m = size.m,
        .k = k,
    };
    if (op == STRATA_OP_gemm_f32)
        a->scratch = buffer(lane, STRATA_GEMM_SCRATCH_BYTES(k));
    if (op == STRATA_OP_packed_q8)
        a->xq = q8_rows(lane, size.m, k);
    if (op == STRATA_OP_similarity_q16 || op == STRATA_OP_similarity_q4) {
        a->scales = numbers(lane, 2 * size.rows);
        a->steps = numbers(lane, size.m);
        a->x16 = buffer(lane, size.m * k * sizeof *a->x16);
    }
    lane->step = size.weight_bytes;
    if (op == STRATA_OP_packed_q8 && !lane->failed) {
        struct strata_kernels reference;
        strata_kernels_select(&reference, STRATA_LEVEL_ref);
        reference.quantize_q8(&a->xq, a->x, size.m, k);
    }
}

/* The four operations have one type of function. */
static void run_product(void *state)
{
    struct lane *lane = state;
    lane->u.product.w = stream_next(lane);
    lane->kernel->fn.gemv_f32(&lane->u.product);
}

/* ---- Attention ---- */

static struct cost attention_cost(const struct work *work)
{
    double depth = (double)work->shape.n, queries = (double)work->shape.m * GROUP_HEADS;
    return (struct cost){
        .streamed = depth * 2 * (double)row_bytes(work->kernel->type, HEAD_DIM),
        .local = queries * HEAD_DIM * 4 * 2,
        .ops = queries * depth * (4 * HEAD_DIM + 4),
    };
}

static void setup_attention(struct lane *lane)
{
    size_t depth = lane->shape.n, tokens = lane->shape.m, vectors = tokens * GROUP_HEADS;
    uint32_t *visible = buffer(lane, tokens * sizeof *visible);
    for (size_t t = 0; visible && t < tokens; t++)
        visible[t] = (uint32_t)depth;
    lane->u.attention = (struct strata_attention){
        .out = buffer(lane, vectors * HEAD_DIM * sizeof(float)),
        .out_token_stride = GROUP_HEADS * HEAD_DIM,
        .out_head_stride = HEAD_DIM,
        .q = numbers(lane, vectors * HEAD_DIM),
        .q_token_stride = GROUP_HEADS * HEAD_DIM,
        .q_head_stride = HEAD_DIM,
        .k_stride = row_bytes(lane->kernel->type, HEAD_DIM),
        .v_stride = row_bytes(lane->kernel->type, HEAD_DIM),
        .visible = visible,
        .window = SIZE_MAX,
        .tokens = tokens,
        .heads = GROUP_HEADS,
        .head_dim = HEAD_DIM,
        .scale = 0.125F,
        .scratch = buffer(lane, STRATA_ATTENTION_SCRATCH_BYTES(HEAD_DIM)),
    };
    lane->step = depth * 2 * lane->u.attention.k_stride;
}

static void run_attention(void *state)
{
    struct lane *lane = state;
    struct strata_attention *a = &lane->u.attention;
    a->k = stream_next(lane);
    a->v = (const char *)a->k + lane->shape.n * a->k_stride;
    lane->kernel->fn.attention(a);
}

static struct cost merge_cost(const struct work *work)
{
    double elements = (double)(work->shape.n * work->shape.m);
    return (struct cost){.local = 4 * elements, .ops = 2 * elements};
}

static void setup_merge(struct lane *lane)
{
    lane->u.parts = (struct strata_attention_parts){
        .out = buffer(lane, lane->shape.n * sizeof(float)),
        .sums = numbers(lane, lane->shape.n * lane->shape.m),
        .largest = numbers(lane, lane->shape.m),
        .denominator = numbers(lane, lane->shape.m),
        .parts = lane->shape.m,
        .head_dim = lane->shape.n,
    };
}

static void run_merge(void *state)
{
    struct lane *lane = state;
    lane->kernel->fn.attention_merge(&lane->u.parts);
}

/* ---- The others ---- */

static struct cost dequantize_cost(const struct work *work)
{
    double n = (double)work->shape.n;
    return (struct cost){(double)row_bytes(work->kernel->type, work->shape.n), .local = 4 * n,
                         .ops = 2 * n};
}

/* Bytes in caches and operations for each element of a vector. */
static struct cost vector_cost(const struct work *work)
{
    static const struct {
        double bytes, ops;
    } each[STRATA_OP_COUNT] = {
        [STRATA_OP_quantize_q8] = {4 + 1 + 4.0 / 32 + 2.0 / 16, 4},
        [STRATA_OP_encode] = {6, 1},
        [STRATA_OP_rms_norm] = {12, 4},
        [STRATA_OP_layer_norm] = {16, 7},
        [STRATA_OP_gelu] = {8, 20},
        [STRATA_OP_rope_norm] = {8 * HEAD_DIM, 3 * HEAD_DIM},
        [STRATA_OP_rope_neox] = {8 * HEAD_DIM, 3 * HEAD_DIM},
        [STRATA_OP_softmax] = {8, 5},
        [STRATA_OP_silu_mul] = {12, 5},
        [STRATA_OP_add] = {12, 1},
        [STRATA_OP_argmax] = {4, 1},
        [STRATA_OP_top_k] = {4, 1},
    };
    double n = (double)work->shape.n * (work->shape.m ? (double)work->shape.m : 1);
    enum strata_op op = work->kernel->op;
    return (struct cost){.local = n * each[op].bytes, .ops = n * each[op].ops};
}

static void setup_dequantize(struct lane *lane)
{
    lane->y = buffer(lane, lane->shape.n * sizeof *lane->y);
    lane->step = row_bytes(lane->kernel->type, lane->shape.n);
}

static void setup_quantize(struct lane *lane)
{
    lane->x = numbers(lane, lane->shape.m * lane->shape.n);
    lane->u.q8 = q8_rows(lane, lane->shape.m, lane->shape.n);
}

static void setup_vectors(struct lane *lane)
{
    lane->x = numbers(lane, lane->shape.n);
    lane->y = buffer(lane, lane->shape.n * sizeof *lane->y);
    lane->weight = numbers(lane, lane->shape.n);
    lane->u.index = buffer(lane, TOP_K * sizeof *lane->u.index);
}

static void setup_rope(struct lane *lane)
{
    lane->x = numbers(lane, lane->shape.n * HEAD_DIM);
    lane->weight = buffer(lane, HEAD_DIM * sizeof *lane->weight);
    for (int i = 0; lane->weight && i < HEAD_DIM; i += 2) {
        lane->weight[i] = cosf((float)i);
        lane->weight[i + 1] = sinf((float)i);
    }
}

/* clang-format off */
#define RUN(op, ...) \
    static void run_##op(void *state) \
    { \
        struct lane *l = state; \
        l->kernel->fn.op(__VA_ARGS__); \
    }
/* clang-format on */

RUN(dequantize, l->y, stream_next(l), l->shape.n)
RUN(quantize_q8, &l->u.q8, l->x, l->shape.m, l->shape.n)
RUN(encode, l->y, l->x, l->shape.n)
RUN(rms_norm, l->y, l->x, l->weight, l->shape.n, 1e-5F)
RUN(layer_norm, l->y, l->x, l->weight, l->weight, l->shape.n, 1e-12F)
RUN(gelu, l->y, l->x, l->shape.n)
RUN(rope_norm, l->x, l->weight, l->shape.n, HEAD_DIM, HEAD_DIM / 2)
RUN(rope_neox, l->x, l->weight, l->shape.n, HEAD_DIM, HEAD_DIM / 2)
RUN(softmax, l->x, l->shape.n)
RUN(silu_mul, l->y, l->x, l->weight, l->shape.n)
RUN(add, l->y, l->x, l->shape.n)
RUN(top_k, l->u.index, l->x, l->shape.n, TOP_K)

static void run_argmax(void *state)
{
    struct lane *lane = state;
    lane->u.index[0] = (int32_t)lane->kernel->fn.argmax(lane->x, lane->shape.n);
}

/* ---- Operations and shapes ---- */

static const struct shape gemv_shapes[] = {{576, 0}, {1536, 0}, {2048, 0}, {8192, 0}};
static const struct shape gemm_shapes[] = {{576, 8},   {1536, 8},   {2048, 8},   {8192, 8},
                                           {576, 512}, {1536, 512}, {2048, 512}, {8192, 512}};
static const struct shape packed_shapes[] = {{576, 1},   {1536, 1},   {2048, 1},   {8192, 1},
                                             {576, 8},   {1536, 8},   {2048, 8},   {8192, 8},
                                             {576, 512}, {1536, 512}, {2048, 512}, {8192, 512}};
static const struct shape vector_shapes[] = {{384, 1}, {384, 8}, {1024, 1}, {1024, 8}};
static const struct shape depth_shapes[] = {{128, 1},  {1024, 1},  {4096, 1},
                                            {128, 16}, {1024, 16}, {4096, 16}};
static const struct shape part_shapes[] = {{HEAD_DIM, 16}};
static const struct shape row_shapes[] = {{1536, 0}, {2048, 0}};
static const struct shape width_shapes[] = {{576, 0}, {2048, 0}};
static const struct shape inner_shapes[] = {{1536, 0}, {8192, 0}};
static const struct shape score_shapes[] = {{128, 0}, {1024, 0}, {4096, 0}};
static const struct shape head_shapes[] = {{9, 0}, {32, 0}};
static const struct shape quantize_shapes[] = {{576, 1}, {576, 8}, {2048, 1}, {8192, 1}};
static const struct shape vocabulary_shapes[] = {{49152, 0}};

#define SHAPES(list) list, sizeof list / sizeof *list

/* clang-format off */
#define PRODUCT(op, m_name, shapes) \
    [STRATA_OP_##op] = {"k", m_name, SHAPES(shapes), product_cost, setup_product, run_product}
#define VECTOR(op, n_name, m_name, shapes, setup) \
    [STRATA_OP_##op] = {n_name, m_name, SHAPES(shapes), vector_cost, setup, run_##op}

static const struct op_bench op_benches[STRATA_OP_COUNT] = {
    PRODUCT(gemv_f32, NULL, gemv_shapes),
    PRODUCT(gemm_f32, "m", gemm_shapes),
    PRODUCT(packed_f32, "m", packed_shapes),
    PRODUCT(packed_q8, "m", packed_shapes),
    PRODUCT(similarity_f32, "m", vector_shapes),
    PRODUCT(similarity_q16, "m", vector_shapes),
    PRODUCT(similarity_q4, "m", vector_shapes),
    VECTOR(quantize_q8, "k", "m", quantize_shapes, setup_quantize),
    VECTOR(encode, "n", NULL, width_shapes, setup_vectors),
    [STRATA_OP_attention_merge] = {"head_dim", "parts", SHAPES(part_shapes), merge_cost,
                                   setup_merge, run_merge},
    VECTOR(rms_norm, "n", NULL, width_shapes, setup_vectors),
    VECTOR(layer_norm, "n", NULL, width_shapes, setup_vectors),
    VECTOR(gelu, "n", NULL, inner_shapes, setup_vectors),
    VECTOR(rope_norm, "heads", NULL, head_shapes, setup_rope),
    VECTOR(rope_neox, "heads", NULL, head_shapes, setup_rope),
    VECTOR(softmax, "n", NULL, score_shapes, setup_vectors),
    VECTOR(silu_mul, "n", NULL, inner_shapes, setup_vectors),
    VECTOR(add, "n", NULL, width_shapes, setup_vectors),
    VECTOR(argmax, "n", NULL, vocabulary_shapes, setup_vectors),
    VECTOR(top_k, "n", NULL, vocabulary_shapes, setup_vectors),
    [STRATA_OP_dequantize] = {"n", NULL, SHAPES(row_shapes), dequantize_cost, setup_dequantize,
                              run_dequantize},
    [STRATA_OP_attention] = {"depth", "tokens", SHAPES(depth_shapes), attention_cost,
                                 setup_attention, run_attention},
};
/* clang-format on */

/* ---- The suite ---- */

static void close_lane(void *state)
{
    struct lane *lane = state;
    for (size_t i = 0; i < lane->n_buffers; i++)
        free(lane->buffers[i]);
    free(lane);
}

static void *open_lane(const void *arg, int thread, int threads)
{
    const struct work *work = arg;
    struct lane *lane = calloc(1, sizeof *lane);
    if (!lane)
        return NULL;
    lane->kernel = work->kernel;
    lane->shape = work->shape;
    lane->part = stream_part(work->stream, thread, threads);
    op_benches[work->kernel->op].setup(lane);
    assert(lane->step <= lane->part.bytes);
    if (!lane->failed)
        return lane;
    close_lane(lane);
    return NULL;
}

static void work_name(const struct work *work, char *name, size_t size)
{
    const struct op_bench *op = &op_benches[work->kernel->op];
    int used = snprintf(name, size, "%s/%s:%zu", work->kernel->name, op->n_name, work->shape.n);
    if (op->m_name)
        snprintf(name + used, size - (size_t)used, "/%s:%zu", op->m_name, work->shape.m);
}

/* Stores the benchmarks that the options ask for in out, unless it is NULL; returns how many. */
static size_t find_works(const struct suite_options *options, struct work *out)
{
    size_t rows, count = 0;
    const struct strata_kernel *kernels = strata_kernel_rows(&rows);
    for (size_t i = 0; i < rows; i++) {
        const struct op_bench *op = &op_benches[kernels[i].op];
        for (size_t s = 0; kernels[i].level <= options->level && s < op->n_shapes; s++) {
            struct work work = {.kernel = &kernels[i], .shape = op->shapes[s]};
            char name[128];
            work_name(&work, name, sizeof name);
            if (kernels[i].type != STRATA_TYPE_COUNT &&
                work.shape.n % strata_block_format(kernels[i].type)->block_elems)
                continue;
            if (options->filtered && regexec(&options->filter, name, 0, NULL, 0))
                continue;
            if (out)
                out[count] = work;
            count++;
        }
    }
    return count;
}

/* The least time that the peaks allow a thread for one call when `threads` of them share memory. */
static double ideal_seconds(const struct work *work, const struct roofline *peaks)
{
    struct cost cost = op_benches[work->kernel->op].cost(work);
    double peak =
        work->kernel->op == STRATA_OP_packed_q8 ? peaks->int8_ops_per_s : peaks->f32_ops_per_s;
    double time = cost.ops / peak;
    time = fmax(time, cost.streamed / peaks->memory_bytes_per_s);
    time = fmax(time, cost.local / peaks->l1_bytes_per_s);
    return time * peaks->threads;
}

static void describe(const struct suite_options *options)
{
    char threads[16];
    snprintf(threads, sizeof threads, "%d", options->threads);
    bench_describe("strata_version", strata_version());
    bench_describe("strata_isa", strata_level_name(options->level));
    bench_describe("strata_threads", threads);
}

/* Peaks of the levels that works have; memory is as fast at all of them, so the best reading counts
 * for all. */
static bool measure_peaks(const struct suite_options *options, const struct work *works,
                          size_t count, const struct stream *stream, struct roofline *peaks)
{
    double memory = 0;
    for (size_t i = 0; i < count; i++) {
        enum strata_level level = works[i].kernel->level;
        if (peaks[level].threads)
            continue;
        peaks[level] = (struct roofline){.level = level, .threads = options->threads};
        if (!roofline_measure(&peaks[level], stream))
            return false;
        memory = fmax(memory, peaks[level].memory_bytes_per_s);
    }
    for (size_t i = 0; i < STRATA_LEVEL_COUNT; i++)
        peaks[i].memory_bytes_per_s = memory;
    return true;
}

static bool add_works(const struct suite_options *options, struct work *works, size_t count,
                      const struct stream *stream)
{
    struct roofline peaks[STRATA_LEVEL_COUNT] = {0};
    if (!options->no_roofline && !measure_peaks(options, works, count, stream, peaks))
        return false;
    for (size_t i = 0; i < count; i++) {
        struct cost cost = op_benches[works[i].kernel->op].cost(&works[i]);
        char name[128];
        work_name(&works[i], name, sizeof name);
        works[i].stream = stream;
        bench_add(&(struct bench){
            .name = name,
            .arg = &works[i],
            .setup = open_lane,
            .run = op_benches[works[i].kernel->op].run,
            .teardown = close_lane,
            .bytes = cost.streamed + cost.local,
            .ops = cost.ops,
            .ideal_s =
                options->no_roofline ? 0 : ideal_seconds(&works[i], &peaks[works[i].kernel->level]),
            .threads = options->threads,
        });
    }
    describe(options);
    return true;
}

static bool measure_works(const struct suite_options *options, struct work *works, size_t count,
                          struct device_rows *device)
{
    const struct bench_run how = {.output = options->json ? BENCH_JSON : BENCH_TEXT,
                                  .min_seconds = options->min_seconds,
                                  .repetitions = options->repetitions};
    struct stream stream = {0};
    if (count && !stream_open(&stream, options->threads))
        return false;
    bool done = add_works(options, works, count, &stream) && device_rows_add(device, options) &&
                bench_run(&how);
    if (count)
        stream_close(&stream);
    return done;
}

static void list_works(const struct work *works, size_t count, const struct device_rows *device)
{
    char name[128];
    for (size_t i = 0; i < count; i++) {
        work_name(&works[i], name, sizeof name);
        puts(name);
    }
    device_rows_list(device);
}

bool suite_kernels(const struct suite_options *options)
{
    size_t count = find_works(options, NULL);
    struct work *works = calloc(count + 1, sizeof *works);
    struct device_rows *device = NULL;
    bool done = works && device_rows_open(&device, options);
    if (!works) {
        fputs("strata-bench: out of memory\n", stderr);
    } else if (done) {
        find_works(options, works);
        done = count + device_rows_count(device);
        if (!done)
            fputs("strata-bench: no benchmark has a name that the filter matches\n", stderr);
        else if (options->list)
            list_works(works, count, device);
        else
            done = measure_works(options, works, count, device);
    }
    device_rows_close(device);
    free(works);
    return done;
}

/* gate: a fixed list of work for run_gate.py, which counts its instructions.
 *
 *   gate --list    the names of the cases
 *   gate NAME      runs one
 *
 * Kernels of level avx2 as the registry has them, and one small model at that level through the
 * public API, on one thread and without BLAS.  Nothing depends on time, on addresses or on the
 * host: the same build does the same instructions everywhere.  Each case runs once before it runs
 * in gate_run, the only part that counts, so that no first call is in it.
 *
 * Exit status: 0, 1 for what failed, 2 for wrong usage, 77 where the host lacks AVX2. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_features.h"
#include "registry.h"
#include "strata.h"

#define ROWS 64 /* of a product's weights */
#define HEAD_DIM 64
#define GROUP_HEADS 3   /* query heads that share keys and values */
#define MODEL_TOKENS 64 /* of the prompt */
#define SKIPPED 77

/* What a case works on; it lives until the program ends. */
struct work {
    const struct strata_kernel *kernel; /* NULL: the model */
    size_t n, m;
    union {
        struct strata_matmul product;
        struct strata_attention attention;
        struct strata_q8_rows q8;
    } u;
    float *x, *y, *weight;
    strata_session *session;
    int32_t ids[MODEL_TOKENS];
};

struct gate_case {
    const char *name, *kernel;
    size_t n, m; /* as the name has them */
    void (*setup)(struct work *work);
    void (*run)(struct work *work);
    size_t times; /* that it is run in gate_run */
};

static _Noreturn void fail(const char *what, const char *why)
{
    fprintf(stderr, "gate: %s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

/* ---- Inputs ---- */

/* Zeros, aligned to 64. */
static void *buffer(size_t bytes)
{
    size_t rounded = (bytes + 63) / 64 * 64;
    void *memory = aligned_alloc(64, rounded);
    if (!memory)
        fail("memory", "out of it");
    return memset(memory, 0, rounded);
}

static uint32_t next(uint32_t *random)
{
    *random = *random * 1664525u + 1013904223u;
    return *random >> 8;
}

/* n floats in -1..1. */
static float *numbers(size_t n)
{
    uint32_t random = 1;
    float *x = buffer(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)next(&random) / (1 << 23) - 1;
    return x;
}

/* Elements of any type, packed or not: bytes below 0x40, so that each scale and each F16 element,
 * whichever bytes it lies in, is a positive number below 2. */
static void *elements(size_t bytes)
{
    uint32_t random = 2;
    uint8_t *memory = buffer(bytes);
    for (size_t i = 0; i < bytes; i++)
        memory[i] = next(&random) >> 8 & 0x3f;
    return memory;
}

static size_t row_bytes(enum strata_type type, size_t k)
{
    const struct strata_block_format *format = strata_block_format(type);
    return k / format->block_elems * format->block_bytes;
}

/* ---- Kernels ---- */

static void setup_quantize(struct work *work)
{
    work->x = numbers(work->m * work->n);
    work->u.q8 = (struct strata_q8_rows){
        .q = buffer(work->m * work->n),
        .scale = buffer(work->m * (work->n / 32) * sizeof(float)),
        .sum = buffer(work->m * (work->n / 16) * sizeof(int16_t)),
        .total = buffer(work->m * (work->n / 32) * sizeof(float)),
    };
}

static void run_quantize(struct work *work)
{
    work->kernel->fn.quantize_q8(&work->u.q8, work->x, work->m, work->n);
}

static void setup_product(struct work *work)
{
    enum strata_type type = work->kernel->type;
    struct strata_kernels reference;
    strata_kernels_select(&reference, STRATA_LEVEL_ref);
    setup_quantize(work);
    struct strata_q8_rows xq = work->u.q8;
    reference.quantize_q8(&xq, work->x, work->m, work->n);
    size_t bytes = strata_packed_format(type).bits
                       ? ROWS / STRATA_PANEL_ROWS * strata_panel_bytes(type, work->n)
                       : ROWS * row_bytes(type, work->n);
    work->u.product = (struct strata_matmul){
        .y = buffer(work->m * ROWS * sizeof(float)),
        .ldy = ROWS,
        .w = elements(bytes),
        .row_bytes = row_bytes(type, work->n),
        .rows = ROWS,
        .x = work->x,
        .ldx = work->n,
        .xq = xq,
        .m = work->m,
        .k = work->n,
        .scratch = buffer(STRATA_GEMM_SCRATCH_BYTES(work->n)),
    };
}

/* The four products have one type of function. */
static void run_product(struct work *work)
{
    work->kernel->fn.packed_q8(&work->u.product);
}

/* The m newest of n tokens. */
static void setup_attention(struct work *work)
{
    size_t vectors = work->m * GROUP_HEADS, stride = row_bytes(work->kernel->type, HEAD_DIM);
    uint32_t *visible = buffer(work->m * sizeof *visible);
    for (size_t t = 0; t < work->m; t++)
        visible[t] = (uint32_t)(work->n - work->m + t + 1);
    char *cache = elements(2 * work->n * stride);
    work->u.attention = (struct strata_attention){
        .out = buffer(vectors * HEAD_DIM * sizeof(float)),
        .out_token_stride = GROUP_HEADS * HEAD_DIM,
        .out_head_stride = HEAD_DIM,
        .q = numbers(vectors * HEAD_DIM),
        .q_token_stride = GROUP_HEADS * HEAD_DIM,
        .q_head_stride = HEAD_DIM,
        .k = cache,
        .k_stride = stride,
        .v = cache + work->n * stride,
        .v_stride = stride,
        .visible = visible,
        .window = SIZE_MAX,
        .tokens = work->m,
        .heads = GROUP_HEADS,
        .head_dim = HEAD_DIM,
        .scale = 0.125F,
        .scratch = buffer(STRATA_ATTENTION_SCRATCH_BYTES(HEAD_DIM)),
    };
}

static void run_attention(struct work *work)
{
    work->kernel->fn.attention(&work->u.attention);
}

static void setup_vectors(struct work *work)
{
    work->x = numbers(work->n);
    work->y = buffer(work->n * sizeof *work->y);
    work->weight = numbers(work->n);
}

static void run_rms_norm(struct work *work)
{
    work->kernel->fn.rms_norm(work->y, work->x, work->weight, work->n, 1e-5F);
}

static void run_softmax(struct work *work)
{
    work->kernel->fn.softmax(work->x, work->n);
}

static void run_silu_mul(struct work *work)
{
    work->kernel->fn.silu_mul(work->y, work->x, work->weight, work->n);
}

/* Pairs (3/5, 4/5), a rotation. */
static void setup_rope(struct work *work)
{
    work->x = numbers(work->n * HEAD_DIM);
    work->weight = buffer(HEAD_DIM * sizeof *work->weight);
    for (int i = 0; i < HEAD_DIM; i += 2) {
        work->weight[i] = 0.6F;
        work->weight[i + 1] = 0.8F;
    }
}

/* Both layouts have one type of function. */
static void run_rope(struct work *work)
{
    work->kernel->fn.rope_norm(work->x, work->weight, work->n, HEAD_DIM, HEAD_DIM / 2);
}

/* ---- The model ---- */

static void check(const char *what, strata_status status)
{
    if (status != STRATA_OK)
        fail(what, strata_last_error());
}

static void eval(struct work *work, const int32_t *ids, size_t count)
{
    check("eval", strata_session_eval(work->session, ids, count, STRATA_LOGITS_LAST));
}

static void setup_model(struct work *work)
{
    strata_config config;
    strata_config_default(&config);
    config.no_tuning = true;
    config.threads = 1;
    config.cpu_level = strata_level_name(STRATA_LEVEL_avx2);
    config.blas = "off";
    strata_runtime *runtime;
    check("runtime", strata_runtime_open(&runtime, &config));
    strata_model_options options;
    strata_model_options_default(&options);
    options.no_pack_cache = true;
    strata_model *model;
    const char *path = STRATA_TEST_DATA "/tiny/llama256-Q4_1.gguf";
    check("model", strata_model_load(runtime, path, &options, &model));
    check("session", strata_session_open(model, NULL, &work->session));
    for (size_t i = 0; i < MODEL_TOKENS; i++)
        work->ids[i] = (int32_t)(i * 7919 % strata_model_info_get(model).vocab);
}

static void run_prefill(struct work *work)
{
    check("truncate", strata_session_truncate(work->session, 0));
    eval(work, work->ids, MODEL_TOKENS);
}

static void setup_decode(struct work *work)
{
    setup_model(work);
    run_prefill(work);
}

static void run_decode(struct work *work)
{
    eval(work, work->ids, 1);
}

/* ---- The list ---- */

/* clang-format off */
#define CASE(kernel, n_name, n, m_name, m, setup, run) \
    {kernel "_avx2/" n_name ":" #n "/" m_name ":" #m, kernel "_avx2", n, m, setup, run, 1}
#define VECTOR(kernel, n_name, n, setup, run) \
    {kernel "_avx2/" n_name ":" #n, kernel "_avx2", n, 1, setup, run, 1}
#define PRODUCT(kernel, k, m) CASE(kernel, "k", k, "m", m, setup_product, run_product)
#define PACKED(type, k) \
    PRODUCT("packed_q8_" type, k, 1), PRODUCT("packed_q8_" type, k, 8), \
    PRODUCT("packed_q8_" type, k, 64), PRODUCT("packed_f32_" type, k, 1), \
    PRODUCT("packed_f32_" type, k, 8), PRODUCT("packed_f32_" type, k, 64)
#define ATTENTION(type, tokens) \
    CASE("attention_" type, "depth", 256, "tokens", tokens, setup_attention, run_attention)

/* Names and shapes are those of `strata bench kernels`; K types have blocks of 256. */
static const struct gate_case cases[] = {
    PACKED("Q4_0", 576),
    PACKED("Q4_1", 576),
    PACKED("Q8_0", 576),
    PACKED("Q4_K", 512),
    PACKED("Q6_K", 512),
    PRODUCT("gemv_f32_F16", 576, 1),
    PRODUCT("gemm_f32_F16", 576, 8),
    PRODUCT("gemm_f32_F16", 576, 64),
    ATTENTION("F16", 1),
    ATTENTION("F16", 16),
    ATTENTION("Q8_0", 1),
    ATTENTION("Q8_0", 16),
    CASE("quantize_q8", "k", 576, "m", 8, setup_quantize, run_quantize),
    VECTOR("rms_norm", "n", 576, setup_vectors, run_rms_norm),
    VECTOR("softmax", "n", 1024, setup_vectors, run_softmax),
    VECTOR("silu_mul", "n", 1536, setup_vectors, run_silu_mul),
    VECTOR("rope_norm", "heads", 9, setup_rope, run_rope),
    VECTOR("rope_neox", "heads", 9, setup_rope, run_rope),
    {"model_Q4_1/prefill:64", NULL, 0, 0, setup_model, run_prefill, 1},
    {"model_Q4_1/decode:8", NULL, 0, 0, setup_decode, run_decode, 8},
};
/* clang-format on */

#define CASES (sizeof cases / sizeof *cases)

static const struct strata_kernel *find_kernel(const char *name)
{
    size_t count;
    const struct strata_kernel *rows = strata_kernel_rows(&count);
    for (size_t i = 0; i < count; i++)
        if (!strcmp(rows[i].name, name))
            return &rows[i];
    fail(name, "not in the registry");
}

/* The part that counts.  Not static, not inlined and no tail call: callgrind finds it by its name
 * and sees where it ends. */
__attribute__((noinline)) void gate_run(const struct gate_case *this, struct work *work)
{
    for (size_t i = 0; i < this->times; i++)
        this->run(work);
}

static int run_case(const struct gate_case *this)
{
    struct work work = {.n = this->n, .m = this->m};
    if (this->kernel)
        work.kernel = find_kernel(this->kernel);
    this->setup(&work);
    this->run(&work);
    gate_run(this, &work);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: gate --list | NAME\n", stderr);
        return 2;
    }
    if (strata_cpu_level() < STRATA_LEVEL_avx2) {
        fputs("gate: skipped: this host lacks AVX2, FMA or F16C\n", stderr);
        return SKIPPED;
    }
    bool list = !strcmp(argv[1], "--list");
    for (size_t i = 0; i < CASES; i++) {
        if (list)
            puts(cases[i].name);
        else if (!strcmp(argv[1], cases[i].name))
            return run_case(&cases[i]);
    }
    if (list)
        return EXIT_SUCCESS;
    fprintf(stderr, "gate: no case is called %s (gate --list)\n", argv[1]);
    return 2;
}

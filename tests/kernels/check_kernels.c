/* The program: runs each kernel of the registry, at each level that the host has, on random calls.
 *
 *   check_kernels [--seed N] [--iterations N] [--only OP[_TYPE[_LEVEL]]] [--level LEVEL]
 * [--planted]
 *
 * Every call is checked in four ways: what the kernel wrote equals what the reference writes (the
 * reference itself: what check_oracle.c computes) within the operation's bound; nothing else was
 * written; nothing beyond the buffers was touched; and for products, a part of the rows and tokens
 * computed alone has the same bits.  --planted runs the reference with planted faults instead and
 * demands that each is found. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "cpu_features.h"

#define MESSAGES_PER_KERNEL 3
#define SKIPPED 77 /* ctest's SKIP_RETURN_CODE */

struct options {
    uint64_t seed;
    size_t iterations;
    const char *only;
    enum strata_level level;
    bool planted;
};

/* What is being run, for the handler of SIGSEGV. */
static _Thread_local char running[400];

static void on_fault(int signal_number)
{
    static const char text[] = ": touched memory outside its buffers\n";
    ssize_t written = write(2, running, strlen(running));
    written += write(2, text, sizeof text - 1);
    (void)written;
    (void)signal_number;
    _exit(3);
}

/* ---- comparing ---- */

static double result_at(const struct check_buffer *b, size_t index)
{
    const unsigned char *at = b->result + check_offset(b, index);
    uint64_t bits = 0;
    float value;
    memcpy(&bits, at, b->elem);
    if (b->kind == CHECK_F16)
        return check_half((uint16_t)bits);
    if (b->kind == CHECK_F32) {
        memcpy(&value, at, 4);
        return (double)value;
    }
    switch (b->elem) {
    case 1:
        return (double)(int8_t)bits;
    case 2:
        return (double)(int16_t)bits;
    case 4:
        return (double)(int32_t)bits;
    default:
        return (double)(int64_t)bits;
    }
}

/* Where no rounding is allowed the sign of zero counts too, except in sums. */
static bool agrees(const struct check_case *c, double got, double expected, double tolerance)
{
    if (isinf(tolerance))
        return true;
    if (!isfinite(expected)) {
        if (check_is_product(c->op) && c->mode == CHECK_HOSTILE_WEIGHTS)
            return !isfinite(got); /* Inf - Inf may meet in another order */
        if (c->op == STRATA_OP_packed_q8 || c->op == STRATA_OP_dequantize ||
            c->op == STRATA_OP_encode)
            return isnan(expected) ? isnan(got) : got == expected;
        return !isfinite(got);
    }
    if (tolerance > 0 || check_is_product(c->op))
        return fabs(got - expected) <= tolerance;
    return got == expected && !signbit(got) == !signbit(expected);
}

static bool compare(const struct check_case *c, int index, bool strict,
                    const struct check_case *reference)
{
    const struct check_buffer *b = &c->buffer[index];
    struct check_expected expected;
    check_expect(c, index, strict, &expected);
    bool good = true;
    for (size_t i = 0; i < check_elements(b) && good; i++) {
        double wanted = reference ? result_at(&reference->buffer[index], i) : expected.value[i];
        if (reference && check_is_similarity(c->op))
            expected.tolerance[i] = 0;
        double got = result_at(b, i);
        good = agrees(c, got, wanted, expected.tolerance[i]);
        if (!good)
            fprintf(stderr, "%s: %s[%zu, %zu] is %.9g, expected %.9g, tolerance %.3g\n", running,
                    b->name, i / b->cols, i % b->cols, got, wanted, expected.tolerance[i]);
    }
    check_expected_free(&expected);
    return good;
}

static bool is_output(const struct check_buffer *b)
{
    return b->role == CHECK_OUT || b->role == CHECK_INOUT;
}

/* ---- one call ---- */

static const struct strata_kernel *reference_of(const struct strata_kernel *kernel)
{
    size_t count;
    const struct strata_kernel *rows = strata_kernel_rows(&count);
    for (size_t i = 0; i < count; i++)
        if (rows[i].op == kernel->op && rows[i].type == kernel->type &&
            rows[i].level == STRATA_LEVEL_ref)
            return &rows[i];
    fprintf(stderr, "%s: no reference\n", kernel->name);
    exit(2);
}

/* Runs the reference on a copy of the case, so that both results exist side by side. */
static bool compare_outputs(const struct check_case *c, const struct strata_kernel *kernel,
                            bool strict)
{
    bool good = true;
    struct check_case copy = *c;
    const struct check_case *reference = NULL;
    for (int i = 0; i < c->n_buffers; i++) {
        copy.buffer[i].result = malloc(check_extent(&c->buffer[i]) + 1);
        if (!copy.buffer[i].result)
            exit(2);
    }
    if (kernel->level != STRATA_LEVEL_ref) {
        good = check_run(&copy, reference_of(kernel), CHECK_END, CHECK_FAULT_none);
        reference = &copy;
    }
    for (int i = 0; i < c->n_buffers; i++)
        if (is_output(&c->buffer[i]))
            good = compare(c, i, strict, reference) && good;
    for (int i = 0; i < c->n_buffers; i++)
        free(copy.buffer[i].result);
    return good;
}

/* kernels.h, "Independence": a part of the product, computed alone, has the same bits. */
static bool compare_part(const struct check_case *c, const struct strata_kernel *kernel,
                         enum check_fault fault, struct check_random *random)
{
    size_t row = check_between(random, 0, c->rows - 1), token = check_between(random, 0, c->m - 1);
    if (check_is_packed(c->op))
        row -= row % STRATA_PANEL_ROWS;
    size_t rows = check_between(random, 1, c->rows - row),
           m = check_between(random, 1, c->m - token);
    if (check_one_in(random, 2))
        rows = m = 1;
    struct check_case part;
    check_case_slice(&part, c, row, rows, token, m);
    bool good = check_run(&part, kernel, CHECK_BEGIN, fault);
    const struct check_buffer *whole = &c->buffer[BUF_Y], *y = &part.buffer[BUF_Y];
    for (size_t i = 0; i < m * rows && good; i++) {
        size_t at = (token + i / rows) * c->rows + row + i % rows;
        const unsigned char *one = y->result + check_offset(y, i);
        const unsigned char *other = whole->result + check_offset(whole, at);
        if (memcmp(one, other, 4) != 0 && !isnan(result_at(y, i))) {
            fprintf(stderr,
                    "%s: row %zu, token %zu is %.9g, but %.9g in a part of %zu rows, %zu tokens\n",
                    running, row + i % rows, token + i / rows, result_at(whole, at),
                    result_at(y, i), rows, m);
            good = false;
        }
    }
    check_case_free(&part);
    return good;
}

static bool check_call(const struct strata_kernel *kernel, uint64_t seed, enum check_fault fault)
{
    struct check_random random = {seed};
    struct check_case c;
    char text[200];
    check_case_make(&c, kernel->op, kernel->type, &random);
    c.flushes = kernel->level == STRATA_LEVEL_avx512bf16; /* kernels.h, strata_gemv_f32_fn */
    check_case_text(&c, text, sizeof text);
    enum check_place place = (enum check_place)check_between(&random, 0, CHECK_PLACES - 1);
    snprintf(running, sizeof running, "%s (%s, place %d)", kernel->name, text, (int)place);
    /* that fault must be found by compare_part alone */
    bool strict = kernel->level == STRATA_LEVEL_ref && fault != CHECK_FAULT_depends_on_tile;
    bool good = check_run(&c, kernel, place, fault) && compare_outputs(&c, kernel, strict);
    if (good && check_is_product(c.op))
        good = compare_part(&c, kernel, fault, &random);
    check_case_free(&c);
    return good;
}

/* ---- all calls ---- */

static uint64_t seed_of(const struct options *options, const char *name, size_t iteration)
{
    uint64_t hash = options->seed ^ 14695981039346656037u; /* FNV-1a */
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    return hash + iteration * 0x632be59bd9b4e019u;
}

static bool check_kernel(const struct strata_kernel *kernel, const struct options *options,
                         enum check_fault fault)
{
    size_t failures = 0;
    for (size_t i = 0; i < options->iterations && failures < MESSAGES_PER_KERNEL; i++)
        failures += !check_call(kernel, seed_of(options, kernel->name, i), fault);
    return failures == 0;
}

/* A kernel is chosen by the beginning of its name, up to an underscore or the end. */
static bool chosen(const struct strata_kernel *kernel, const struct options *options)
{
    size_t length = options->only ? strlen(options->only) : 0;
    if (kernel->level > options->level)
        return false;
    return length == 0 || (strncmp(kernel->name, options->only, length) == 0 &&
                           (kernel->name[length] == 0 || kernel->name[length] == '_'));
}

static int check_all(const struct options *options)
{
    size_t count, checked = 0, failed = 0;
    const struct strata_kernel *rows = strata_kernel_rows(&count);
    for (size_t i = 0; i < count; i++) {
        if (!chosen(&rows[i], options))
            continue;
#if STRATA_CHECK_EMULATED /* this build's AVX-512 kernels run on SIMDe; the others are as always \
                           */
        if (rows[i].level < STRATA_LEVEL_avx512)
            continue;
#endif
        checked++;
        failed += !check_kernel(&rows[i], options, CHECK_FAULT_none);
    }
    printf("%zu kernels up to %s, %zu calls each, seed %llu: %zu failed\n", checked,
           strata_level_name(options->level), options->iterations,
           (unsigned long long)options->seed, failed);
    return failed > 0 || checked == 0;
}

/* ---- planted faults ---- */

static const char *const fault_names[] = {
#define X(name) #name,
    CHECK_FAULTS(X)
#undef X
};

/* True when a child that runs the kernel with the fault ends in failure. */
static bool finds(const struct strata_kernel *kernel, const struct options *options,
                  enum check_fault fault)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(0);
        _exit(check_kernel(kernel, options, fault) ? 0 : 1);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) {
        perror("check_kernels: fork");
        exit(2);
    }
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static int check_planted(const struct options *options)
{
    size_t count, planted = 0, missed = 0;
    const struct strata_kernel *rows = strata_kernel_rows(&count);
    for (size_t i = 0; i < count && rows[i].level == STRATA_LEVEL_ref; i++)
        for (int fault = CHECK_FAULT_wrong_bit; fault < CHECK_FAULT_COUNT; fault++) {
            bool product = check_is_product(rows[i].op);
            bool inputs = rows[i].op != STRATA_OP_softmax; /* its only buffer is in and out */
            if (!chosen(&rows[i], options) || (fault == CHECK_FAULT_depends_on_tile && !product))
                continue;
            if (!inputs && (fault == CHECK_FAULT_overread || fault == CHECK_FAULT_underread ||
                            fault == CHECK_FAULT_changed_input))
                continue;
            planted++;
            if (!finds(&rows[i], options, (enum check_fault)fault)) {
                missed++;
                fprintf(stderr, "%s: the planted fault %s was not found\n", rows[i].name,
                        fault_names[fault]);
            }
        }
    printf("%zu faults planted, %zu not found\n", planted, missed);
    return missed > 0 || planted == 0;
}

/* ---- the program ---- */

static unsigned long long number_of(const char *text)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end) {
        fprintf(stderr, "check_kernels: %s: a number expected\n", text);
        exit(2);
    }
    return value;
}

static void read_options(struct options *options, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--planted") == 0) {
            options->planted = true;
            continue;
        }
        if (strcmp(argv[i], "--seed") == 0)
            options->seed = number_of(value);
        else if (strcmp(argv[i], "--iterations") == 0)
            options->iterations = number_of(value);
        else if (strcmp(argv[i], "--only") == 0)
            options->only = value;
        else if (strcmp(argv[i], "--level") == 0 && strata_level_from_name(value) <= options->level)
            options->level = strata_level_from_name(value);
        else {
            fprintf(stderr, "check_kernels: %s %s: unknown, or not on this host\n", argv[i], value);
            exit(2);
        }
        i++;
    }
}

int main(int argc, char **argv)
{
    struct options options = {.seed = 1, .iterations = 100, .level = strata_cpu_level()};
#if STRATA_CHECK_EMULATED
    if (options.level < STRATA_LEVEL_avx2) {
        puts("skipped: SIMDe's AVX-512 is compiled for hosts with AVX2");
        return SKIPPED;
    }
    options.level = STRATA_LEVEL_COUNT - 1;
#endif
    struct sigaction action = {.sa_handler = on_fault};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    read_options(&options, argc, argv);
    return options.planted ? check_planted(&options) : check_all(&options);
}

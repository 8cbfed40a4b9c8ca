/* Choices between kernels that are right everywhere and differ in speed from host to host: what
 * they are, how they are kept in a file, and how they reach a runtime's kernel tables.
 *
 * Measuring them is in tune_race.{h,c} (how variants are timed) and tune_run.c (which ones). */
#ifndef STRATA_TUNE_H
#define STRATA_TUNE_H

#include "kernels.h"
#include "status.h"

/* What a chunk of tokens is: one token of every sequence (decode), or anything else. */
enum strata__phase { STRATA__PREFILL, STRATA__DECODE, STRATA__PHASES };

/* What packed products do on devices of a kind, as struct strata_cuda_product (plugin.h) has it; 0:
 * what the plug-in thinks best. */
struct strata__device_tuning {
    char kind[160]; /* "9.0 NVIDIA H200": compute capability and name; "": free */
    uint32_t blas_from[STRATA_TYPE_COUNT], gemv_tokens[STRATA_TYPE_COUNT];
    uint32_t tile_few[STRATA_TYPE_COUNT], tile_many[STRATA_TYPE_COUNT];
};

#define STRATA__TUNED_DEVICES 4 /* kinds of devices, at most */

struct strata__tuning {
    /* Packed types: the level whose packed_q8 kernel is used; ref: the table's own. */
    enum strata_level level[STRATA__PHASES][STRATA_TYPE_COUNT];
    /* Tokens from which OpenBLAS computes float products; 0: never. */
    size_t blas_from[STRATA_TYPE_COUNT];
    unsigned threads; /* when the configuration does not say; 0: one for each core */
    /* What plans are made of (plan.c): millions of multiply-adds a second of the products of many
     * tokens and of one, on so many threads; 0: not measured. */
    unsigned rate[STRATA__PHASES][STRATA_TYPE_COUNT], rate_threads;
    struct strata__device_tuning device[STRATA__TUNED_DEVICES];
};

/* The choices without a file.  OpenBLAS serves the reference level only: Zen 4, one core, tiles of
 * 16 rows: OpenBLAS 36 to 52 G multiply-adds a second, our AVX2 and AVX-512 products 47 to 58, the
 * reference below 1. */
void strata__tuning_default(struct strata__tuning *tuning, enum strata_level level);

/* The packed_q8 kernel of a type that was written for just this level, avx2 or above; NULL: none.
 */
strata_packed_q8_fn *strata__tuning_kernel(enum strata_type type, enum strata_level level);

/* True for the types whose products a file may give to OpenBLAS: F32, F16, BF16. */
bool strata__tuning_has_blas(enum strata_type type);

/* True for the types that have products of one token. */
bool strata__tuning_has_rate(enum strata_type type);

/* Puts the kernels that are chosen for `phase` into a table filled by strata_kernels_select. */
void strata__tuning_apply(const struct strata__tuning *tuning, enum strata__phase phase,
                          struct strata_kernels *table);

/* The choices for a kind of devices, or NULL; and those to be changed, which may replace others. */
const struct strata__device_tuning *strata__tuning_device(const struct strata__tuning *tuning,
                                                          const char *kind);
struct strata__device_tuning *strata__tuning_device_slot(struct strata__tuning *tuning,
                                                         const char *kind);

/* "prefill", "decode". */
const char *strata__phase_name(enum strata__phase phase);

/* ---- The file (tune_file.c) ----
 *
 * Text, one choice a line that departs from the defaults:
 *
 *   strata-tune 4 | 0.1.0 | avx512vnni | 8 cores | AMD EPYC 9354P 32-Core Processor
 *   decode Q4_1 avx2
 *   blas F16 64
 *   threads 4
 *   rates 4
 *   rate decode Q4_1 21930
 *   device 9.0 NVIDIA H200
 *   cublas Q4_K 512
 *   gemv Q4_K 4
 *   tile_few Q4_K 64
 *   tile_many Q4_K 128
 *   checksum 3f6c1b0de5a94820
 *
 * Rates come after the number of threads that they were measured with; they are no choices.
 * cublas (tokens from which it serves packed weights; 0: never), gemv (tokens up to which the
 * tensor cores do not) and tiles (of so many tokens, for up to STRATA_CUDA_FEW_TOKENS of them or
 * for more; where the plug-in has no such tile, as it thinks best) come after the kind of devices
 * that they are for.  The first line has the format's version and what the choices were measured
 * with and on; the file's name is its hash, so that hosts which share a home do not see each
 * other's.  The last line has XXH3 (64 bits) of all bytes before it. */

struct strata__tune_host {
    char path[4096]; /* of its file; "" when no folder is known */
    char line[256];  /* the file's first line, without its end */
    enum strata_level level;
    unsigned cores; /* that this process may use */
};

void strata__tune_host(struct strata__tune_host *host, unsigned cores);

enum strata__tune_state {
    STRATA__TUNE_NONE, /* there is no file */
    STRATA__TUNE_BAD,  /* it is of no use */
    STRATA__TUNE_FOUND,
};

/* Reads the host's file into *tuning, which holds the defaults and keeps them unless all lines are
 * good.  Otherwise `reason` says why: "PATH:LINE: what" when it is about a line. */
enum strata__tune_state strata__tune_read(const struct strata__tune_host *host,
                                          struct strata__tuning *tuning, char *reason, size_t cap);

/* E_IO, with the reason, when a file could not be written at host->path.  Says so before the time
 * is spent to measure; makes the folder. */
strata_status strata__tune_can_write(const struct strata__tune_host *host);

/* Writes the choices that are not the defaults, replacing a file as a whole.  E_IO: the old one is
 * left. */
strata_status strata__tune_write(const struct strata__tune_host *host,
                                 const struct strata__tuning *tuning);

/* *removed: there was one.  E_IO. */
strata_status strata__tune_remove(const struct strata__tune_host *host, bool *removed);

/* ---- Choices as users see them ---- */

/* Types of STRATA_PACKED_FORMATS by phase, and four times by device, three float types, threads. */
#define STRATA__TUNE_CHOICES ((STRATA__PHASES + 4 * STRATA__TUNED_DEVICES) * STRATA_TYPE_COUNT + 4)

/* What strata_tune and strata_tuning_load return: `shown` comes first, with all it points to. */
struct strata__tune_result {
    strata_tuning shown;
    struct strata__tune_host host;
    char reason[4608];
    strata_tune_choice choices[STRATA__TUNE_CHOICES];
    struct strata__tune_text {
        char what[48], usual[40], best[40];
    } text[STRATA__TUNE_CHOICES];
};

strata_status strata__tune_result_open(struct strata__tune_result **out, unsigned cores);

/* Fills in whether the runtime uses the file, and why not. */
void strata__tune_explain(struct strata__tune_result *result, const strata_runtime *runtime);

/* Each appends a choice and returns it, for its rates: the kernel of a type by levels, OpenBLAS
 * from so many tokens on, the number of threads; cuBLAS from so many tokens on (0: never), no
 * tensor cores up to so many, a tile of so many for few tokens or for many (0: the plug-in's). */
strata_tune_choice *strata__tune_add_kernel(struct strata__tune_result *result,
                                            enum strata__phase phase, enum strata_type type,
                                            enum strata_level usual, enum strata_level best);
strata_tune_choice *strata__tune_add_blas(struct strata__tune_result *result, enum strata_type type,
                                          size_t usual, size_t best);
strata_tune_choice *strata__tune_add_threads(struct strata__tune_result *result, unsigned usual,
                                             unsigned best);
strata_tune_choice *strata__tune_add_device_blas(struct strata__tune_result *result,
                                                 const char *device, enum strata_type type,
                                                 size_t usual, size_t best);
strata_tune_choice *strata__tune_add_device_gemv(struct strata__tune_result *result,
                                                 const char *device, enum strata_type type,
                                                 size_t usual, size_t best);
strata_tune_choice *strata__tune_add_device_tile(struct strata__tune_result *result,
                                                 const char *device, enum strata_type type,
                                                 bool many, size_t best);

/* The level of the kernel that a table of `level` has for a packed type; ref: none above it. */
enum strata_level strata__tuning_usual_level(enum strata_type type, enum strata_level level);

#endif

/* libstrata: runs quantised transformers on CPUs (and, with a plug-in, GPUs).
 *
 *   strata_runtime *runtime;  strata_model *model;  strata_session *session;
 *   strata_runtime_open(&runtime, NULL);
 *   strata_model_load(runtime, "model.gguf", NULL, &model);
 *   strata_session_open(model, NULL, &session);
 *   strata_generate(session, ids, n, NULL, print_piece, NULL, NULL);
 *
 * Errors.  Every call that can fail returns a strata_status; strata_last_error() then has a
 * sentence for people.  On failure, outputs are NULL or zero and inputs remain the caller's.  The
 * library never exits, prints or aborts.
 *
 * Ownership.  open, load and create give the caller a handle; close, free and unref take its
 * address, accept NULL (and a pointer to NULL) and set it to NULL.  Accessors return borrowed const
 * data, valid until the owner is freed.  Calls that fill a caller's buffer report the needed size
 * and write nothing beyond the capacity.  Strings given in are copied.
 *
 * Threads.  A runtime, file, tokenizer or model may be used by any number of threads at once.  A
 * session is used by one thread at a time, except strata_session_cancel.  A runtime must outlive
 * its models, a model is kept by its sessions.
 *
 * Structs that the caller fills begin with `size` and are initialised by their _default call; a
 * size that the running library does not know is E_INVALID, so that a program built against another
 * version's header is refused and not misread.
 */
#ifndef STRATA_H
#define STRATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STRATA_VERSION_MAJOR 0
#define STRATA_VERSION_MINOR 1
#define STRATA_VERSION_PATCH 0
#define STRATA_API __attribute__((visibility("default")))

/* ---- Status ---- */

/* Values are pinned; new ones are added at the end. */
#define STRATA_STATUS_LIST(X)                    \
    X(OK, 0, "success")                          \
    X(E_INVALID, 1, "invalid argument or usage") \
    X(E_NOMEM, 2, "out of memory")               \
    X(E_BUDGET, 3, "over the memory budget")     \
    X(E_IO, 4, "input or output failed")         \
    X(E_FORMAT, 5, "bad input file")             \
    X(E_UNSUPPORTED, 6, "not supported")         \
    X(E_DEVICE, 7, "device failed")              \
    X(E_TIMEOUT, 8, "deadline passed")           \
    X(E_BUSY, 9, "busy")                         \
    X(E_CANCELLED, 10, "cancelled")              \
    X(E_INTERNAL, 11, "internal error")

typedef enum strata_status {
#define X(name, value, text) STRATA_##name = (value),
    STRATA_STATUS_LIST(X)
#undef X
} strata_status;

/* "0.1.0" of the library that is running (the header's version is in the macros above). */
STRATA_API const char *strata_version(void);

/* Static text for a status; "unknown status" for values that are none.  Never NULL. */
STRATA_API const char *strata_status_text(strata_status status);

/* What went wrong in this thread's latest failing call: one sentence, never NULL, kept until its
 * next failing call. */
STRATA_API const char *strata_last_error(void);

/* ---- Progress ---- */

/* Called by long work between its parts, with the name of the next one, and how many of `total`
 * (parts or bytes, as the call says) are done.  Returns true to go on, false to stop the work,
 * which then returns E_CANCELLED.  Called by the thread that made the call. */
typedef bool strata_progress_fn(void *user, const char *what, uint64_t done, uint64_t total);

/* ---- Folder ---- */

/* The path of `name` in strata's folder ($STRATA_HOME, else $XDG_CACHE_HOME/strata, else
 * ~/.cache/strata), whether it exists or not: models/NAME.gguf are models that have a name, packed/
 * has the weights that strata_model_load keeps.  Stores at most `capacity` bytes, the last of them
 * a terminator, and the full length, without it, in *size; out may be NULL when capacity is 0.  Any
 * thread, as long as none changes the environment.  E_IO: none of the three variables is set;
 * E_INVALID: a path above 2^31 - 1 bytes. */
STRATA_API strata_status strata_home_path(const char *name, char *out, size_t capacity,
                                          size_t *size);

/* ---- Runtime ---- */

typedef struct strata_runtime strata_runtime;

typedef enum strata_log_level {
    STRATA_LOG_ERROR,
    STRATA_LOG_WARN,
    STRATA_LOG_INFO,
    STRATA_LOG_DEBUG
} strata_log_level;

/* Called with one line without a newline; called by the thread that made the call of the library
 * that it is about, so several may run at once. */
typedef void strata_log_fn(void *user, strata_log_level level, const char *line);

struct strata_event;
struct strata_budget;

#define STRATA_THREADS_HALF (-2)

typedef struct strata_config {
    size_t size;           /* sizeof(strata_config) */
    int threads;           /* compute threads; 0: as tuned, else one for each core that this
                            * process may use, its cgroup's CPU quota included;
                            * STRATA_THREADS_HALF: for half of those cores, at least one */
    const char *cpu_level; /* highest kernel level, "ref" ... "avx512bf16"; NULL: $STRATA_CPU, else
                              what the host has */
    const char *blas;      /* "auto", "on" or "off"; NULL: $STRATA_BLAS, else "auto".  Where it
                            * serves, OpenBLAS is loaded and set to one thread a call, in the whole
                            * process.  "off" also keeps cuBLAS from computing on GPUs */
    const char *device;    /* "auto": GPUs that can be used (strata_topology.h) are, for what is
                            * faster there; "cpu": none; "cuda": at least one must be; "emu": all
                            * layers go to the devices of the plug-in that $STRATA_CUDA_PLUGIN
                            * names, the emulator of the tests; NULL: $STRATA_DEVICE, else "auto" */
    strata_log_fn *log;    /* NULL: no messages */
    void *log_user;
    bool no_tuning;       /* use no choices that strata_tune kept (default false) */
    bool fixed_placement; /* layers stay where they are put, also when memory gets tight or a budget
                           * is full (default false: a thread watches and moves them,
                           * strata_placement.h) */
    uint64_t memory_limit; /* bytes of host memory for everything: layers that do not fit are on
                            * disk and are read whenever they run; 0 (default): 8,000,000,000;
                            * UINT64_MAX: what the host has */
    uint64_t memory_aim;   /* beyond it, what is idle is given back; 0 (default): 6,000,000,000, or
                            * three quarters of another memory_limit */
    const struct strata_budget *budgets; /* of components, instead of the default ones
                                          * (strata_memory.h) or beside them */
    size_t n_budgets;
    unsigned idle_ms;          /* a model is idle that nobody used for so long; 0: 300,000 */
    unsigned move_interval_ms; /* at least between two moves of a layer the same way; 0: 30,000 */
    void (*on_event)(void *user, const struct strata_event *event); /* strata_event_fn, or NULL */
    void *event_user;
} strata_config;

STRATA_API void strata_config_default(strata_config *config);

/* Opens a runtime: chooses kernels, starts threads - 1 compute threads bound to distinct cores (the
 * calling thread is the other one).  Takes over what strata_tune kept for this host, unless
 * no_tuning is set or the kernel level is lowered; a file of choices that is damaged, or another
 * host's, is logged (info) and ignored.  config NULL means the defaults.  E_INVALID: unknown or
 * unavailable cpu_level, bad blas word, no such device, threads out of their range, a
 * budget of a component that cannot be; E_DEVICE: device is "cuda" or "emu" and there is none, with
 * the reason; E_NOMEM; E_IO: a thread could not be started. */
STRATA_API strata_status strata_runtime_open(strata_runtime **out, const strata_config *config);
STRATA_API void strata_runtime_close(strata_runtime **runtime);

/* Checks what strata_runtime_open would take from the configuration and the environment (cpu_level,
 * blas, threads), without opening anything: E_INVALID as there. */
STRATA_API strata_status strata_config_check(const strata_config *config);

/* The kernel level in use ("avx2", ...), the number of compute threads, and the BLAS library
 * ("OpenBLAS 0.3.21", or NULL where it does not serve). */
STRATA_API const char *strata_isa_name(const strata_runtime *runtime);
STRATA_API int strata_threads(const strata_runtime *runtime);
STRATA_API const char *strata_blas_name(const strata_runtime *runtime);

/* ---- Tuning ---- */

/* Several kernels can compute the same product, and which is fastest differs from host to host.
 * strata_tune measures them and keeps what gains in a file below tune/ in $STRATA_HOME (else
 * $XDG_CACHE_HOME/strata, ~/.cache/strata); without a file the defaults stay.  Logits then differ
 * in their last bits from those without tuning, and those of single tokens from those of the same
 * tokens in a prompt. */

typedef struct strata_tune_choice {
    const char *what;           /* "decode Q4_1", "prefill Q4_1", "blas F16", "threads";
                                 * "cuda0 gemv Q4_1", "cuda0 blas Q4_1" */
    const char *default_choice; /* "avx512vnni"; "never"; "8"; "to 8 tokens" */
    const char *best_choice;    /* of those measured: "avx2"; "from 64 tokens"; "6" */
    double default_rate;        /* multiply-adds a second; 0: not measured by this call */
    double best_rate;
    bool kept; /* the best choice is used instead of the default */
} strata_tune_choice;

typedef struct strata_tuning {
    const char *path;   /* of this host's file; "" when there is no folder for it */
    bool in_use;        /* the runtime was opened with the file's choices */
    const char *reason; /* why it was not; "" when it was */
    const strata_tune_choice *choices;
    size_t n_choices;
} strata_tuning;

typedef struct strata_tune_options {
    size_t size;  /* sizeof(strata_tune_options) */
    bool quick;   /* the types of weights that are most common, and less of each (default false) */
    bool dry_run; /* measure, and keep nothing (default false) */
} strata_tune_options;

STRATA_API void strata_tune_options_default(strata_tune_options *options);

/* Measures, on all threads of the runtime, and (unless dry_run) keeps the choices that gain: the
 * kernel of each packed type for one token and for many, the number of tokens from which OpenBLAS
 * serves float products, and the number of threads; on a GPU of each kind in use, the tokens up to
 * which products of each packed type do without tensor cores and from which they go through cuBLAS;
 * and how fast each type of weight is on the host then, for strata_plan_create.  Takes up to a
 * minute, and 256 MB of memory, 1 GB of a GPU; host and GPUs should have nothing else to do.  A
 * choice is kept when it is 3 % faster (fewer threads: 5 %) by the medians of 5 rounds, and faster
 * in 4 of them.  Runtimes opened from then on use what is kept; this one stays as it is.  *out
 * lists everything that was measured.  on_progress (called before each measurement, counting them)
 * and options may be NULL.  E_INVALID: the kernel level is lowered, or options->size; E_IO: the
 * file cannot be written, or hwloc cannot read the machine; E_CANCELLED: on_progress said so;
 * E_NOMEM, a GPU's too; E_DEVICE: it was lost. After an error the file is as it was. */
STRATA_API strata_status strata_tune(strata_runtime *runtime, const strata_tune_options *options,
                                     strata_progress_fn *on_progress, void *user,
                                     strata_tuning **out);

/* What the runtime uses: the choices that are not the defaults (kept, without rates).  E_NOMEM. */
STRATA_API strata_status strata_tuning_load(strata_runtime *runtime, strata_tuning **out);
STRATA_API void strata_tuning_free(strata_tuning **tuning);

/* Removes this host's file; *removed says whether there was one.  Runtimes that are open stay as
 * they are.  E_IO. */
STRATA_API strata_status strata_tuning_reset(strata_runtime *runtime, bool *removed);

/* ---- Model files ---- */

/* A GGUF file (v2 or v3; all shards of a split one), validated and memory-mapped.  Any
 * architecture. */
typedef struct strata_file strata_file;

/* path is the file, or any shard of a split file.  The log function (may be NULL) gets warnings,
 * for example about holes between tensors.  E_IO: cannot be read; E_FORMAT: the message is
 * `file:offset: field: found, limit`; E_NOMEM. */
STRATA_API strata_status strata_file_open(strata_file **out, const char *path, strata_log_fn *log,
                                          void *log_user);
STRATA_API void strata_file_close(strata_file **file);

typedef struct strata_tensor_info {
    const char *name;
    const char *type;  /* "Q4_1" */
    uint64_t shape[4]; /* in GGUF order: the first is the row length */
    unsigned n_dims;   /* 1..4 */
    uint64_t bytes;
} strata_tensor_info;

STRATA_API size_t strata_file_tensor_count(const strata_file *file);
/* index < strata_file_tensor_count(file). */
STRATA_API strata_tensor_info strata_file_tensor(const strata_file *file, size_t index);

typedef struct strata_file_info {
    const char *architecture; /* "llama"; "" when the file has none */
    const char *name;         /* general.name or "" */
    uint32_t version;         /* GGUF version */
    uint64_t parameters;      /* elements of all tensors */
    uint64_t layers;          /* ARCH.block_count, 0 when absent */
    uint64_t context_length;  /* ARCH.context_length, 0 when absent */
    uint64_t file_bytes;      /* of all shards */
    unsigned shards;
    const char *tokenizer;     /* tokenizer.ggml.model, "" when absent */
    const char *pre_tokenizer; /* tokenizer.ggml.pre, "" when absent */
} strata_file_info;

STRATA_API strata_file_info strata_file_info_get(const strata_file *file);

/* ---- Tokenizer ---- */

typedef struct strata_tokenizer strata_tokenizer;

/* Builds the tokenizer that the file describes; it copies what it needs, so the file may be closed.
 * E_UNSUPPORTED: a tokenizer model or pre-tokenizer that strata does not know (named); E_FORMAT:
 * inconsistent tables; E_NOMEM. */
STRATA_API strata_status strata_tokenizer_create(strata_tokenizer **out, const strata_file *file,
                                                 strata_log_fn *log, void *log_user);
STRATA_API void strata_tokenizer_free(strata_tokenizer **tokenizer);

#define STRATA_TOKENIZE_SPECIAL \
    1u /* special tokens written in the text are recognised (else they are plain text) */
#define STRATA_TOKENIZE_ADD_BOS 2u /* add the BOS / EOS / CLS tokens that the file asks for */

/* Tokenises `size` bytes of text (any bytes; invalid UTF-8 is read as U+FFFD).  Stores at most
 * `capacity` ids and the full count in *count; ids may be NULL when capacity is 0.  E_INVALID: text
 * above 2^31 - 1 bytes, as given or when normalised; E_NOMEM. */
STRATA_API strata_status strata_tokenize(const strata_tokenizer *tokenizer, const char *text,
                                         size_t size, unsigned flags, int32_t *ids, size_t capacity,
                                         size_t *count);

/* The bytes that the ids stand for, special tokens included as text.  Where the tokenizer reads
 * texts as if a space stood before them, a space that the first token begins with is left out;
 * WordPiece gives lower-case words with a space before each.  Stores at most `capacity` bytes (no
 * terminator) and the full length in *size.  E_INVALID: an id outside the vocabulary,
 * named. */
STRATA_API strata_status strata_detokenize(const strata_tokenizer *tokenizer, const int32_t *ids,
                                           size_t count, char *text, size_t capacity, size_t *size);

/* The text with each maximal invalid piece of UTF-8 replaced by U+FFFD (Unicode 15, section 3.9,
 * table 3-8).  Stores at most `capacity` bytes (no terminator) and returns the full length. */
STRATA_API size_t strata_utf8_repair(const char *text, size_t size, char *out, size_t capacity);

STRATA_API size_t strata_vocab_size(const strata_tokenizer *tokenizer);

/* True for ids that end a generation (end of text, end of turn). */
STRATA_API bool strata_token_is_end(const strata_tokenizer *tokenizer, int32_t id);

typedef struct strata_message {
    const char *role;    /* "system", "user", "assistant" */
    const char *content; /* UTF-8, terminated */
} strata_message;

/* Renders a conversation with the model's chat template, to be tokenised with
 * STRATA_TOKENIZE_SPECIAL.  Stores at most `capacity` bytes and the full length in *size.
 * E_UNSUPPORTED: no template, or one that strata does not recognise (its beginning is quoted);
 * E_INVALID: a role that the template does not know. */
STRATA_API strata_status strata_chat_format(const strata_tokenizer *tokenizer,
                                            const strata_message *messages, size_t count,
                                            bool add_generation_prompt, char *text, size_t capacity,
                                            size_t *size);

/* ---- Model ---- */

typedef struct strata_model strata_model;

typedef enum strata_compute {
    STRATA_COMPUTE_Q8,  /* 8-bit activations for block-quantised weights, float for the others */
    STRATA_COMPUTE_F32, /* float activations throughout */
    STRATA_COMPUTE_DYNAMIC, /* as Q8, and matrices of float types are rounded to Q8_0 at loading,
                             * where their rows are a multiple of 32 long */
} strata_compute;

typedef struct strata_model_options {
    size_t size;            /* sizeof(strata_model_options) */
    strata_compute compute; /* default STRATA_COMPUTE_Q8 */
    bool no_pack_cache;     /* pack weights in memory and keep nothing on disk (default false) */
    bool no_weights;        /* check and describe the model only: no weight is read, and
                             * strata_session_open refuses it (default false) */
    const char *component;  /* that its weights and sessions are charged to, as "tier3_reasoner"
                             * (strata_memory.h); NULL: components of their own */
    const char *name;       /* there; NULL: the file's, without ".gguf" */
} strata_model_options;

STRATA_API void strata_model_options_default(strata_model_options *options);

/* Loads a GGUF model: opens and validates the file, builds tokenizer and layers.  Float weights
 * stay memory-mapped.  Weights of block types, as large as they are in the model, and float
 * matrices that STRATA_COMPUTE_DYNAMIC rounds are packed for the kernels once and then mapped from
 * a file below packed/ in $STRATA_HOME (else $XDG_CACHE_HOME/strata, ~/.cache/strata); when that
 * cannot be written, a warning is logged and they are packed in memory.  After a new file others
 * make room for it (strata_pack_cache_cap).  The model begins with one reference.  options NULL
 * means the defaults.  E_IO, E_FORMAT, E_NOMEM as strata_file_open; E_UNSUPPORTED: architecture,
 * tokenizer or tensor type that strata cannot run, named; E_BUDGET: there is no room for what must
 * be in memory: two layers, or all weights where they cannot be read from a file again (no folder
 * for packed ones).  Others that have no room are on disk, with a warning. */
STRATA_API strata_status strata_model_load(strata_runtime *runtime, const char *path,
                                           const strata_model_options *options, strata_model **out);
/* Adds a reference and returns the model. */
STRATA_API strata_model *strata_model_ref(strata_model *model);
/* Drops a reference; the last one frees the model. */
STRATA_API void strata_model_unref(strata_model **model);

typedef struct strata_model_info {
    const char *architecture;
    const char *name;
    uint64_t parameters;
    uint64_t weight_bytes;
    unsigned layers, embedding_length;
    unsigned heads, kv_heads; /* of a layer: the most that one has */
    unsigned head_dim, vocab;
    unsigned context_length; /* that the model was trained for */
    unsigned all_kv_heads;   /* of all layers together */
} strata_model_info;

STRATA_API strata_model_info strata_model_info_get(const strata_model *model);
STRATA_API const strata_tokenizer *strata_model_tokenizer(const strata_model *model);

/* ---- Packed weights on disk ---- */

/* What a file of the folder packed/ is good for. */
typedef enum strata_pack_cache_state {
    STRATA_PACK_CACHE_READY,         /* for the next load of its model */
    STRATA_PACK_CACHE_IN_USE,        /* a process has it mapped */
    STRATA_PACK_CACHE_BEING_WRITTEN, /* a process is making it */
    STRATA_PACK_CACHE_UNREADABLE,    /* no right to read it, or the disk fails */
    STRATA_PACK_CACHE_LEFTOVER,      /* unfinished, and no process is making it */
    STRATA_PACK_CACHE_MODEL_GONE,    /* the model's file is no longer there */
    STRATA_PACK_CACHE_OTHER_VERSION, /* made by a version of strata with another layout */
    STRATA_PACK_CACHE_DAMAGED,       /* header or size are wrong */
} strata_pack_cache_state;

/* "ready", "in-use", "being-written", "unreadable", "leftover", "model-gone", "other-version",
 * "damaged". */
STRATA_API const char *strata_pack_cache_state_name(strata_pack_cache_state state);

typedef struct strata_pack_cache_entry {
    const char *path;
    const char *model; /* absolute path of the model's file; NULL when the file does not say */
    uint64_t bytes;
    int64_t used_ns; /* when it was last used or written, since 1970-01-01 00:00 UTC */
    strata_pack_cache_state state;
    bool removed; /* by the call that returned this */
} strata_pack_cache_entry;

#define STRATA_PACK_CACHE_UNLIMITED UINT64_MAX

/* The folder and its files, the most recently used first.  Paths may hold any bytes but 0. */
typedef struct strata_pack_cache {
    const char *folder;
    uint64_t bytes; /* of the files that are there now */
    uint64_t limit_bytes;
    const strata_pack_cache_entry *entries;
    size_t n_entries;
    uint64_t removed_bytes;
    size_t n_removed;
} strata_pack_cache;

/* The files that strata_model_load keeps; a folder that does not exist has none.  This call and
 * those below may be used by any thread, and beside other processes; the caller frees what they
 * return.  E_IO: there is no place for the folder, or it cannot be read; E_FORMAT: the limit that
 * is kept in it is no number; E_NOMEM. */
STRATA_API strata_status strata_pack_cache_list(strata_pack_cache **out);
STRATA_API void strata_pack_cache_free(strata_pack_cache **cache);

/* Removes the files that are of no use: those from STRATA_PACK_CACHE_LEFTOVER on.  The files are in
 * *out, which may be NULL, with the state that they had.  Errors as strata_pack_cache_list; E_IO
 * also when one of them cannot be removed (the others are). */
STRATA_API strata_status strata_pack_cache_prune(strata_pack_cache **out);

/* Sets the limit of the folder, which every later strata_model_load observes that packs weights,
 * and removes files until the rest fits it: first those of no use, then those that are ready, the
 * least recently used first.  Files in use stay, whatever they need.  STRATA_PACK_CACHE_UNLIMITED
 * takes the limit away.  Results and errors as strata_pack_cache_prune; E_IO also when the limit
 * cannot be written; then nothing is removed. */
STRATA_API strata_status strata_pack_cache_cap(uint64_t limit_bytes, strata_pack_cache **out);

/* Removes all files that are neither in use nor being written; the limit stays.  Results and errors
 * as strata_pack_cache_prune. */
STRATA_API strata_status strata_pack_cache_clear(strata_pack_cache **out);

/* ---- Session ---- */

/* A sequence being read and written: a KV cache and the logits of the last evaluation. */
typedef struct strata_session strata_session;

/* How keys and values are kept: 2 bytes an element, or 34 bytes for 32 of them. */
typedef enum strata_kv_type { STRATA_KV_F16, STRATA_KV_Q8_0 } strata_kv_type;

typedef struct strata_session_options {
    size_t size;            /* sizeof(strata_session_options) */
    unsigned context;       /* positions; 0: the model's own, at most 4096 */
    strata_kv_type kv_type; /* default STRATA_KV_F16 */
    strata_session *lender; /* or NULL (default) */
} strata_session_options;

STRATA_API void strata_session_options_default(strata_session_options *options);

/* Allocates the KV cache (F16: context * all_kv_heads * head_dim * 4 bytes) and takes a
 * reference to the model.  With a `lender`, a session of the same model whose context is at least
 * as long, that is nearly all: the new one evaluates in the buffers of that session, which must
 * outlive it, and of those two, and of all that have one lender, one is used at a time.  E_INVALID:
 * a model without weights, context above the model's or the lender's, no such kv_type, a lender of
 * another model or with one itself, or Q8_0 with a head_dim that is no multiple of 32; E_BUDGET:
 * there is no room for it, after collecting (strata_memory.h); E_NOMEM; both name the bytes. */
STRATA_API strata_status strata_session_open(strata_model *model,
                                             const strata_session_options *options,
                                             strata_session **out);
STRATA_API void strata_session_close(strata_session **session);

/* Positions in use, and in all. */
STRATA_API size_t strata_session_position(const strata_session *session);
STRATA_API size_t strata_session_context(const strata_session *session);

/* Forgets everything from `position` on (0: all).  E_INVALID: beyond the present position. */
STRATA_API strata_status strata_session_truncate(strata_session *session, size_t position);

typedef enum strata_logits {
    STRATA_LOGITS_LAST,
    STRATA_LOGITS_ALL,
    STRATA_LOGITS_NONE
} strata_logits;

/* Appends `count` tokens and evaluates them, in chunks.  Afterwards strata_session_logits has the
 * logits after the last token, or after each of them (STRATA_LOGITS_ALL: count * vocab * 4 bytes
 * are allocated).  Either all tokens are appended or none.  E_INVALID: count 0, an id outside the
 * vocabulary, or more tokens than the context has room for (each named); E_CANCELLED; E_NOMEM;
 * E_FORMAT: logits that were asked for are not finite, with the layer that gave the first such
 * value. */
STRATA_API strata_status strata_session_eval(strata_session *session, const int32_t *ids,
                                             size_t count, strata_logits logits);

#define STRATA_BATCH_MAX 64

/* Appends ids[i] to sessions[i], for i < count (1 .. STRATA_BATCH_MAX), and evaluates all in one
 * pass over the weights, which costs little more than one of them.  The sessions are different ones
 * of one model, and all are in use by this call.  Afterwards row i of the logits of sessions[0] has
 * those of sessions[i]; the other sessions have none.  With weights of block types each row has the
 * bits that strata_session_eval would give.  Either all tokens are appended or none.  Errors as
 * strata_session_eval, naming the session by its index; E_INVALID also: count, a session twice,
 * sessions of two models, or some with a draw (strata_session_set_draw) and some without;
 * E_CANCELLED: one of them was cancelled. */
STRATA_API strata_status strata_batch_eval(strata_session *const *sessions, const int32_t *ids,
                                           size_t count);

/* Row `index` of the logits of the last strata_session_eval (vocab floats; 0 for
 * STRATA_LOGITS_LAST) or strata_batch_eval, or NULL when there is none.  Borrowed until the next
 * call on the session. */
STRATA_API const float *strata_session_logits(const strata_session *session, size_t index);

/* Makes a running or the next strata_session_eval, strata_score or strata_generate stop with
 * E_CANCELLED within one token.  May be called from any thread and from a signal handler. */
STRATA_API void strata_session_cancel(strata_session *session);

/* ---- Generate ---- */

typedef struct strata_generate_options {
    size_t size;             /* sizeof(strata_generate_options) */
    size_t max_tokens;       /* new tokens at most (default 128) */
    float temperature;       /* 0: greedy (default) */
    unsigned top_k;          /* 0: off (default) */
    float top_p;             /* 1: off (default) */
    float min_p;             /* 0: off (default) */
    float repeat_penalty;    /* 1: off (default); over the last repeat_window tokens */
    unsigned repeat_window;  /* default 64 */
    uint64_t seed;           /* same seed, same text (default 0) */
    bool ignore_eos;         /* go on after end tokens */
    const char *const *stop; /* texts that end the generation (not part of the output) */
    size_t n_stop;
} strata_generate_options;

STRATA_API void strata_generate_options_default(strata_generate_options *options);

typedef enum strata_stop {
    STRATA_STOP_EOS,
    STRATA_STOP_LENGTH, /* max_tokens, or the context is full */
    STRATA_STOP_STOP,   /* a stop text, or the callback asked to */
    STRATA_STOP_CANCELLED,
    STRATA_STOP_DEADLINE,
} strata_stop;

/* "eos", "length", "stop", "cancelled", "deadline". */
STRATA_API const char *strata_stop_name(strata_stop stop);

/* One new token, and the text that has become certain with it: whole UTF-8 characters, possibly
 * none (size 0).  Text that may be the beginning of a stop text is held back.  At the end there is
 * one more call with id -1 if text is left. */
typedef struct strata_piece {
    int32_t id;
    const char *text; /* not terminated; valid during the call */
    size_t size;
} strata_piece;

/* Returns true to go on, false to stop. */
typedef bool strata_piece_fn(void *user, const strata_piece *piece);

typedef struct strata_generate_result {
    size_t prompt_tokens, new_tokens;
    double prefill_ms, decode_ms;
    strata_stop stop;
} strata_generate_result;

/* Evaluates `count` prompt ids after what the session holds, then generates.  on_piece and result
 * may be NULL.  Cancelled generations return STRATA_OK with stop = cancelled.  Afterwards the
 * session holds the prompt and all new tokens but the last, and logits or some candidates; an end
 * token is not among the tokens.  E_INVALID: as strata_session_eval, or an option out of its range,
 * named; E_NOMEM. */
STRATA_API strata_status strata_generate(strata_session *session, const int32_t *ids, size_t count,
                                         const strata_generate_options *options,
                                         strata_piece_fn *on_piece, void *user,
                                         strata_generate_result *result);

#ifdef __cplusplus
}
#endif

#include "strata_candidates.h" /* the greatest logits, and a token drawn from them */
#include "strata_convert.h"    /* folders of published models to GGUF files */
#include "strata_embed.h"      /* sentence vectors */
#include "strata_index.h"      /* finding vectors again */
#include "strata_memory.h"     /* budgets, and what is used of them */
#include "strata_placement.h"  /* where layers live, and why they move */
#include "strata_plan.h"       /* where they would */
#include "strata_quantize.h"   /* smaller weights */
#include "strata_score.h"      /* log-probabilities of many continuations */
#include "strata_topology.h"   /* processors, memory nodes, GPUs */

#endif

"""One measurement of llama.cpp, in the environment that peers/setup makes.

    python3 -I llama_cpp_worker.py MODEL THREADS FLASH PROMPT NEW

(-I, because the script beside it has the name of the module.)  Evaluates PROMPT tokens at once,
then NEW tokens one at a time, each phase once to warm up and once measured, as `strata bench -r 1`
does with the same token ids, through llama_decode: the interface above it copies all logits in
Python.
FLASH is "on" or "off".  Prints one JSON object.
"""

import ctypes
import json
import statistics
import sys
import time

import llama_cpp as llama


@llama.llama_log_callback
def silent(_level, _text, _user):
    """llama.cpp's messages are not wanted."""


def open_context(path, threads, flash, tokens):
    """Model and context for that many tokens."""
    llama.llama_log_set(silent, ctypes.c_void_p(0))
    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    if not model:
        sys.exit(f"llama.cpp does not load {path}")
    params = llama.llama_context_default_params()
    params.n_ctx = tokens
    params.n_batch = tokens
    params.n_ubatch = 512
    params.n_threads = threads
    params.n_threads_batch = threads
    params.flash_attn_type = 1 if flash == "on" else 0
    context = llama.llama_init_from_model(model, params)
    if not context:
        sys.exit("llama.cpp makes no context")
    return model, context


class Evaluator:
    """Evaluates batches in one context."""

    def __init__(self, context, capacity):
        self.context = context
        self.batch = llama.llama_batch_init(capacity, 0, 1)

    def clear(self):
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)

    def timed(self, ids, position):
        """Milliseconds to evaluate the ids from `position` on, with logits of the last one."""
        batch = self.batch
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i] = token
            batch.pos[i] = position + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = i + 1 == len(ids)
        start = time.perf_counter()
        status = llama.llama_decode(self.context, batch)
        llama.llama_synchronize(self.context)
        elapsed = time.perf_counter() - start
        if status:
            sys.exit(f"llama_decode fails with {status}")
        return 1e3 * elapsed


def main():
    path, threads, flash, prompt, new = sys.argv[1:]
    prompt, new = int(prompt), int(new)
    model, context = open_context(path, int(threads), flash, max(prompt, new))
    vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    ids = [i * 7919 % vocab for i in range(max(prompt, new))]
    evaluator = Evaluator(context, max(prompt, new))
    for _ in range(2):
        evaluator.clear()
        prefill_ms = evaluator.timed(ids[:prompt], 0)
    for _ in range(2):
        evaluator.clear()
        token_ms = [evaluator.timed(ids[i : i + 1], i) for i in range(new)]
    json.dump(
        {
            "prefill": 1e3 * prompt / prefill_ms,
            "decode": 1e3 / statistics.median(token_ms),
            "system": llama.llama_print_system_info().decode().strip(),
        },
        sys.stdout,
    )


main()

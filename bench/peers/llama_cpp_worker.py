"""Measurements of llama.cpp, in the environment that peers/setup makes.

    python3 -I llama_cpp_worker.py speed MODEL THREADS FLASH PROMPT NEW DEPTH BATCH
    python3 -I llama_cpp_worker.py start MODEL THREADS CONTEXT NEW

(-I, because the script beside it has the name of the module.)

speed: evaluates PROMPT tokens at once, then NEW tokens one at a time, each after DEPTH tokens and
for BATCH sequences (prompts one after the other, single tokens together); each phase once to warm
up and once measured, as `strata bench -r 1` does with the same token ids, through llama_decode: the
interface above it copies all logits in Python.  FLASH is "on" or "off"; PROMPT or NEW may be 0.

start: from before the model is loaded (Python and its modules are running already) to the logits of
a prompt of 16 tokens, and the peak of memory that load, prompt and NEW more tokens take.

Prints one JSON object.
"""

import ctypes
import json
import resource
import statistics
import sys
import time
from pathlib import Path

import llama_cpp as llama


@llama.llama_log_callback
def silent(_level, _text, _user):
    """llama.cpp's messages are not wanted."""


def open_context(path, threads, flash, tokens, batch):
    """Model and context for that many tokens of each of `batch` sequences."""
    llama.llama_log_set(silent, ctypes.c_void_p(0))
    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    if not model:
        sys.exit(f"llama.cpp does not load {path}")
    params = llama.llama_context_default_params()
    params.n_ctx = tokens * batch
    params.n_seq_max = batch
    params.n_batch = max(tokens, batch)
    params.n_ubatch = 512
    params.n_threads = threads
    params.n_threads_batch = threads
    params.flash_attn_type = 1 if flash == "on" else 0
    context = llama.llama_init_from_model(model, params)
    if not context:
        sys.exit("llama.cpp makes no context")
    return model, context


def token_ids(model, count):
    vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    return [i * 7919 % vocab for i in range(count)]


class Evaluator:
    """Evaluates tokens in one context."""

    def __init__(self, context, capacity):
        self.context = context
        self.batch = llama.llama_batch_init(capacity, 0, 1)

    def truncate(self, depth):
        """Forgets what comes after `depth` tokens of every sequence."""
        llama.llama_memory_seq_rm(llama.llama_get_memory(self.context), -1, depth, -1)

    def timed(self, rows):
        """Milliseconds to evaluate (id, position, sequence, wants logits) rows."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, logits) in enumerate(rows):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = logits
        start = time.perf_counter()
        status = llama.llama_decode(self.context, batch)
        llama.llama_synchronize(self.context)
        elapsed = time.perf_counter() - start
        if status:
            sys.exit(f"llama_decode fails with {status}")
        return 1e3 * elapsed

    def prompt(self, ids, position, sequence):
        last = len(ids) - 1
        return self.timed([(t, position + i, sequence, i == last) for i, t in enumerate(ids)])


def measure_speed(path, threads, flash, *numbers):
    prompt, new, depth, sequences = map(int, numbers)
    total = depth + max(prompt, new)
    model, context = open_context(path, int(threads), flash, total, sequences)
    ids = token_ids(model, total)
    evaluator = Evaluator(context, max(total, sequences))
    if depth:
        for sequence in range(sequences):
            evaluator.prompt(ids[:depth], 0, sequence)
    result = {"system": llama.llama_print_system_info().decode().strip()}
    for _ in range(2 if prompt else 0):
        evaluator.truncate(depth)
        ms = sum(evaluator.prompt(ids[depth : depth + prompt], depth, s) for s in range(sequences))
        result["prefill"] = 1e3 * prompt * sequences / ms
    for _ in range(2 if new else 0):
        evaluator.truncate(depth)
        step_ms = [
            evaluator.timed([(ids[at], at, s, True) for s in range(sequences)])
            for at in range(depth, depth + new)
        ]
        result["decode"] = 1e3 * sequences / statistics.median(step_ms)
    return result


def resident_bytes():
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def measure_start(path, threads, context_tokens, new):
    before = resident_bytes()
    start = time.perf_counter()
    model, context = open_context(path, int(threads), "on", int(context_tokens), 1)
    evaluator = Evaluator(context, 16)
    ids = token_ids(model, 16 + int(new))
    evaluator.prompt(ids[:16], 0, 0)
    first_ms = 1e3 * (time.perf_counter() - start)
    for at in range(16, len(ids)):
        evaluator.prompt(ids[at : at + 1], at, 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"first_token_ms": first_ms, "peak_rss_bytes": peak - before}


def main():
    what, *rest = sys.argv[1:]
    json.dump({"speed": measure_speed, "start": measure_start}[what](*rest), sys.stdout)


main()

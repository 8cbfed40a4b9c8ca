#!/usr/bin/env python3
"""Compares strata with llama.cpp: same GGUF, same threads, same cores, alternating in one run.

    bench/peers/setup                            once: the environment of llama.cpp
    bench/peers/llama_cpp.py -m MODEL.gguf [-p N] [-n N] [-d DEPTH] [-b BATCH] [--json FILE]

Prefill and decode (-p 0 or -n 0 leaves one out), after DEPTH tokens, of BATCH sequences (prompts
one after the other, single tokens together): each repetition runs, one after the other and each in
a process of its own that is bound to the same cores, `strata bench` and llama.cpp without and with
flash attention; a process warms up and then measures only the evaluation.  The ratio is the median
over the repetitions of strata's speed over llama.cpp's in the same repetition, against whichever of
its two ways is faster.
Also: time from process start to the first token of `strata generate`, and its peak memory; beside
them llama.cpp's, without Python's own: from before the model is loaded, and what is taken since.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEER = "llama-cpp-python"
FLASH = ("off", "on")
PROMPT = "The capital of France is a city that lies on the banks of the river"
RATIO_WANTED = 1.2
FIRST_TOKEN_WANTED_MS = 250
MEMORY_ALLOWANCE = 80_000_000  # bytes besides the file and the KV cache
MEMORY_CONTEXT = 1024


# ---- Arithmetic


def compare(strata, peer):
    """The result of a phase from the speeds of each repetition: strata's, llama.cpp's by way."""
    way = max(peer, key=lambda name: statistics.median(peer[name]))
    ratios = [ours / theirs for ours, theirs in zip(strata, peer[way], strict=True)]
    return {
        "strata_tokens_per_s": statistics.median(strata),
        "peer_tokens_per_s": statistics.median(peer[way]),
        "flash_attention": way,
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "samples": {"strata": strata, "peer": peer},
    }


def memory_result(peak, peer_peak, file_bytes, kv_bytes):
    limit = file_bytes + kv_bytes + MEMORY_ALLOWANCE
    return {
        "peak_rss_bytes": peak,
        "peer_peak_rss_bytes": peer_peak,
        "file_bytes": file_bytes,
        "kv_bytes": kv_bytes,
        "limit_bytes": limit,
        "context": MEMORY_CONTEXT,
        "within": peak <= limit,
    }


def first_token_result(threads, samples, peer_samples):
    median = statistics.median(samples)
    return {
        "threads": threads,
        "ms_p50": median,
        "peer_ms_p50": statistics.median(peer_samples),
        "limit_ms": FIRST_TOKEN_WANTED_MS,
        "within": median <= FIRST_TOKEN_WANTED_MS,
        "samples": samples,
        "peer_samples": peer_samples,
    }


# ---- Running


def bound(threads):
    """For preexec_fn: binds a process to the first cores that this one may use."""
    cores = sorted(os.sched_getaffinity(0))[:threads]
    return lambda: os.sched_setaffinity(0, cores)


def output_of(command, threads):
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        preexec_fn=bound(threads),
        check=False,
    )
    if done.returncode:
        sys.exit(f"llama_cpp.py: {' '.join(map(str, command))}: exit status {done.returncode}")
    return json.loads(done.stdout)


def run_strata(args, threads):
    command = [args.strata, "bench", "-m", args.model, "-p", args.prompt, "-n", args.new]
    command += ["-d", args.depth, "-b", args.batch, "-t", threads, "-r", 1, "--json"]
    found = output_of(command, threads)
    return found["host"], {row["phase"]: row["tokens_per_s"] for row in found["results"]}


def run_peer(args, threads, *words):
    worker = HERE / "llama_cpp_worker.py"
    return output_of([args.python, "-I", worker, *words], threads)


def phases(args):
    return [name for name, n in (("prefill", args.prompt), ("decode", args.new)) if n]


def compare_speed(args, threads, said):
    """Results of the phases; what the engines say about themselves goes into `said`."""
    strata = {phase: [] for phase in phases(args)}
    peer = {phase: {flash: [] for flash in FLASH} for phase in phases(args)}
    for repetition in range(args.repetitions):
        progress(f"{threads} threads, repetition {repetition + 1} of {args.repetitions}")
        said["strata"], speeds = run_strata(args, threads)
        for phase in strata:
            strata[phase].append(speeds[phase])
        for flash in FLASH:
            sizes = (args.prompt, args.new, args.depth, args.batch)
            speeds = run_peer(args, threads, "speed", args.model, threads, flash, *sizes)
            said["peer"] = speeds["system"]
            for phase in peer:
                peer[phase][flash].append(speeds[phase])
    rows = []
    for phase in strata:
        row = {"phase": phase, "tokens": args.prompt if phase == "prefill" else args.new}
        row |= {"threads": threads, "depth": args.depth, "batch": args.batch}
        rows.append(row | compare(strata[phase], peer[phase]))
    return rows


def generate(args, threads, new):
    """Runs `strata generate`: milliseconds to its first output, and its peak bytes of memory."""
    command = [args.strata, "generate", "-q", "-m", args.model, "-p", PROMPT, "-t", str(threads)]
    command += ["-n", str(new), "--ctx", str(MEMORY_CONTEXT), "--ignore-eos"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=bound(threads))
    first = os.read(process.stdout.fileno(), 1)
    elapsed = time.perf_counter() - start
    while first and os.read(process.stdout.fileno(), 65536):
        pass
    _, status, usage = os.wait4(process.pid, 0)
    if status or not first:
        sys.exit(f"llama_cpp.py: {' '.join(command)}: no text, wait status {status}")
    return 1e3 * elapsed, usage.ru_maxrss * 1024


def measure_generate(args):
    """First-token results by thread count, and the memory result."""
    command = [args.strata, "inspect", args.model, "--ctx", str(MEMORY_CONTEXT), "--json"]
    inspected = output_of(command, 1)
    kv_bytes = inspected["memory"]["kv_bytes"]
    first, peak, peer_peak = [], 0, 0
    for threads in args.threads:
        progress(f"{threads} threads, first token")
        generate(args, threads, 1)  # warms the page cache, and packs the weights the first time
        runs, peers = [], []
        for _ in range(args.repetitions):
            runs.append(generate(args, threads, 32))
            peers.append(run_peer(args, threads, "start", args.model, threads, MEMORY_CONTEXT, 32))
        peer_ms = [found["first_token_ms"] for found in peers]
        first.append(first_token_result(threads, [run[0] for run in runs], peer_ms))
        peak = max(peak, *(run[1] for run in runs))
        peer_peak = max(peer_peak, *(found["peak_rss_bytes"] for found in peers))
    return first, memory_result(peak, peer_peak, inspected["file_bytes"], kv_bytes)


# ---- Reporting


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def describe_host():
    """What makes one machine's results differ from another's."""
    fields = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return {
        "cpu": fields.get("model name", platform.processor()),
        "cores": len(os.sched_getaffinity(0)),
        "flags": sorted(fields.get("flags", fields.get("Features", "")).split()),
        "kernel": platform.release(),
        "load_average": os.getloadavg(),
    }


def print_table(report):
    head = f"{'phase':<8} {'tokens':>6} {'threads':>7} {'strata':>9} {'llama.cpp':>9}"
    print(f"{head} {'flash':>5} {'ratio':>6}  range, wanted")
    for row in report["results"]:
        print(
            f"{row['phase']:<8} {row['tokens']:>6} {row['threads']:>7}"
            f" {row['strata_tokens_per_s']:>9.1f} {row['peer_tokens_per_s']:>9.1f}"
            f" {row['flash_attention']:>5} {row['ratio']:>6.2f}"
            f"  {row['ratio_min']:.2f} to {row['ratio_max']:.2f}, >= {RATIO_WANTED}"
        )
    for row in report["first_token"]:
        print(
            f"first token of generate, {row['threads']} threads: {row['ms_p50']:.0f} ms (llama.cpp"
            f" {row['peer_ms_p50']:.0f}), wanted <= {row['limit_ms']} ms"
        )
    memory = report["memory"]
    print(
        f"peak memory of generate: {memory['peak_rss_bytes'] / 1e6:.1f} MB (llama.cpp"
        f" {memory['peer_peak_rss_bytes'] / 1e6:.1f}), wanted <="
        f" {memory['limit_bytes'] / 1e6:.1f} MB (file {memory['file_bytes'] / 1e6:.1f},"
        f" KV cache {memory['kv_bytes'] / 1e6:.1f}, {MEMORY_ALLOWANCE / 1e6:.0f} more)"
    )


def default_python():
    """The interpreter that peers/setup makes."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    home = os.environ.get("STRATA_HOME") or Path(cache) / "strata"
    return Path(home) / "peers" / "venv" / "bin" / "python3"


def path(text):
    """Absolute, or the system would look programs up; links stay, environments are made of them."""
    return Path(text).absolute()


def whole(text, least=0):
    number = int(text)
    if number < least:
        raise argparse.ArgumentTypeError(f"{text} is not at least {least}")
    return number


def whole_positive(text):
    return whole(text, 1)


def thread_list(text):
    counts = [whole_positive(word) for word in text.split(",")]
    if max(counts) > len(os.sched_getaffinity(0)):
        raise argparse.ArgumentTypeError(f"{text}: more threads than cores to bind them to")
    return counts


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", type=path, required=True, help="GGUF file")
    parser.add_argument("-p", "--prompt", type=whole, default=512, help="prefill tokens")
    parser.add_argument("-n", "--new", type=whole, default=128, help="decode tokens")
    parser.add_argument("-d", "--depth", type=whole, default=0, help="tokens before them")
    parser.add_argument("-b", "--batch", type=whole_positive, default=1, help="sequences")
    parser.add_argument("-t", "--threads", type=thread_list, default=None, help="such as 1,2")
    parser.add_argument("-r", "--repetitions", type=whole_positive, default=5)
    parser.add_argument("--strata", type=path, default=HERE.parents[1] / "build" / "strata")
    parser.add_argument("--python", type=path, default=default_python(), help=f"has {PEER}")
    parser.add_argument("--json", type=path, metavar="FILE", help="write the results here too")
    args = parser.parse_args()
    for needed, remedy in (
        (args.model, "give a GGUF file"),
        (args.strata, "build strata, or give --strata"),
        (args.python, "run bench/peers/setup, or give --python"),
    ):
        if not needed.exists():
            parser.error(f"{needed} is not there: {remedy}")
    if not args.prompt and not args.new:
        parser.error("-p 0 and -n 0 leave nothing to measure")
    args.threads = args.threads or [n for n in (1, 2) if n <= len(os.sched_getaffinity(0))]
    return args


def main():
    args = read_arguments()
    ask = f"from importlib.metadata import version; print('\"' + version('{PEER}') + '\"')"
    report = {
        "suite": "llama_cpp",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "host": describe_host(),
        "model": {"file": args.model.name, "bytes": args.model.stat().st_size},
        "peer": {"name": PEER, "version": output_of([args.python, "-I", "-c", ask], 1)},
        "repetitions": args.repetitions,
    }
    said = {}
    results = [row for threads in args.threads for row in compare_speed(args, threads, said)]
    report |= {"strata": said["strata"], "results": results}
    report["peer"]["system"] = said["peer"]
    report["first_token"], report["memory"] = measure_generate(args)
    progress("")
    print_table(report)
    if args.json:
        written = args.json.with_name(args.json.name + ".new")
        written.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        written.replace(args.json)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""The matrix products of whole models by torch in float16 (cuBLAS): JSON lines on stdout.

    make_model --list | torch_peer.py SECONDS SHAPE...

Every product of a model with its own weights, one after the other in a CUDA graph, and nothing
between them: no norms, no attention.  So it is faster than a whole model in float16 could be.
Prefill of 512 and 4096 tokens (the head for one), one token of 1, 8 and 64 sequences.
"""

import json
import statistics
import sys
import time

RUNS = 7
PHASES = (("prefill", 1, 512), ("prefill", 1, 4096), ("decode", 1, 1), ("decode", 8, 1))
PHASES += (("decode", 64, 1),)


def sizes_of(tensors):
    """Rows and columns of each matrix of the layers, and of the output head."""
    matrices = {name: dims[::-1] for name, dims in tensors.items() if len(dims) == 2}
    layers = [size for name, size in matrices.items() if name.startswith("blk.")]
    return layers, matrices["token_embd.weight"]


def seconds_of(torch, call):
    """The median of replays of the call's CUDA graph."""
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    times = []
    for run in range(RUNS + 1):  # the first one warms up
        begin = time.perf_counter()
        graph.replay()
        torch.cuda.synchronize()
        if run:
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def measure(torch, name, tensors, end):
    """Prints the lines of a shape, as long as there is time."""
    sizes, head = sizes_of(tensors)
    make = {"dtype": torch.float16, "device": "cuda"}
    weights = [torch.randn(size, **make).mul_(0.02) for size in sizes]
    head_weights = torch.randn(head, **make).mul_(0.02)
    for phase, sequences, tokens in PHASES:
        if time.monotonic() > end:
            print(f"torch: {name}: no time for {phase} of {sequences} x {tokens}", file=sys.stderr)
            return False
        rows = sequences * tokens
        inputs = {k: torch.randn((rows, k), **make) for k in {size[1] for size in [*sizes, head]}}
        last = inputs[head[1]][:sequences]

        def call():
            for matrix in weights:
                torch.nn.functional.linear(inputs[matrix.shape[1]], matrix)
            torch.nn.functional.linear(last, head_weights)

        s = seconds_of(torch, call)
        count = sum(a * b for a, b in sizes)
        line = {"model": name, "type": "F16", "by": "torch", "phase": phase}
        line |= {"sequences": sequences, "tokens": tokens, "ms": 1e3 * s}
        line |= {"tokens_per_s": rows / s, "tops": 2 * count * rows / s / 1e12}
        line |= {"gb_per_s": 2 * (count + head[0] * head[1]) / s / 1e9}
        print(json.dumps(line), flush=True)
    return True


def main():
    end = time.monotonic() + float(sys.argv[1])
    shapes = json.load(sys.stdin)["shapes"]
    try:
        import torch
    except ImportError:
        print("torch: not there", file=sys.stderr)
        return 0
    print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda}), flush=True)
    if not torch.cuda.is_available():
        print("torch: sees no GPU", file=sys.stderr)
        return 1
    whole = True
    with torch.inference_mode():
        for name in sys.argv[2:]:
            whole = measure(torch, name, shapes[name], end) and whole
            torch.cuda.empty_cache()
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())

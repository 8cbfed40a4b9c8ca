#!/usr/bin/env python3
"""The matrix products of whole models by torch in float16 (cuBLAS): JSON lines on stdout.

    torch_peer.py SECONDS SHAPE...       shapes of bench/make_model

Every product of a model with its own weights, one after the other in a CUDA graph, and nothing
between them: no norms, no attention.  So it is faster than a whole model in float16 could be.
Prefill of 512 and 4096 tokens (the head for one), one token of 1, 8 and 64 sequences.
"""

import json
import statistics
import sys
import time
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

sys.dont_write_bytecode = True
loader = SourceFileLoader("make_model", str(Path(__file__).resolve().parent.parent / "make_model"))
make_model = module_from_spec(spec_from_loader("make_model", loader))
loader.exec_module(make_model)

RUNS = 7
PHASES = (("prefill", 1, 512), ("prefill", 1, 4096), ("decode", 1, 1), ("decode", 8, 1))
PHASES += (("decode", 64, 1),)


def sizes_of(shape):
    """Rows and columns of each matrix of the layers, and of the output head."""
    layers = [
        (rows, columns)
        for layer in range(shape.layers)
        for _, columns, rows in make_model.layer_matrices(shape, layer)
    ]
    return layers, (shape.vocab, shape.width)


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


def measure(torch, name, shape, end):
    """Prints the lines of a shape, as long as there is time."""
    sizes, head = sizes_of(shape)
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
            whole = measure(torch, name, make_model.SHAPES[name], end) and whole
            torch.cuda.empty_cache()
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())

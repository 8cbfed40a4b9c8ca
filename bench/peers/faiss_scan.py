#!/usr/bin/env python3
"""Compares strata_index with faiss: exact search of all vectors, alternating in one process.

    bench/peers/setup --vectors                                  once: the environment of the peers
    PYTHON bench/peers/faiss_scan.py [-n N] [-d D] [-k K] [-t 1,2] [-q 1,8] [--json FILE]

PYTHON is the interpreter that setup prints.  8-bit vectors: strata's INT8 against faiss'
IndexScalarQuantizer (QT_8bit, inner product); floats: F32 against IndexFlatIP.  strata is used as a
C program would use it, through libstrata.so.  A time is of one search of Q queries; the ratio is
the median over the repetitions of faiss' time over strata's in the same one.  GB/s is what strata's
vectors have of bytes over its median time for one query; `strata bench roofline` says what the host
can read: the goal is 85 % of that for every type, F32 too, and 1.5 times faiss for 8-bit vectors.
"sketched" is strata_index_search_sketched: its time, and the share of the exact results
that strata_index_sketch measured ("-": below 0.999, so not used).
"""

import argparse
import ctypes
import json
import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # faiss' threads do not spin in strata's turns
import faiss
import numpy as np

import strata_api

HERE = Path(__file__).resolve().parent
CHUNK = 50_000  # vectors that are made and added at a time
INT8, F32, DOT = 2, 0, 0


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


class Strata:
    """An index of libstrata.so with a runtime of its own."""

    def __init__(self, library, threads, dimension, kind):
        no_limit = strata_api.Budget(b"base_indices", strata_api.NO_LIMIT, strata_api.NO_LIMIT)
        self.strata = strata_api.Strata(library, threads, budgets=[no_limit])
        self.strata.api.strata_index_info_get.restype = strata_api.IndexInfo
        options, self.index = strata_api.IndexOptions(), ctypes.c_void_p()
        self.strata.api.strata_index_options_default(ctypes.byref(options))
        options.dimension, options.type, options.metric = dimension, kind, DOT
        self.call(
            *("index_create", self.strata.runtime, ctypes.byref(options)),
            ctypes.byref(self.index),
        )
        self.count = 0

    def call(self, name, *arguments):
        self.strata.call("strata_" + name, *arguments)

    def add(self, vectors):
        ids = np.arange(self.count, self.count + len(vectors), dtype=np.uint64)
        count = ctypes.c_size_t(len(ids))
        self.call("index_add", self.index, pointer(ids), pointer(vectors), count)
        self.count += len(vectors)

    def sketch(self):
        """Makes sketches; whether they are used, and their recall."""
        self.call("index_sketch", self.index)
        info = self.strata.api.strata_index_info_get(self.index)
        return info.sketched, info.sketch_recall

    def search_sketched(self, queries, k):
        return self.search(queries, k, "index_search_sketched")

    def search(self, queries, k, function="index_search"):
        ids = np.empty((len(queries), k), dtype=np.uint64)
        scores = np.empty((len(queries), k), dtype=np.float32)
        found = ctypes.c_size_t()
        sizes = ctypes.c_size_t(len(queries)), ctypes.c_size_t(k)
        out = pointer(ids), pointer(scores), ctypes.byref(found)
        self.call(function, self.index, pointer(queries), *sizes, *out)
        return scores, ids

    def close(self):
        self.strata.api.strata_index_close(ctypes.byref(self.index))
        self.strata.api.strata_runtime_close(ctypes.byref(self.strata.runtime))


def chunks(args):
    """Unit vectors around 1,000 centres, in pieces; the same in every call."""
    random = np.random.default_rng(1)
    centres = random.standard_normal((1000, args.dimension), dtype=np.float32)
    for begin in range(0, args.vectors, CHUNK):
        size = min(CHUNK, args.vectors - begin)
        x = centres[random.integers(1000, size=size)]
        x = x + random.standard_normal((size, args.dimension), dtype=np.float32)
        yield x / np.linalg.norm(x, axis=1, keepdims=True)


def fill(args, kind, threads):
    ours = Strata(args.library, threads, args.dimension, kind)
    if kind == INT8:
        quantizer = faiss.ScalarQuantizer.QT_8bit
        peer = faiss.IndexScalarQuantizer(args.dimension, quantizer, faiss.METRIC_INNER_PRODUCT)
    else:
        peer = faiss.IndexFlatIP(args.dimension)
    for x in chunks(args):
        if not peer.is_trained:
            peer.train(x)
        peer.add(x)
        ours.add(x)
    return ours, peer


def seconds(search, queries, k):
    begin = time.perf_counter()
    _, ids = search(queries, k)
    return time.perf_counter() - begin, ids


def compare(args, kind, threads):
    """One row for each number of queries."""
    index, peer = fill(args, kind, threads)
    faiss.omp_set_num_threads(threads)
    all_queries = next(chunks(args))[: max(args.queries)].copy()
    used, recall = index.sketch()
    vector_bytes = args.dimension + 8 if kind == INT8 else 4 * args.dimension
    rows = []
    for count in args.queries:
        queries = np.ascontiguousarray(all_queries[:count])
        index.search(queries, args.best), peer.search(queries, args.best)
        ours, theirs, sketched, same = [], [], [], 0
        for _ in range(args.repetitions):
            time_ours, ids = seconds(index.search, queries, args.best)
            time_theirs, peer_ids = seconds(peer.search, queries, args.best)
            ours.append(time_ours)
            theirs.append(time_theirs)
            sketched.append(seconds(index.search_sketched, queries, args.best)[0])
            same = sum(len(set(a) & set(b)) for a, b in zip(ids.tolist(), peer_ids.tolist()))
        ratios = [t / o for o, t in zip(ours, theirs)]
        rows.append({
            "type": "int8" if kind == INT8 else "f32",
            "threads": threads,
            "queries": count,
            "strata_ms": 1e3 * statistics.median(ours),
            "faiss_ms": 1e3 * statistics.median(theirs),
            "ratio": statistics.median(ratios),
            "ratio_range": [min(ratios), max(ratios)],
            "gb_per_s": args.vectors * vector_bytes / statistics.median(ours) / 1e9,
            "in_common": same / (count * args.best),
            "sketched_ms": 1e3 * statistics.median(sketched) if used else None,
            "sketch_recall": recall,
        })
    index.close()
    return rows


def numbers(text):
    return [int(word) for word in text.split(",")]


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", "--vectors", type=int, default=1_000_000)
    parser.add_argument("-d", "--dimension", type=int, default=384)
    parser.add_argument("-k", "--best", type=int, default=10)
    parser.add_argument("-t", "--threads", type=numbers, default=[1, 2])
    parser.add_argument("-q", "--queries", type=numbers, default=[1, 8])
    parser.add_argument("-r", "--repetitions", type=int, default=11)
    parser.add_argument("--types", default="int8,f32", help="int8, f32 or both")
    library = HERE.parents[1] / "build" / "runtime" / "libstrata.so"
    parser.add_argument("--library", type=Path, default=library)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here too")
    args = parser.parse_args()
    if not args.library.exists():
        parser.error(f"{args.library} is not there: build strata, or give --library")
    return args


def main():
    args = read_arguments()
    kinds = {"int8": INT8, "f32": F32}
    rows = []
    print(f"{args.vectors} x {args.dimension}, best {args.best}; faiss {faiss.__version__}")
    head = "type  threads queries  strata ms  faiss ms  ratio (range)          GB/s  in common"
    print(head + "  sketched ms  recall")
    for name in args.types.split(","):
        for threads in args.threads:
            for row in compare(args, kinds[name], threads):
                rows.append(row)
                sketched = f"{row['sketched_ms']:.2f}" if row["sketched_ms"] else "-"
                print(
                    f"{row['type']:<5} {row['threads']:>7} {row['queries']:>7}"
                    f" {row['strata_ms']:>10.2f} {row['faiss_ms']:>9.2f}  {row['ratio']:.2f}"
                    f" ({row['ratio_range'][0]:.2f} to {row['ratio_range'][1]:.2f})"
                    f" {row['gb_per_s']:>10.1f} {row['in_common']:>9.3f}"
                    f" {sketched:>12} {row['sketch_recall']:>7.4f}",
                    flush=True,
                )
    if args.json:
        report = {"suite": "faiss", "faiss": faiss.__version__, "load": os.getloadavg()}
        args.json.write_text(json.dumps(report | {"results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

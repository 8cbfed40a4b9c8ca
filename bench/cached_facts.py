#!/usr/bin/env python3
"""How long a store's answers take without caches, and from each level of them.

    bench/cached_facts.py STORE MODEL QUERIES.jsonl [-r ROUNDS] [-t THREADS] [--json FILE]

QUERIES.jsonl has lines {"entity", "predicate"}.  All queries are asked without caches, then of
caches of memory alone, LMDB alone, and disk alone, that have what is worth to be kept; each answer
must be the one without caches.  Latencies are those that the library measures (latency_ms).
What is answered exactly is also asked for with other offsets, which nothing is kept of ("exact,
missing"): that is what looking in vain costs.  The store's folder `cache` is removed, before and
after.
"""

import argparse
import ctypes
import json
import shutil
import statistics
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))
import strata_api  # noqa: E402

LIBRARY = HERE.parent / "build" / "runtime" / "libstrata.so"
BYTES = 1 << 28
LEVELS = {
    "none": (0, 0, 0),
    "memory": (BYTES, 0, 0),
    "lmdb": (0, BYTES, 0),
    "disk": (0, 0, BYTES),
}


class Options(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("must_exist", ctypes.c_bool),
        ("cache_bytes", ctypes.c_size_t),
        ("lm_cache_bytes", ctypes.c_size_t),
        ("levels", ctypes.c_uint64 * 3),
    ]


class Store:
    def __init__(self, strata, model, path, levels):
        self.api, self.strata = strata.api, strata
        options, self.store = Options(), ctypes.c_void_p()
        self.api.strata_facts_options_default(ctypes.byref(options))
        options.must_exist = True
        options.levels[:] = levels
        strata.call(
            *("strata_facts_open", strata.runtime, path.encode()),
            *(ctypes.byref(options), ctypes.byref(self.store)),
        )
        strata.call("strata_facts_use_model", self.store, model)
        self.text = ctypes.create_string_buffer(1 << 22)
        self.settle()

    def settle(self):
        """Waits until files are open, and what waits is written."""
        info = ctypes.create_string_buffer(4096)
        self.api.strata_facts_cache_info_get(self.store, info)

    def find(self, entity, predicate, offset=0):
        query, answer, size = strata_api.FactsQuery(), strata_api.FactsAnswer(), ctypes.c_size_t()
        self.api.strata_facts_query_default(ctypes.byref(query))
        query.subject, query.predicate, query.offset = entity, predicate, offset
        self.strata.call(
            *("strata_facts_find_text", self.store, ctypes.byref(query), self.text),
            *(ctypes.c_size_t(len(self.text)), ctypes.byref(size), ctypes.byref(answer)),
        )
        return answer, self.text.raw[: size.value]

    def close(self):
        self.api.strata_facts_close(ctypes.byref(self.store))


def spread(ms):
    cuts = statistics.quantiles(ms, n=20) if len(ms) > 1 else ms * 20
    return {"n": len(ms), "p50_us": statistics.median(ms) * 1e3, "p95_us": cuts[18] * 1e3}


def ask_all(store, name, queries, wanted, ms):
    """Notes latencies by tier; `wanted`: the answers."""
    for query, (first, text) in zip(queries, wanted):
        answer, found = store.find(*query)
        if (answer.tier, found) != (first.tier, text):
            raise SystemExit(f"{query}: another answer from {name}")
        tier = f"tier {answer.tier}" if answer.tier >= 0 else "nothing"
        ms.setdefault((tier, name), []).append(answer.latency_ms)


def ask_in_vain(store, name, queries, wanted, ms, rounds):
    """Facts behind the last of those that are found exactly: none, and nothing that is kept."""
    for i in range(rounds):
        for query, (first, _) in zip(queries, wanted):
            if first.tier == 0:
                answer, _ = store.find(*query, offset=(1 << 40) + i)
                ms.setdefault(("exact, missing", name), []).append(answer.latency_ms)


def run(args):
    strata = strata_api.Strata(args.library, args.threads)
    model = strata.load(args.model, "dynamic")
    lines = [json.loads(line) for line in open(args.queries, encoding="utf-8")]
    queries = [
        (line["entity"].encode(), line["predicate"].encode())
        for line in lines
        if line.get("entity") and line.get("predicate")
    ]
    cache = Path(args.store) / "cache"
    ms, results, wanted = {}, {}, None
    for name, levels in LEVELS.items():
        shutil.rmtree(cache, ignore_errors=True)
        store = Store(strata, model, args.store, levels)
        first = [store.find(*query) for query in queries]
        wanted = wanted or first
        store.settle()
        for _ in range(args.rounds):
            ask_all(store, name, queries, wanted, ms)
        ask_in_vain(store, name, queries, wanted, ms, args.rounds)
        store.close()
    shutil.rmtree(cache, ignore_errors=True)
    strata.api.strata_model_unref(ctypes.byref(model))
    strata.api.strata_runtime_close(ctypes.byref(strata.runtime))
    for (tier, name), times in sorted(ms.items(), key=lambda row: row[0][0]):
        results.setdefault(tier, {})[name] = spread(times)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("store")
    parser.add_argument("model")
    parser.add_argument("queries")
    parser.add_argument("-r", "--rounds", type=int, default=3)
    parser.add_argument("-t", "--threads", type=int, default=1)
    parser.add_argument("--library", default=LIBRARY)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    results = run(args)
    print(f"{'answered by':16} {'from':8} {'n':>6} {'p50 us':>10} {'p95 us':>10}")
    for tier, levels in results.items():
        for name, row in levels.items():
            print(
                f"{tier:16} {name:8} {row['n']:6} {row['p50_us']:10.1f} {row['p95_us']:10.1f}"
            )
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

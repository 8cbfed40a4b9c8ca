#!/usr/bin/env python3
"""Replays many questions, some of which are popular for a while, on a store with small caches.

    bench/replay_facts.py STORE MODEL GRAPH.nt [-n QUERIES] [-d DISTINCT] [--json FILE]

The distinct questions are labels of the graph with a letter left out, and a predicate that their
bearer has: tier 1 answers them.  Popularity is that of Zipf's law with exponent 1, and drifts:
after every 500 questions, ten times one that is popular and any other change places.  The store is
closed and opened again three times.  Memory has room for about 5 % of the answers, LMDB for 20 %,
disk for all.  In the second half are counted the answers that took less than HIT_MS, and those that
an oracle would have that keeps all; hits of levels count vectors of mentions, too.  The store's
folder `cache` is removed, before and after.
"""

import argparse
import bisect
import ctypes
import itertools
import json
import random
import shutil
import time
from pathlib import Path

import cached_facts
import strata_api

RESTARTS = 3
TOGETHER, SWAPS = 500, 10  # questions; changes of what is popular after them
LABEL = "<http://www.w3.org/2000/01/rdf-schema#label>"
HIT_MS = 0.2
VALUE, PAGES = 1100, 2.5  # bytes in memory of an answer and its mention's vector; more in LMDB


class Level(ctypes.Structure):
    _fields_ = [
        ("used", ctypes.c_bool),
        ("bytes", ctypes.c_uint64),
        ("limit_bytes", ctypes.c_uint64),
        ("values", ctypes.c_uint64),
        ("hits", ctypes.c_uint64),
        ("all_hits", ctypes.c_uint64),
        ("read_ms", ctypes.c_double),
    ]


class Info(ctypes.Structure):
    _fields_ = [
        ("levels", Level * 3),
        ("misses", ctypes.c_uint64),
        ("all_misses", ctypes.c_uint64),
        ("kept", ctypes.c_uint64 * 5),
        ("not_written", ctypes.c_uint64),
        ("discarded", ctypes.c_uint64),
        ("raw_bytes", ctypes.c_uint64),
        ("compressed_bytes", ctypes.c_uint64),
        ("has_dictionary", ctypes.c_bool),
    ]


def questions(graph, n, chosen):
    """(mention, predicate), distinct; a predicate is asked for by its IRI."""
    labels, predicates = {}, {}
    for line in open(graph, encoding="utf-8"):
        subject, predicate, rest = line.split(" ", 2)
        if predicate == LABEL and rest.startswith('"'):
            labels.setdefault(subject, rest[1 : rest.rindex('"')])
        elif subject not in predicates or chosen.random() < 0.2:
            predicates[subject] = predicate[1:-1]
    found = set()
    subjects = sorted(s for s in labels if s in predicates and len(labels[s]) > 5)
    chosen.shuffle(subjects)
    for subject in subjects:
        text = labels[subject]
        at = chosen.randrange(1, len(text) - 1)
        if "\\" not in text:
            found.add((text[:at] + text[at + 1 :], predicates[subject]))
        if len(found) == n:
            return sorted(found)
    raise SystemExit(f"{graph}: only {len(found)} such questions")


def trace(n, distinct, chosen):
    sums = list(itertools.accumulate(1 / (i + 1) for i in range(distinct)))
    ranks = list(range(distinct))
    out = []
    for i in range(n):
        if i % TOGETHER == TOGETHER - 1:
            for _ in range(SWAPS):
                a = bisect.bisect_left(sums, chosen.random() * sums[-1])
                b = chosen.randrange(distinct)
                ranks[a], ranks[b] = ranks[b], ranks[a]
        out.append(ranks[bisect.bisect_left(sums, chosen.random() * sums[-1])])
    return out


def replay(strata, model, args, asked, order):
    """Latencies, whether each was asked before, hits of levels and misses in the second half."""
    room = args.distinct * VALUE
    levels = (int(room * 0.05), int(room * 0.2 * PAGES), 1 << 30)
    ms, repeated, seen, counts = [], [], set(), [0] * 4
    store, info = None, Info()
    parts = RESTARTS + 1
    for part in range(parts):
        store = cached_facts.Store(strata, model, args.store, levels)
        for item in order[len(order) * part // parts : len(order) * (part + 1) // parts]:
            answer, _ = store.find(*(text.encode() for text in asked[item]))
            ms.append(answer.latency_ms)
            repeated.append(item in seen)
            seen.add(item)
        strata.api.strata_facts_cache_info_get(store.store, ctypes.byref(info))
        if part >= parts // 2:
            got = [level.hits for level in info.levels] + [info.misses]
            counts = [a + b for a, b in zip(counts, got)]
        store.close()
    return ms, repeated, counts, info


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("store")
    parser.add_argument("model")
    parser.add_argument("graph")
    parser.add_argument("-n", type=int, default=100000)
    parser.add_argument("-d", "--distinct", type=int, default=20000)
    parser.add_argument("-t", "--threads", type=int, default=1)
    parser.add_argument("--library", default=cached_facts.LIBRARY)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    asked = questions(args.graph, args.distinct, random.Random(1))
    order = trace(args.n, args.distinct, random.Random(2))
    strata = strata_api.Strata(args.library, args.threads)
    model = strata.load(args.model, "dynamic")
    cache = Path(args.store) / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    start = time.monotonic()
    ms, repeated, counts, info = replay(strata, model, args, asked, order)
    half = args.n // 2
    late = ms[half:]
    results = {
        "questions": args.n,
        "distinct": args.distinct,
        "seconds": time.monotonic() - start,
        "answers_hit_rate": sum(t < HIT_MS for t in late) / len(late),
        "oracle": sum(repeated[half:]) / len(late),
        "hits": dict(zip(("memory", "lmdb", "disk", "missing"), counts)),
        "values": [level.values for level in info.levels],
        "compressed": info.compressed_bytes / max(info.raw_bytes, 1),
        "known": cached_facts.spread([t for t, r in zip(ms, repeated) if r]),
        "new": cached_facts.spread([t for t, r in zip(ms, repeated) if not r]),
    }
    shutil.rmtree(cache, ignore_errors=True)
    strata.api.strata_model_unref(ctypes.byref(model))
    strata.api.strata_runtime_close(ctypes.byref(strata.runtime))
    text = json.dumps(results, indent=1)
    print(text)
    if args.json:
        Path(args.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Compares strata's store of facts with pyoxigraph: import, size on disk, exact lookups.

    bench/peers/setup --facts                                    once: the environment of the peer
    PYTHON bench/peers/pyoxigraph_facts.py GRAPH.nt [-n LOOKUPS] [-r ROUNDS] [--json FILE]

PYTHON is the interpreter that setup prints.  GRAPH.nt is not compressed; each round imports it into
a new store of both, alternating (pyoxigraph by bulk_load, strata by the library, without vectors).
Lookups ask for all facts of a subject and a predicate, chosen at random among the graph's, and make
Python strings of every term (strata: as N-Triples write it; pyoxigraph: its value); both are called
from this process, strata through ctypes, alternating by blocks.  "in process" is the latency that
strata itself measures.  As in timeit, Python collects no garbage meanwhile.  Lookups per CPU second
are for a busy host, where others interrupt both.
"""

import argparse
import ctypes
import gc
import json
import os
import random
import re
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import pyoxigraph
import strata_api

HERE = Path(__file__).resolve().parent
LIBRARY = HERE.parents[1] / "build" / "runtime" / "libstrata.so"  # by default
BLOCK = 200  # lookups of one store in a row


class Strata:
    """A store of libstrata.so."""

    def __init__(self, library, folder):
        self.api = ctypes.CDLL(str(library))
        self.api.strata_last_error.restype = ctypes.c_char_p
        self.store = ctypes.c_void_p()
        self.call("strata_facts_open", None, folder.encode(), None, ctypes.byref(self.store))
        self.query = strata_api.FactsQuery()
        self.api.strata_facts_query_default(ctypes.byref(self.query))
        self.query.max_tier = self.query.limit = 0
        self.size, self.answer = ctypes.c_size_t(), strata_api.FactsAnswer()
        self.find_text = self.api.strata_facts_find_text
        self.make_room(1 << 16)
        self.latencies = []

    def make_room(self, size):
        self.room, self.text = size, ctypes.create_string_buffer(size)
        query, length, answer = (ctypes.byref(o) for o in (self.query, self.size, self.answer))
        self.arguments = (self.store, query, self.text, ctypes.c_size_t(size), length, answer)

    def call(self, name, *arguments):
        if getattr(self.api, name)(*arguments) != 0:
            raise RuntimeError(self.api.strata_last_error().decode())

    def load(self, path):
        self.call("strata_facts_import", self.store, path.encode(), None, None)

    def find(self, subject, predicate):
        query = self.query
        query.subject, query.predicate = subject, predicate
        if self.find_text(*self.arguments):
            raise RuntimeError(self.api.strata_last_error().decode())
        if self.size.value >= self.room:
            self.make_room(self.size.value + 1)
            return self.find(subject, predicate)
        lines = iter(self.text.value.decode().split("\n"))
        return list(zip(lines, lines, lines))

    def close(self):
        self.api.strata_facts_close(ctypes.byref(self.store))


def oxigraph_find(store, subject, predicate):
    return [
        (q.subject.value, q.predicate.value, q.object.value)
        for q in store.quads_for_pattern(subject, predicate, None, None)
    ]


ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


def value_of(term):
    """What pyoxigraph calls the value of a term of N-Triples."""
    if term[0] != '"':
        return term[1:-1] if term[0] == "<" else term[2:]
    text = term[1 : term.rindex('"')]
    return re.sub(
        r"\\(?:u(....)|(.))", lambda m: chr(int(m[1], 16)) if m[1] else ESCAPES[m[2]], text
    )


def bytes_of(folder):
    return sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file())


def choose(path, n):
    """Subjects and predicates, IRIs, of n lines of the graph."""
    pairs, chosen = [], random.Random(1)
    for line in open(path, encoding="utf-8"):
        subject, predicate, _ = line.split(" ", 2)
        if subject.startswith("<"):
            pairs.append((subject[1:-1], predicate[1:-1]))
    return [chosen.choice(pairs) for _ in range(n)]


def one_import(kind, library, path, folder):
    """Seconds, and the open store."""
    start = time.monotonic()
    if kind == "strata":
        store = Strata(library, folder)
        store.load(path)
    else:
        store = pyoxigraph.Store(folder)
        store.bulk_load(path=path, format=pyoxigraph.RdfFormat.N_TRIPLES)
        store.flush()
    return time.monotonic() - start, store


def lookups(strata, oxigraph, pairs):
    """Seconds of each lookup, of both, and CPU seconds of all; their answers are compared."""
    times, cpu = {"strata": [], "pyoxigraph": []}, {"strata": 0.0, "pyoxigraph": 0.0}
    for start in range(0, len(pairs), BLOCK):
        block = pairs[start : start + BLOCK]
        # What each interface takes is made before: terms, and bytes.
        nodes = [(pyoxigraph.NamedNode(s), pyoxigraph.NamedNode(p)) for s, p in block]
        words = [(f"<{s}>".encode(), f"<{p}>".encode()) for s, p in block]
        mine, theirs = [], []
        cpu["strata"] -= time.thread_time()
        for subject, predicate in words:
            begin = time.perf_counter()
            mine.append(strata.find(subject, predicate))
            times["strata"].append(time.perf_counter() - begin)
            strata.latencies.append(strata.answer.latency_ms)
        cpu["strata"] += time.thread_time()
        cpu["pyoxigraph"] -= time.thread_time()
        for subject, predicate in nodes:
            begin = time.perf_counter()
            theirs.append(oxigraph_find(oxigraph, subject, predicate))
            times["pyoxigraph"].append(time.perf_counter() - begin)
        cpu["pyoxigraph"] += time.thread_time()
        for a, b in zip(mine, theirs):
            if sorted(tuple(map(value_of, fact)) for fact in a) != sorted(b):
                sys.exit(f"the stores differ: {a} and {b}")
    return times, cpu


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graph")
    parser.add_argument("-n", "--lookups", type=int, default=50000)
    parser.add_argument("-r", "--rounds", type=int, default=3)
    parser.add_argument("--library", default=LIBRARY)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    triples = sum(1 for _ in open(arguments.graph, "rb"))
    seconds, stores, size = {"strata": [], "pyoxigraph": []}, {}, {}
    with tempfile.TemporaryDirectory() as work:
        for number in range(arguments.rounds):
            for kind in seconds:
                folder = os.path.join(work, f"{kind}{number}")
                if kind in stores:
                    if kind == "strata":
                        stores[kind].close()
                    del stores[kind]
                    shutil.rmtree(os.path.join(work, f"{kind}{number - 1}"))
                taken, stores[kind] = one_import(
                    kind, arguments.library, arguments.graph, folder
                )
                seconds[kind].append(taken)
                size[kind] = bytes_of(folder)
        pairs = choose(arguments.graph, arguments.lookups)
        gc.disable()
        times, cpu = lookups(stores["strata"], stores["pyoxigraph"], pairs)
        gc.enable()
        latencies = stores["strata"].latencies
        stores["strata"].close()
    report = {
        "peer": f"pyoxigraph {pyoxigraph.__version__}",
        "triples": triples,
        "peak_rss_bytes_of_both": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "in_process_us": {f"p{q}": quantile(latencies, q / 100) * 1000 for q in (50, 95, 99)},
    }
    for kind, taken in seconds.items():
        report[kind] = {
            "import_triples_per_s": triples / statistics.median(taken),
            "import_s": taken,
            "disk_bytes": size[kind],
            "lookup_us": {f"p{q}": quantile(times[kind], q / 100) * 1e6 for q in (50, 95, 99)},
            "lookups_per_s": len(times[kind]) / sum(times[kind]),
            "lookups_per_cpu_s": len(times[kind]) / cpu[kind],
        }
    mine, theirs = report["strata"], report["pyoxigraph"]
    report["ratio"] = {
        "import": statistics.median(
            b / a for a, b in zip(seconds["strata"], seconds["pyoxigraph"])
        ),
        "lookups": mine["lookups_per_s"] / theirs["lookups_per_s"],
        "lookups_per_cpu": mine["lookups_per_cpu_s"] / theirs["lookups_per_cpu_s"],
        "disk": mine["disk_bytes"] / theirs["disk_bytes"],
    }
    print(json.dumps(report, indent=1))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

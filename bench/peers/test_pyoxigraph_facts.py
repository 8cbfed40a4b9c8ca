#!/usr/bin/env python3
"""The comparison of stores of facts, without its peer: a stand-in that keeps a list."""

import contextlib
import io
import json
import subprocess
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

LIBRARY = sys.argv[1]
MAKE_GRAPH = Path(__file__).resolve().parents[1] / "make_graph"
WRONG = False  # the stand-in forgets a fact


class Node:
    def __init__(self, value):
        self.value = value


class Store:
    def __init__(self, folder):
        Path(folder).mkdir()
        (Path(folder) / "data").write_bytes(b"data")
        self.lines = []

    def bulk_load(self, path, format):
        for line in open(path, encoding="utf-8"):
            subject, predicate, rest = line.rstrip(" .\n").split(" ", 2)
            value = rest.split('"')[1] if rest[0] == '"' else rest[1:-1]
            self.lines.append((subject[1:-1], predicate[1:-1], value))

    def flush(self):
        pass

    def quads_for_pattern(self, subject, predicate, *_):
        found = [t for t in self.lines if t[:2] == (subject.value, predicate.value)]
        for s, p, o in found[1:] if WRONG else found:
            yield types.SimpleNamespace(subject=Node(s), predicate=Node(p), object=Node(o))


peer = types.ModuleType("pyoxigraph")
peer.__version__ = "stand-in"
peer.Store, peer.NamedNode = Store, Node
peer.RdfFormat = types.SimpleNamespace(N_TRIPLES=None)
sys.modules["pyoxigraph"] = peer
import pyoxigraph_facts as script  # noqa: E402


class Test(unittest.TestCase):
    def compare(self):
        with tempfile.TemporaryDirectory() as folder:
            graph, out = Path(folder) / "graph.nt", Path(folder) / "out.json"
            subprocess.run([sys.executable, "-B", MAKE_GRAPH, "30", graph], check=True)
            words = ["script", str(graph), "-n", "300", "-r", "2", "--library", LIBRARY]
            with mock.patch("sys.argv", [*words, "--json", str(out)]):
                with contextlib.redirect_stdout(io.StringIO()):
                    script.main()
            return json.loads(out.read_text(encoding="utf-8"))

    def test_report(self):
        report = self.compare()
        self.assertGreater(report["triples"], 250)
        self.assertEqual(len(report["strata"]["import_s"]), 2)
        for kind in ("strata", "pyoxigraph"):
            self.assertGreater(report[kind]["lookups_per_s"], 0)
            self.assertLessEqual(report[kind]["lookup_us"]["p50"], report[kind]["lookup_us"]["p99"])
        self.assertGreater(report["in_process_us"]["p50"], 0)
        self.assertGreater(report["strata"]["disk_bytes"], 0)

    def test_stores_that_differ(self):
        global WRONG
        WRONG = True
        with self.assertRaisesRegex(SystemExit, "differ"):
            self.compare()
        WRONG = False


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

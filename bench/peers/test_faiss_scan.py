#!/usr/bin/env python3
"""The comparison with faiss, without it: a stand-in that searches with numpy."""

import contextlib
import io
import json
import os
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

LIBRARY = sys.argv[1]


class StandIn:
    is_trained = False

    def __init__(self, *_):
        self.vectors = []

    def train(self, _):
        self.is_trained = True

    def add(self, x):
        self.vectors.append(x)

    def search(self, queries, k):
        scores = queries @ np.concatenate(self.vectors).T
        ids = np.argsort(-scores, axis=1)[:, :k]
        return np.take_along_axis(scores, ids, axis=1), ids


faiss = types.ModuleType("faiss")
faiss.__version__ = "stand-in"
faiss.METRIC_INNER_PRODUCT = 0
faiss.ScalarQuantizer = types.SimpleNamespace(QT_8bit=0)
faiss.IndexFlatIP = faiss.IndexScalarQuantizer = StandIn
faiss.omp_set_num_threads = lambda threads: None
sys.modules["faiss"] = faiss
import faiss_scan as script  # noqa: E402


class Test(unittest.TestCase):
    def compare(self, *words):
        with tempfile.TemporaryDirectory() as folder:
            out, text = Path(folder) / "out.json", io.StringIO()
            words = ["faiss_scan.py", "--library", LIBRARY, "--json", str(out), *words]
            with mock.patch("sys.argv", words), contextlib.redirect_stdout(text):
                script.main()
            return json.loads(out.read_text())["results"], text.getvalue()

    def test_rows(self):
        rows, text = self.compare("-n", "2000", "-d", "64", "-t", "1", "-q", "1,3", "-r", "3")
        self.assertEqual(
            [(row["type"], row["queries"]) for row in rows],
            [("int8", 1), ("int8", 3), ("f32", 1), ("f32", 3)],
        )
        for row in rows:
            self.assertGreaterEqual(row["in_common"], 1 if row["type"] == "f32" else 0.9)
            self.assertGreater(row["strata_ms"], 0)
            self.assertGreater(row["sketched_ms"], 0)
            self.assertGreaterEqual(row["sketch_recall"], 0.999)
            self.assertLessEqual(row["ratio_range"][0], row["ratio"])
        self.assertEqual(len(text.splitlines()), 6)

    def test_too_few_for_sketches(self):
        rows, text = self.compare(
            "-n", "500", "-d", "8", "-t", "1", "-q", "1", "-r", "1", "--types", "f32"
        )
        self.assertIsNone(rows[0]["sketched_ms"])
        self.assertRegex(text.splitlines()[2], r" - +0\.0000$")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

#!/usr/bin/env python3
"""The pictures of a report; skipped (exit status 77) where there is no matplotlib."""

import sys
import tempfile
import unittest
from pathlib import Path

import report
from stand_ins import A, B, ROOFLINE

PYTHON = report.plot_python()
POINTS = [
    {"name": f"{name}", "operation": name.rsplit("_", 1)[0], "level": "ref", "shape": "n:1"}
    | {"ops_per_s": 1e9, "bytes_per_s": 4e9, "of_roofline": 0.5}
    for name in (A.partition("/")[0], B.partition("/")[0])
]
RATIOS = [
    {"name": A, "verdict": "slower", "ratio": 0.9, "low": 0.88, "high": 0.95},
    {"name": B, "verdict": "same", "ratio": 1.0, "low": 0.9, "high": 1.2},
] * 30


class Pictures(unittest.TestCase):
    def draw(self, run):
        results = {"roofline": ROOFLINE["results"], "kernels": POINTS}
        with tempfile.TemporaryDirectory() as folder:
            report.plot(PYTHON, folder, results, run)
            files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        for content in files.values():
            self.assertTrue(content.startswith(b"\x89PNG"))
            self.assertGreater(len(content), 5000)
        return sorted(files)

    def test_roofline_alone(self):
        self.assertEqual(self.draw(None), ["roofline-dark.png", "roofline.png"])

    def test_with_ratios(self):
        drawn = [f"{name}.png" for name in ("ratios-dark", "ratios", "roofline-dark", "roofline")]
        self.assertEqual(self.draw({"results": RATIOS}), drawn)


if __name__ == "__main__":
    if not PYTHON:
        print("there is no matplotlib (Debian: python3-matplotlib)")
        sys.exit(77)
    unittest.main()

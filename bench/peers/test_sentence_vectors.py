#!/usr/bin/env python3
"""The comparison of sentence vectors, without peers: arithmetic, stand-ins, strata's interface."""

import contextlib
import ctypes
import io
import sys
import types
import unittest
from pathlib import Path

import sentence_vectors as script
import strata_api

LIBRARY, MODEL = (Path(word) for word in sys.argv[1:])


class StandIn:
    def __init__(self, batch=None):
        self.calls = []
        if batch:
            self.batch = batch

    def encode(self, texts):
        self.calls.append(len(texts))


class Test(unittest.TestCase):
    def test_quantile(self):
        self.assertEqual(script.quantile([3, 1, 2], 0.5), 2)
        self.assertEqual(script.quantile(range(101), 0.95), 95)

    def test_ratios(self):
        found = script.ratios_of([1, 2, 4], [2, 8, 8])
        self.assertEqual(found, {"ratio": 2, "ratio_min": 2, "ratio_max": 4})

    def test_measure_and_summary(self):
        names = ("strata float", "strata dynamic", "peer")
        engines = {name: StandIn(32 if name == "peer" else None) for name in names}
        args = types.SimpleNamespace(repetitions=2, queries=3)
        with contextlib.redirect_stderr(io.StringIO()):
            script.choose_batches(engines, ["a"] * 2)
            single, bulk = script.measure(engines, ["a", "b"], args)
        self.assertEqual(engines["strata float"].calls, 2 * ([1] * (5 + 3) + [2]))
        self.assertIn(engines["peer"].batch, script.BATCHES)
        rows = script.summarise(single, bulk, dict.fromkeys(names, 1.0), 10, engines)
        self.assertEqual(rows["peer"]["batch"], engines["peer"].batch)
        self.assertIn("ratio_max", rows["peer"]["texts, strata dynamic"])
        self.assertNotIn("texts, strata float", rows["strata dynamic"])
        with contextlib.redirect_stdout(io.StringIO()) as out:
            script.print_rows(rows)
        self.assertEqual(len(out.getvalue().splitlines()), 4)

    def test_strata(self):
        strata = strata_api.Strata(LIBRARY, 1)
        for compute in strata_api.COMPUTE:
            model = strata.load(MODEL, compute)
            out = (ctypes.c_float * 128)()
            texts = strata_api.as_texts(["The cat", "a river"])
            strata.call("strata_embed", model, texts, ctypes.c_size_t(2), None, out, None)
            self.assertAlmostEqual(sum(x * x for x in out[:64]), 1, 5)
            self.assertNotEqual(out[:64], out[64:])
        with self.assertRaisesRegex(strata_api.StrataError, "nowhere"):
            strata.load("/nowhere.gguf", "q8")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

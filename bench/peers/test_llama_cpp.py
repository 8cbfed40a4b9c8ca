#!/usr/bin/env python3
"""The comparison script without llama.cpp: its arithmetic, and a whole run against stand-ins."""

import json
import os
import py_compile
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import llama_cpp as script

HERE = Path(__file__).resolve().parent

STRATA = """#!{python}
import json, sys
from pathlib import Path
log = Path({folder!r}, "log")
log.open("a").write("strata " + sys.argv[1] + "\\n")
if sys.argv[1] == "bench":
    threads = int(sys.argv[sys.argv.index("-t") + 1])
    rows = [{{"phase": "prefill", "tokens_per_s": 300.0 * threads}},
            {{"phase": "decode", "tokens_per_s": 90.0 * threads}}]
    print(json.dumps({{"host": {{"isa": "ref"}}, "results": rows}}))
elif sys.argv[1] == "inspect":
    assert sys.argv[3:] == ["--ctx", "1024", "--json"]
    print(json.dumps({{"file_bytes": 1000, "memory": {{"kv_bytes": 23592960}}}}))
else:
    print("Paris")
"""

PEER = """#!{python}
import json, sys
from pathlib import Path
if "-c" in sys.argv:
    print('"0.0"')
    sys.exit()
_, _, what, model, threads, flash, *sizes = sys.argv[1:]
if what == "start":
    assert (flash, *sizes) == ("1024", "32")
    print('{{"first_token_ms": 70.0, "peak_rss_bytes": 123000000}}')
    sys.exit()
assert sizes == ["512", "128", "0", "1"]
Path({folder!r}, "log").open("a").write("peer " + flash + "\\n")
speeds = {{"prefill": 200.0 if flash == "on" else 100.0, "decode": 30.0 if flash == "on" else 60.0}}
print(json.dumps({{"system": "stand-in"}} | {{k: v * int(threads) for k, v in speeds.items()}}))
"""


class Arithmetic(unittest.TestCase):
    def test_ratio_is_the_median_of_pairs_against_the_faster_way(self):
        peer = {"off": [10.0, 20.0, 30.0], "on": [10.0, 10.0, 90.0]}
        row = script.compare([30.0, 20.0, 60.0], peer)
        self.assertEqual(row["flash_attention"], "off")
        self.assertEqual((row["ratio"], row["ratio_min"], row["ratio_max"]), (2, 1, 3))
        self.assertEqual((row["strata_tokens_per_s"], row["peer_tokens_per_s"]), (30, 20))

    def test_unequal_samples_are_refused(self):
        with self.assertRaises(ValueError):
            script.compare([1.0, 2.0], {"off": [1.0]})

    def test_limits(self):
        self.assertTrue(script.memory_result(80_000_003, 9, 1, 2)["within"])
        self.assertFalse(script.memory_result(80_000_004, 9, 1, 2)["within"])
        self.assertTrue(script.first_token_result(1, [900.0, 250.0, 1.0], [1.0])["within"])
        self.assertFalse(script.first_token_result(1, [900.0, 251.0, 1.0], [1.0])["within"])


class WholeRun(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.folder = Path(self.scratch.name)
        for name, text in (("strata", STRATA), ("peer", PEER)):
            program = self.folder / name
            program.write_text(text.format(python=sys.executable, folder=str(self.folder)))
            program.chmod(0o755)
        (self.folder / "model.gguf").write_bytes(b"GGUF")

    def tearDown(self):
        self.scratch.cleanup()

    def run_script(self, *words):
        return subprocess.run(
            [sys.executable, HERE / "llama_cpp.py", *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def stand_ins(self, *words):
        return self.run_script(
            *("-m", "model.gguf", "--strata", "./strata", "--python", "./peer", "-r", "2"), *words
        )

    def test_alternates_and_reports(self):
        done = self.stand_ins("-t", "1", "--json", "out.json")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        report = json.loads((self.folder / "out.json").read_text())
        self.assertFalse((self.folder / "out.json.new").exists())
        prefill, decode = report["results"]
        self.assertEqual((prefill["flash_attention"], prefill["ratio"]), ("on", 1.5))
        self.assertEqual((decode["flash_attention"], decode["ratio"]), ("off", 1.5))
        self.assertEqual(report["memory"]["kv_bytes"], 30 * 1024 * 192 * 4)
        self.assertGreater(report["memory"]["peak_rss_bytes"], 1_000_000)
        self.assertEqual(len(report["first_token"][0]["samples"]), 2)
        self.assertEqual(report["first_token"][0]["peer_ms_p50"], 70)
        self.assertEqual(report["memory"]["peer_peak_rss_bytes"], 123000000)
        self.assertEqual(report["peer"]["version"], "0.0")
        self.assertIn("1.50", done.stdout)
        turns = (self.folder / "log").read_text().splitlines()
        self.assertEqual(turns[:6], ["strata bench", "peer off", "peer on"] * 2)
        self.assertNotIn(str(self.folder), (self.folder / "out.json").read_text())

    def test_more_threads_than_cores_are_refused(self):
        done = self.stand_ins("-t", str(len(os.sched_getaffinity(0)) + 1))
        self.assertEqual(done.returncode, 2)
        self.assertIn("more threads than cores", done.stderr)

    def test_nothing_to_measure_is_refused(self):
        done = self.stand_ins("-p", "0", "-n", "0")
        self.assertEqual(done.returncode, 2)
        self.assertIn("nothing to measure", done.stderr)

    def test_missing_parts_are_named(self):
        done = self.run_script("-m", "none.gguf")
        self.assertEqual(done.returncode, 2)
        self.assertIn("none.gguf is not there", done.stderr)

    def test_a_failing_engine_ends_the_run(self):
        (self.folder / "peer").write_text("#!/bin/sh\nexit 7\n")
        done = self.stand_ins("-t", "1", "--json", "out.json")
        self.assertEqual(done.returncode, 1)
        self.assertIn("exit status 7", done.stderr)
        self.assertFalse((self.folder / "out.json").exists())


class Worker(unittest.TestCase):
    def test_it_is_python(self):
        with tempfile.TemporaryDirectory() as folder:
            worker = str(HERE / "llama_cpp_worker.py")
            py_compile.compile(worker, cfile=folder + "/worker.pyc", doraise=True)


if __name__ == "__main__":
    unittest.main()

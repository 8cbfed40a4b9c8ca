#!/usr/bin/env python3
"""test_start_times.py STRATA: states of start_times, its arithmetic, and whole runs."""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import unittest
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPT = HERE / "start_times"
TINY = HERE.parent / "tests" / "data" / "tiny"
STRATA = Path(sys.argv.pop(1)).resolve()

sys.dont_write_bytecode = True
loader = SourceFileLoader("start_times", str(SCRIPT))
script = module_from_spec(spec_from_loader("start_times", loader))
loader.exec_module(script)

# Writes what it was called with, and makes a file of packed weights as strata would.
STAND_IN = """#!{python}
import json, os, sys
from pathlib import Path
arguments = sys.argv[1:]
if arguments[0] == "inspect":
    bert = "bert" in Path(arguments[1]).name
    print(json.dumps({{"architecture": "bert" if bert else "llama"}}))
    sys.exit()
packed = Path(os.environ["STRATA_HOME"], "packed")
packed.mkdir(exist_ok=True)
call = {{"arguments": arguments, "packed": len(list(packed.iterdir())), "text": sys.stdin.read()}}
with open({log!r}, "a") as file:
    print(json.dumps(call), file=file)
(packed / "model.packed").write_bytes(bytes(10000))
{end}
"""


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="strata_test.")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def file(self, name, size=10000):
        path = self.folder / name
        path.write_bytes(bytes(size))
        return path


class PageCache(Folder):
    def test_what_was_written_is_in_memory_in_whole_pages(self):
        pages = -(-10000 // os.sysconf("SC_PAGESIZE"))
        path = self.file("model", 10000)
        self.assertEqual(script.resident_bytes(path), pages * os.sysconf("SC_PAGESIZE"))
        self.assertEqual(script.resident_bytes(self.file("empty", 0)), 0)

    def test_dropped_is_gone_and_read_is_back(self):
        path = self.file("model", 1 << 20)
        if script.drop(path):
            self.skipTest(f"the file system of {self.folder} keeps its files in memory")
        self.assertEqual(script.resident_bytes(path), 0)
        path.read_bytes()
        self.assertEqual(script.resident_bytes(path), 1 << 20)


class Result(unittest.TestCase):
    def test_medians_ratio_and_the_goal_of_cold(self):
        found = script.result_of("cold", ([400, 100, 440], [100, 500, 90]), 0)
        self.assertEqual((found["float_ms"], found["quantised_ms"]), (400, 100))
        self.assertEqual((found["ratio"], found["goal"]), (0.25, True))
        self.assertFalse(script.result_of("cold", ([400], [101]), 0)["goal"])
        self.assertIsNone(script.result_of("warm", ([400], [100]), 0)["goal"])

    def test_what_stays_in_memory_is_said(self):
        result = script.result_of("cold", ([400], [100]), 4096)
        self.assertEqual(result["left_bytes"], 4096)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            script.print_table([result])
        self.assertIn("(at most 0.25: reached)  NOT cold: 4096 bytes", printed.getvalue())


class WholeRun(Folder):
    def run_script(self, strata, *arguments, status=0):
        done = subprocess.run(
            [sys.executable, "-B", SCRIPT, "--strata", strata, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"TMPDIR": str(self.folder)},
        )
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        self.assertEqual(list(self.folder.glob("start_times.*")), [])
        return done

    def stand_in(self, end="print('text')"):
        self.log = self.folder / "log"
        path = self.folder / "strata"
        path.write_text(STAND_IN.format(python=sys.executable, log=str(self.log), end=end))
        path.chmod(0o755)
        return path

    def calls(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def test_models_take_turns_and_only_the_first_start_packs(self):
        models = [self.file("f32.gguf"), self.file("q8_0.gguf")]
        self.run_script(self.stand_in(), *models, "-r", "2", "-t", "1", "-p", "Hello")
        calls = self.calls()
        order = [call["arguments"][call["arguments"].index("-m") + 1] for call in calls]
        names = [str(path) for path in models]
        self.assertEqual(order, names * 3 + names[::-1] * 3)
        self.assertEqual([call["packed"] for call in calls], [0, 0, 1, 1, 1, 1] * 2)
        for call in calls:
            self.assertEqual((call["arguments"][0], call["text"]), ("generate", "Hello"))
            for option in ("-n 1", "-t 1"):
                self.assertIn(option, " ".join(call["arguments"]))

    def test_sentence_vectors_come_from_a_json_line(self):
        models = [self.file("bert-f32.gguf"), self.file("bert-q8_0.gguf")]
        self.run_script(self.stand_in(), *models, "-r", "1", "-p", 'say "so"')
        for call in self.calls():
            self.assertEqual(call["arguments"][0], "embed")
            self.assertEqual(json.loads(call["text"]), {"text": 'say "so"'})

    def test_runs_that_fail(self):
        models = [self.file("f32.gguf"), self.file("q8_0.gguf")]
        done = self.run_script(self.stand_in("sys.exit('no room')"), *models, status=1)
        self.assertRegex(done.stderr, "^start_times: .*f32.gguf.* exit status 1, no room")
        done = self.run_script(self.stand_in(""), *models, status=1)
        self.assertIn("exit status 0, no output", done.stderr)

    def test_wrong_usage(self):
        model = self.file("model.gguf")
        shard = self.file("model-00001-of-00002.gguf")
        strata = self.stand_in()
        for arguments, words in (
            ([model], "are required"),
            ([model, self.folder / "none.gguf"], "not a plain file"),
            ([model, shard], "expected a model of one file"),
            ([model, model, "-r", "0"], "at least 1"),
            ([model, model, "-t", "0"], "at least 1"),
        ):
            self.assertIn(words, self.run_script(strata, *arguments, status=2).stderr)

    def test_strata_itself(self):
        for name in ("llama256-Q4_1.gguf", "bert.gguf"):
            path = TINY / name
            done = self.run_script(STRATA, path, path, "-r", "1", "--json")
            found = json.loads(done.stdout)
            self.assertEqual([row["state"] for row in found["results"]], list(script.STATES))
            for row in found["results"]:
                self.assertGreater(min(row["float_ms"], row["quantised_ms"]), 0)


if __name__ == "__main__":
    unittest.main()

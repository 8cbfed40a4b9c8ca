#!/usr/bin/env python3
"""run_gate.py without valgrind: its arithmetic, and whole runs against stand-ins."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import run_gate as script

HERE = Path(__file__).resolve().parent

GCC = "cc (Debian 12.2.0-14+deb12u1) 12.2.0\nCopyright (C) 2022 Free Software Foundation, Inc.\n"
CLANG = "Debian clang version 14.0.6\nTarget: x86_64-pc-linux-gnu\nThread model: posix\n"

GATE = """#!/bin/sh
[ "$1" = --list ] && echo one && echo two
"""

# As callgrind would write it: a third of the total is in libc.
VALGRIND = """#!{python}
import json, sys
from pathlib import Path
_, tool, toggle, out, program, case = sys.argv
assert (tool, toggle) == ("--tool=callgrind", "--toggle-collect=gate_run")
n = json.loads(Path({folder!r}, "counts").read_text())[case]
profile = f'''# callgrind format
version: 1
cmd:  {{program}} {{case}}
positions: line
events: Ir

ob=(1) /lib/libc.so.6
fl=(1) ./csu/libc-start.c
fn=(1) main
cob=(2) {{Path(program).resolve()}}
cfi=(2) ???
cfn=(2) gate_run
calls=1 0
58 {{n}}
+3 {{n // 2}}

ob=(2)
fl=(2)
fn=(2)
0 {{n}}

totals: {{n + n // 2}}
'''
Path(out.partition("=")[2]).write_text(profile)
"""


class Profile(unittest.TestCase):
    program = Path("/gate")

    def own(self, *lines):
        return script.own_instructions("\n".join(lines), self.program)

    def refused(self, words, *lines):
        with self.assertRaisesRegex(script.Failure, words):
            self.own(*lines)

    def test_only_the_program_counts_and_calls_do_not(self):
        lines = ["ob=(7) /lib/libm.so.6", "fn=(1) sin", "12 5", "cob=(9) /gate", "cfn=(2) f"]
        lines += ["calls=3 0", "* 100", "* 7", "ob=(9)", "fn=(2)", "fi=(3)", "0 60", "-4 30", "8"]
        self.assertEqual(self.own(*lines, "fe=(4)", "+2 10", "totals: 112"), 100)

    def test_an_object_of_a_like_name_is_another(self):
        self.refused("has nothing of gate", "ob=(1) /other/gate", "0 5", "totals: 5")

    def test_what_is_not_understood(self):
        self.refused("line 2 .* not understood: 0 5 6", "ob=(1) /gate", "0 5 6", "totals: 11")
        self.refused("parts are 5 and its total is 6", "ob=(1) /gate", "0 5", "totals: 6")
        self.refused("total is None", "ob=(1) /gate", "0 5")
        self.refused("total is None", "")


class Verdict(unittest.TestCase):
    def test_two_per_cent_pass_and_more_do_not(self):
        found = (980, 1000, 1020, 1021)
        passes = [script.verdict(n, 1000)[0] for n in found]
        self.assertEqual(passes, [True, True, True, False])
        self.assertNotIn("moved", script.verdict(980, 1000)[1])
        self.assertIn("(-2.10%): the baseline can be moved", script.verdict(979, 1000)[1])


class WholeRun(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.folder = Path(self.scratch.name)
        self.stand_in("gate", GATE)
        self.stand_in("valgrind", VALGRIND.format(python=sys.executable, folder=str(self.folder)))
        self.compiler(GCC)
        self.counts(one=1000, two=500)
        self.baselines(one=1000, two=500)

    def tearDown(self):
        self.scratch.cleanup()

    def stand_in(self, name, text):
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def compiler(self, version):
        self.stand_in("cc", f"#!/bin/sh\ncat <<'END'\n{version}END\n")

    def counts(self, **counts):
        (self.folder / "counts").write_text(json.dumps(counts))

    def baselines(self, **counts):
        script.write_baselines(self.folder / "gcc-12.json", "gcc-12", counts)

    def kept(self, name="gcc-12"):
        return json.loads((self.folder / f"{name}.json").read_text())

    def expect(self, status, *words, arguments=()):
        """Runs the script: its exit status, and words that it says."""
        command = [sys.executable, "-B", HERE / "run_gate.py", "--gate", "./gate"]
        command += ["--compiler", "./cc", "--valgrind", "./valgrind", "--baselines", "."]
        done = subprocess.run(
            [*command, *arguments], cwd=self.folder, capture_output=True, text=True, check=False
        )
        said = done.stdout + done.stderr
        self.assertEqual(done.returncode, status, said)
        for word in words:
            self.assertIn(word, said)

    def test_equal(self):
        self.expect(0, "one: baseline 1000, found 1000 instructions (+0.00%)", "2 cases, 0 failed")

    def test_above(self):
        self.counts(one=1000, two=511)
        self.expect(1, "FAILED  two: baseline 500, found 511 instructions (+2.20%)", "1 failed")

    def test_below(self):
        self.counts(one=900, two=500)
        self.expect(0, "one: baseline 1000, found 900 instructions (-10.00%)", "(--update)")

    def test_some_cases(self):
        self.counts(one=2000, two=500)
        self.expect(0, "1 cases, 0 failed", arguments=["two"])

    def test_unknown_case(self):
        self.expect(2, "no case three", arguments=["one", "three"])

    def test_a_case_without_a_baseline_and_a_baseline_without_a_case(self):
        self.baselines(one=1000)
        self.expect(1, "FAILED  two: 500 instructions, and no baseline")
        self.baselines(one=1000, two=500, three=1)
        self.expect(1, "FAILED  three: a baseline of no case", "1 failed")

    def test_what_there_is_not_skips(self):
        self.compiler(CLANG)
        self.expect(77, "skipped: there is no baseline of clang-14")
        self.compiler("icc (ICC) 2021.10.0 20230609\n")
        self.expect(77, "skipped: ./cc is neither gcc nor clang")
        self.stand_in("gate", "#!/bin/sh\necho gate: skipped: no AVX2 >&2\nexit 77\n")
        self.compiler(GCC)
        self.expect(77, "skipped: no AVX2")
        (self.folder / "valgrind").unlink()
        self.expect(77, "skipped: valgrind is not installed")

    def test_a_valgrind_that_fails(self):
        self.stand_in("valgrind", "#!/bin/sh\necho unhandled instruction >&2\nexit 132\n")
        self.expect(1, "FAILED  one: valgrind: exit status 132", "unhandled instruction")
        self.expect(1, "the baselines stay as they were", arguments=["--update"])
        self.assertEqual(self.kept()["instructions"], {"one": 1000, "two": 500})

    def test_profiles_that_are_none(self):
        self.stand_in("valgrind", "#!/bin/sh\nexit 0\n")
        self.expect(1, "FAILED  one: valgrind left no profile")
        self.stand_in("valgrind", '#!/bin/sh\necho "=1= ?" >"${3#*=}"\n')
        self.expect(1, "FAILED  one: line 1 of the profile is not understood: =1= ?")

    def test_baselines_that_are_none(self):
        for text in ("", "[]", "{}", '{"instructions": {"one": 0}}', '{"instructions": [1]}'):
            (self.folder / "gcc-12.json").write_text(text)
            self.expect(1, "gcc-12.json is not a file of baselines")

    def test_parts_that_are_missing(self):
        (self.folder / "gate").unlink()
        self.expect(2, "gate: No such file")
        (self.folder / "cc").unlink()
        self.expect(2, "./cc: No such file")

    def test_update(self):
        self.baselines(one=1, two=1, three=1)
        self.expect(0, "gcc-12.json: 1 of 2 baselines", arguments=["--update", "two"])
        self.assertEqual(self.kept()["instructions"], {"one": 1, "two": 500})
        self.compiler(CLANG)
        self.expect(0, "clang-14.json: 2 of 2 baselines", arguments=["--update"])
        expected = {"compiler": "clang-14", "instructions": {"one": 1000, "two": 500}}
        self.assertEqual(self.kept("clang-14"), expected)


if __name__ == "__main__":
    unittest.main()

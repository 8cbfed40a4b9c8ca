"""Programs that stand in for strata and strata-bench, with speeds that a test chooses."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
A, B = "gemv_f32_F16_ref/k:576", "add_ref/n:576"

BENCH = """#!/bin/sh
echo "{tag}" >>{folder}/turns
{first}
if [ "$1" = roofline ]; then cat {folder}/roofline.json; exit; fi
if [ "$4" = --list ]; then filter=$3; else filter=$4; printf '{{"benchmarks": ['; fi
separator=
while read -r name row; do
    printf '%s\\n' "$name" | grep -qE "$filter" || continue
    if [ "$4" = --list ]; then echo "$name"; continue; fi
    printf '%s{{"name": "%s", %s}}' "$separator" "$name" "$row"
    separator=,
done <<END
{rows}
END
[ "$4" = --list ] || echo ']}}'
"""

STRATA = """#!/bin/sh
case "$1" in
--version) echo "strata {tag}" ;;
topology) echo '{{"isa": ["ref", "avx2"]}}' ;;
*) echo "{tag} $*" >>{folder}/models
   echo '{{"results": [{{"phase": "prefill", "prompt": 256, "new": 0, "tokens_per_s": {speed}}},
                       {{"phase": "decode", "prompt": 0, "new": 32, "tokens_per_s": 50}}]}}' ;;
esac
"""

ROOFLINE = {
    "results": [
        {"level": level, "threads": 1, "memory_bytes_per_s": 2e10, "l1_bytes_per_s": 1e11}
        | {"f32_ops_per_s": 3e10 * (1 + i), "int8_ops_per_s": 2e10 * (1 + 3 * i)}
        for i, level in enumerate(("ref", "avx2"))
    ]
}


def kernel_row(speed, ops=1000):
    """What strata-bench says of `speed` calls a second, of `ops` operations each."""
    counters = {"ops_per_s": ops * speed, "bytes_per_s": 4000 * speed, "of_roofline": 0.5}
    return json.dumps({"cpu_time": 1e9 / speed} | counters)[1:-1]


class Case(unittest.TestCase):
    """A test with a $STRATA_HOME and programs of its own."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.home = self.folder / "home"
        self.kept = self.home / "bench" / "baseline" / "baseline.json"
        (self.folder / "roofline.json").write_text(json.dumps(ROOFLINE))

    def programs(self, tag, speeds, first="", model_speed=100, ops=1000):
        """Makes the present programs those of `tag`; `first` is what strata-bench does first."""
        rows = "\n".join(f"{name} {kernel_row(speed, ops)}" for name, speed in speeds.items())
        values = {"tag": tag, "folder": self.folder, "rows": rows, "first": first}
        for name, text in (("strata-bench", BENCH), ("strata", STRATA)):
            program = self.folder / f"{name}.new"
            program.write_text(text.format(speed=model_speed, **values))
            program.chmod(0o755)
            program.replace(self.folder / name)

    def command(self, suite, *words):
        own = ("--strata-bench", self.folder / "strata-bench", "--strata", self.folder / "strata")
        return [sys.executable, "-B", HERE / "manager.py", suite, *own, *words]

    def environment(self, **more):
        known = {name: value for name, value in os.environ.items() if name != "STRATA_CPU"}
        return known | {"STRATA_HOME": str(self.home)} | more

    def run_suite(self, status, suite, *words, **environment):
        done = subprocess.run(
            self.command(suite, *words),
            cwd=self.folder,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done

    def compare(self, status, *words):
        """The comparison's JSON."""
        return json.loads(
            self.run_suite(status, "compare", "--rounds", "3", "--json", *words).stdout
        )

    def read_kept(self):
        return json.loads(self.kept.read_text())

    def folders(self):
        return sorted(p.name[:5] for p in (self.home / "bench").iterdir() if p.is_dir())

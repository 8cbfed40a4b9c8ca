#!/usr/bin/env python3
"""The benchmark manager without strata: its arithmetic, and whole runs of stand-in programs."""

import fcntl
import json
import signal
import subprocess
import time
import unittest

import verdict
from stand_ins import A, B, Case


def measured(speed, work=1.0):
    return {"speed": speed, "unit": "calls/s", "work": work}


def rows_of(**verdicts):
    return [{"name": name, "verdict": value} for name, value in verdicts.items()]


class Arithmetic(unittest.TestCase):
    def test_interval_of_known_samples(self):
        self.assertEqual(verdict.interval([1.5] * 7), (1.5, 1.5))
        # All three draws of a resample are the smallest in 1/27 of them, two or more in 7/27.
        self.assertEqual(verdict.interval([1.0, 3.0, 2.0]), (1.0, 3.0))
        # Of 101 ordered samples the median's interval is that of ranks 51 -+ 1.96 sqrt(101) / 2.
        low, high = verdict.interval([float(rank) for rank in range(1, 102)])
        self.assertAlmostEqual(low, 41, delta=2)
        self.assertAlmostEqual(high, 61, delta=2)

    def test_interval_is_repeatable(self):
        ratios = [1.0, 1.1, 0.9, 1.3, 0.8, 1.05, 0.97]
        self.assertEqual(verdict.interval(ratios), verdict.interval(ratios))

    def test_one_wild_round_decides_nothing(self):
        low, high = verdict.interval([1.0] * 8 + [5.0])
        self.assertEqual((low, high), (1.0, 1.0))

    def test_the_whole_interval_counts(self):
        self.assertEqual(verdict.classify(0.90, 0.969), "slower")
        self.assertEqual(verdict.classify(0.90, 0.97), "same")
        self.assertEqual(verdict.classify(0.5, 2), "same")
        self.assertEqual(verdict.classify(1.03, 1.5), "same")
        self.assertEqual(verdict.classify(1.031, 1.5), "faster")

    def test_ratio_is_new_over_old_round_by_round(self):
        pairs = [
            (measured(10), measured(20)),
            (measured(20), measured(20)),
            (measured(1), measured(3)),
        ]
        row = verdict.judge("x", pairs)
        self.assertEqual((row["ratios"], row["ratio"]), ([2, 1, 3], 2))
        self.assertEqual((row["old_speed"], row["new_speed"], row["verdict"]), (10, 20, "same"))

    def test_other_work_is_not_compared(self):
        row = verdict.judge("x", [(measured(10, 1.0), measured(20, 2.0))] * 3)
        self.assertEqual(row["verdict"], "changed")

    def test_regressions_come_first(self):
        names = ("same", 1.0), ("faster", 2.0), ("slower", 0.9), ("slower", 0.5)
        rows = [{"verdict": name, "ratio": ratio} for name, ratio in names]
        ratios = [row["ratio"] for row in verdict.ordered(rows)]
        self.assertEqual(ratios, [0.5, 0.9, 2.0, 1.0])


class Streaks(unittest.TestCase):
    def test_three_in_succession(self):
        streaks, rows = {}, rows_of(a="faster", b="same")
        for held in (False, False, True):
            streaks = verdict.next_streaks(streaks, rows)
            self.assertEqual(verdict.holds(streaks, rows), held)

    def test_a_run_that_does_not_show_it_starts_anew(self):
        self.assertEqual(verdict.next_streaks({"a": 2, "b": 2}, rows_of(a="same")), {"b": 2})
        self.assertEqual(verdict.next_streaks({"a": 2}, rows_of(a="faster", b="slower")), {})

    def test_a_benchmark_that_was_left_out_moves_nothing(self):
        self.assertFalse(verdict.holds({"a": 3}, rows_of(b="faster")))


class Baseline(Case):
    def test_keeps_programs_results_and_host(self):
        self.programs("1.0", {A: 1000, B: 500})
        done = self.run_suite(0, "baseline", "--filter", "gemv")
        self.assertIn("strata 1.0, 1 benchmarks", done.stdout)
        kept = self.read_kept()
        self.assertEqual((kept["filter"], kept["models"], kept["version"]), ("gemv", [], "1.0"))
        self.assertEqual(list(kept["results"]), [A])
        self.assertAlmostEqual(kept["results"][A]["speed"], 1000)
        self.assertEqual(kept["host"]["level"], "avx2")
        for name in ("strata", "strata-bench"):
            copied = self.kept.with_name(name)
            self.assertEqual(copied.read_bytes(), (self.folder / name).read_bytes())
            self.assertTrue(copied.stat().st_mode & 0o100)
        self.assertNotIn("\033", done.stderr)

    def test_a_failure_leaves_the_old_one(self):
        self.programs("1.0", {A: 1000})
        self.run_suite(0, "baseline")
        before = self.kept.read_bytes()
        self.programs("2.0", {A: 1000}, first="echo broken >&2; exit 3")
        self.assertIn("broken", self.run_suite(3, "baseline").stderr)
        self.assertEqual(self.kept.read_bytes(), before)
        self.assertEqual(self.folders(), ["basel", "kept-"])

    def test_a_new_one_replaces_it_and_leftovers_go(self):
        self.programs("1.0", {A: 1000})
        self.run_suite(0, "baseline")
        for name in ("work-of-a-killed-run", "kept-but-not-linked"):
            (self.home / "bench" / name).mkdir()
        self.programs("2.0", {A: 1000})
        self.run_suite(0, "baseline")
        self.assertEqual(self.read_kept()["version"], "2.0")
        self.assertEqual(self.folders(), ["basel", "kept-"])

    def test_programs_that_a_copy_would_not_keep(self):
        self.programs("1.0", {A: 1000}, first="# libstrata.so")
        self.assertIn("linked with libstrata.so", self.run_suite(1, "baseline").stderr)
        (self.folder / "strata-bench").unlink()
        self.assertIn("strata-bench is not there", self.run_suite(1, "baseline").stderr)
        self.assertFalse(self.kept.exists())

    def test_one_at_a_time(self):
        self.programs("1.0", {A: 1000})
        self.run_suite(0, "baseline")
        with open(self.home / "bench" / "lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.assertIn("another suite", self.run_suite(1, "compare").stderr)


class Compare(Case):
    def setUp(self):
        super().setUp()
        self.programs("old", {A: 1000, B: 1000})
        self.run_suite(0, "baseline")
        (self.folder / "turns").unlink()

    def test_slower_is_an_exit_status(self):
        self.programs("new", {A: 2000, B: 900})
        run = self.compare(1)
        found = [(row["name"], row["verdict"]) for row in run["results"]]
        self.assertEqual(found, [(B, "slower"), (A, "faster")])
        self.assertAlmostEqual(run["results"][0]["ratio"], 0.9)
        self.assertEqual((run["slower"], run["faster"], run["moved"]), (1, 1, False))
        self.assertAlmostEqual(run["drift"], 1)

    def test_they_alternate(self):
        self.programs("new", {A: 1000, B: 1000})
        self.compare(0)
        turns = (self.folder / "turns").read_text().split()
        lists = ["old", "new"]
        self.assertEqual(turns, [*lists, "old", "new", "new", "old", "old", "new", "new"])

    def test_text_has_regressions_first(self):
        self.programs("new", {A: 1000, B: 900, "add_ref/n:9": 1})
        lines = self.run_suite(1, "compare", "--rounds", "3").stdout.splitlines()
        self.assertTrue(lines[1].startswith(B) and lines[1].endswith("slower"), lines)
        self.assertTrue(lines[2].startswith(A) and lines[2].endswith("same"), lines)
        self.assertIn("new, nothing to compare", lines[3])

    def test_the_same_programs(self):
        self.assertIn("the same programs", self.run_suite(0, "compare", "--rounds", "3").stdout)

    def test_a_benchmark_that_does_something_else(self):
        self.programs("new", {A: 100, B: 100}, ops=2000)
        self.assertEqual({row["verdict"] for row in self.compare(0)["results"]}, {"changed"})

    def test_three_runs_move_the_baseline(self):
        self.programs("new", {A: 1000, B: 1100})
        for moved in (False, False, True):
            self.assertEqual(self.read_kept()["version"], "old")
            self.assertEqual(self.compare(0)["moved"], moved)
        kept = self.read_kept()
        self.assertEqual(kept["version"], "new")
        self.assertAlmostEqual(kept["results"][B]["speed"], 1100)
        self.assertEqual(self.folders(), ["basel", "kept-"])
        run = self.compare(0)
        self.assertTrue(run["same_programs"])
        history = json.loads((self.home / "bench" / "history.json").read_text())
        self.assertEqual((len(history["runs"]), history["streaks"]), (4, {}))

    def test_a_regression_starts_the_count_anew(self):
        self.programs("new", {A: 1000, B: 1100})
        self.compare(0)
        self.compare(0)
        self.programs("worse", {A: 900, B: 1100})
        self.compare(1)
        self.programs("new", {A: 1000, B: 1100})
        self.assertFalse(self.compare(0)["moved"])

    def test_what_keeps_the_baseline(self):
        self.programs("new", {A: 1000, B: 1100})
        narrow = ("--filter", "^add")
        self.compare(0, *narrow)
        self.compare(0, *narrow)
        done = self.run_suite(0, "compare", "--rounds", "3", *narrow)
        self.assertIn("1 of its benchmarks were left out", done.stdout)
        done = self.run_suite(0, "compare", "--rounds", "3", "--no-move")
        self.assertIn("--no-move leaves the baseline", done.stdout)
        self.assertEqual(self.read_kept()["version"], "old")

    def test_another_host_is_refused(self):
        done = self.run_suite(1, "compare", STRATA_CPU="ref")
        self.assertIn("of another host: level avx2 there, ref here", done.stderr)
        kept = self.read_kept()
        kept["host"]["flags"].append("abacus")
        self.kept.write_text(json.dumps(kept))
        self.assertIn("flags differ: abacus", self.run_suite(1, "compare").stderr)
        kept["host"]["cpu"] = "Z80"
        self.kept.write_text(json.dumps(kept))
        self.assertIn("cpu Z80 there", self.run_suite(1, "compare").stderr)

    def test_interrupted(self):
        self.programs("new", {A: 2000, B: 2000}, first='[ "$4" = --list ] || exec sleep 60')
        before = self.kept.read_bytes()
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            (self.folder / "turns").unlink(missing_ok=True)
            process = subprocess.Popen(
                self.command("compare"),
                env=self.environment(),
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
            while not self.turned("old new old new"):
                time.sleep(0.02)
            process.send_signal(number)
            said = process.communicate()[1]
            self.assertEqual(process.returncode, status, said)
            self.assertNotIn("Traceback", said)
            self.assertEqual(self.kept.read_bytes(), before)
            self.assertEqual(self.folders(), ["basel", "kept-"])
            self.assertFalse((self.home / "bench" / "history.json").exists())

    def turned(self, wanted):
        turns = self.folder / "turns"
        return turns.exists() and turns.read_text().split() == wanted.split()


class Models(Case):
    def test_prefill_and_decode(self):
        model = self.folder / "tiny.gguf"
        model.touch()
        self.programs("old", {A: 1000}, model_speed=100)
        self.run_suite(0, "baseline", "-m", "tiny.gguf")
        self.assertEqual(self.read_kept()["models"], [str(model)])
        self.programs("new", {A: 1000}, model_speed=80)
        found = {row["name"]: row["verdict"] for row in self.compare(1)["results"]}
        self.assertEqual(found, {"tiny/prefill": "slower", "tiny/decode": "same"})
        turns = [line.split()[0] for line in (self.folder / "models").read_text().splitlines()]
        self.assertEqual(turns, ["old", "old", "new", "new", "old", "old", "new"])
        words = f"bench -m {model} -p 256 -n 32 -r 1 --json"
        self.assertIn(f"old {words}", (self.folder / "models").read_text())

    def test_names_that_collide(self):
        self.programs("old", {A: 1000})
        self.assertIn("same name", self.run_suite(2, "baseline", "-m", "x/a", "-m", "y/a").stderr)


class Usage(Case):
    def test_refusals(self):
        self.programs("1.0", {A: 1000})
        self.assertIn("there is no baseline yet", self.run_suite(1, "compare").stderr)
        self.assertIn("not at least 3", self.run_suite(2, "compare", "--rounds", "2").stderr)
        self.assertIn("not from 1e-6", self.run_suite(2, "baseline", "--min-time", "0").stderr)
        self.assertIn("unrecognized", self.run_suite(2, "baseline", "--json").stderr)

    def test_help(self):
        for suite in ("baseline", "compare", "report"):
            said = self.run_suite(0, suite, "--help").stdout
            self.assertIn(f"usage: strata-bench {suite}", said)
            self.assertNotIn("--strata ", said)


class Report(Case):
    def test_page(self):
        self.programs("1.0", {A: 1000, "softmax_avx2/n:128": 10}, model_speed=1)
        done = self.run_suite(0, "report", "--no-plots", "--out", "page")
        self.assertEqual(done.stdout, "page/index.html\n")
        text = (self.folder / "page" / "index.html").read_text()
        for said in ("strata 1.0", "gemv_f32_F16: 1, median 50 %", "0.25", "None yet"):
            self.assertIn(said, text)
        self.assertNotIn("<img", text)
        self.assertNotIn(str(self.folder), text)
        self.run_suite(0, "baseline")
        self.run_suite(0, "compare", "--rounds", "3")
        self.programs("2.0", {}, first="exit 9")
        again = ("--from", "page/results.json", "--no-plots", "--out", "again")
        self.run_suite(0, "report", *again)
        text = (self.folder / "again" / "index.html").read_text()
        self.assertIn("strata 1.0", text)
        self.assertIn("Last comparison", text)

    def test_other_files_are_refused(self):
        (self.folder / "x.json").write_text('{"suite": "compare"}')
        words = ("--no-plots", "--from", "x.json")
        self.assertIn("not the results.json", self.run_suite(3, "report", *words).stderr)
        (self.folder / "x.json").unlink()
        self.assertIn("x.json", self.run_suite(1, "report", *words).stderr)


if __name__ == "__main__":
    unittest.main()

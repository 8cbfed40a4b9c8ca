#!/usr/bin/env python3
"""test_suites.py STRATA_BENCH EMULATED_PLUGIN: strata-bench, in runs that take a moment."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROGRAM, PLUGIN = sys.argv.pop(1), sys.argv.pop(1)


def run(*words, program=PROGRAM, **environment):
    return subprocess.run(
        [program, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def kernels(*words, **environment):
    done = run("kernels", "--json", "--min-time", "0.001", *words, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["benchmarks"]


class Kernels(unittest.TestCase):
    def test_counters_follow_from_the_shape(self):
        row = kernels("--filter", "^packed_q8_Q4_1_ref/k:576/m:1$")[0]
        self.assertEqual(row["name"], "packed_q8_Q4_1_ref/k:576/m:1")
        run_bytes = 256 * 576 / 32 * 20 + 576 * 1.375 + 256 * 4
        run_ops = 2 * 256 * 576
        self.assertAlmostEqual(row["ops_per_s"] / row["bytes_per_s"], run_ops / run_bytes)
        self.assertAlmostEqual(row["bytes_per_s"] * row["cpu_time"] / 1e9 / run_bytes, 1)
        self.assertGreater(row["of_roofline"], 0)
        self.assertLess(row["of_roofline"], 2)

    def test_threads_add_up(self):
        row = kernels("--filter", "^add_ref/n:2048$", "-t", "2")[0]
        self.assertEqual(row["threads"], 2)
        # cpu_time is the mean of the threads; the rate is that of both.
        self.assertAlmostEqual(row["bytes_per_s"] * row["cpu_time"] / 1e9 / (2048 * 12), 2)

    def test_every_operation_runs(self):
        shapes = "(k:384/m:1|k:1536|k:1536/m:8|k:576/m:1|n:[0-9]*|heads:9|depth:128/tokens:1|"
        shapes += "head_dim.*)"
        rows = kernels("--filter", f"_ref/{shapes}$", STRATA_CPU="ref")
        plain = "quantize_q8 rms_norm rope_norm rope_neox softmax silu_mul add"
        plain += " attention_merge argmax top_k similarity_q4"
        typed = "dequantize_Q6_K gemv_f32_F16 gemm_f32_F32 packed_f32_Q8_0 packed_q8_Q4_K"
        typed += " attention_F16 attention_Q8_0 encode_Q8_0"
        typed += " similarity_f32_F32 similarity_f32_F16 similarity_q16_I8"
        measured = {row["name"].split("_ref/")[0] for row in rows if row["ops_per_s"] > 0}
        self.assertEqual({*plain.split(), *typed.split()} - measured, set())

    def test_level_is_lowered(self):
        names = [r["name"] for r in kernels("--filter", "^add_", STRATA_CPU="ref")]
        self.assertEqual(names, ["add_ref/n:576", "add_ref/n:2048"])

    def test_list_has_what_would_run(self):
        done = run("kernels", "--list", "--filter", "^add_", STRATA_CPU="ref")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.split(), ["add_ref/n:576", "add_ref/n:2048"])

    def test_without_roofline(self):
        row = kernels("--filter", "^add_ref/n:576$", "--no-roofline")[0]
        self.assertGreater(row["ops_per_s"], 0)
        self.assertNotIn("of_roofline", row)

    def test_repetitions_give_statistics(self):
        rows = kernels("--filter", "^add_ref/n:576$", "-r", "3")
        names = [row.get("aggregate_name") for row in rows if row["run_type"] == "aggregate"]
        self.assertIn("median", names)
        words = ("--filter", "^add_ref/n:576$", "-r", "3", "--min-time", "0.001")
        text = run("kernels", *words).stdout
        self.assertIn("add_ref/n:576_median", text)
        self.assertNotIn("add_ref/n:576 ", text)


@unittest.skipUnless(Path(PLUGIN).exists(), "no emulated plug-in in this build")
class DeviceKernels(unittest.TestCase):
    """The rows of the CUDA plug-in, on the emulator."""

    EMULATED = {"STRATA_CUDA_PLUGIN": PLUGIN, "STRATA_CPU": "ref"}

    def test_every_row_is_measured(self):
        words = ("--device", "emu", "--filter", "_cuda/", "--min-time", "0.000001")
        rows = kernels(*words, **self.EMULATED)
        listed = run("kernels", "--list", *words[:4], **self.EMULATED).stdout.split()
        self.assertEqual([row["name"] for row in rows], listed)
        for row in rows:
            for counter in ("real_time", "bytes_per_s", "ops_per_s", "of_roofline"):
                self.assertGreater(row[counter], 0, row["name"])
        packed = "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS".split()
        expected = {f"{op}_{t}" for t in ("F32", "F16", "BF16") for op in ("gemv_f32", "gemm_blas")}
        for op in ("packed_q8", "packed_f32", "packed_halves", "packed_blas", "unpack", "look_up"):
            expected |= {f"{op}_{t}" for t in packed}
        expected |= {f"packed_halves_{tile}_{t}" for tile in (32, 64, 128) for t in packed}
        for op in ("rope_store", "attention", "attention_single", "attention_tiled"):
            expected |= {f"{op}_F16", f"{op}_Q8_0"}
        expected |= set("narrow scale quantize_q8 rms_norm layer_norm gelu pool top_k draw".split())
        self.assertEqual(expected - {name.split("_cuda/")[0] for name in listed}, set())

    def test_counters_follow_from_the_shape(self):
        words = ("--device", "emu", "--filter", "^(packed_q8_Q4_1_cuda/|add_ref/n:576$)")
        host, row = kernels(*words, **self.EMULATED)
        self.assertEqual(host["name"], "add_ref/n:576")
        self.assertEqual(row["name"], "packed_q8_Q4_1_cuda/k:256/m:1")
        run_bytes = 256 * 256 / 32 * 20 + 256 * 8 + 256 * 4
        self.assertAlmostEqual(row["ops_per_s"] / row["bytes_per_s"], 2 * 256 * 256 / run_bytes)
        self.assertAlmostEqual(row["bytes_per_s"] * row["real_time"] / 1e9 / run_bytes, 1)

    def test_the_environment_names_the_device(self):
        words = ("kernels", "--list", "--filter", "^(pool_cuda|add_ref/n:576$)")
        listed = run(*words, STRATA_DEVICE="emu", **self.EMULATED).stdout.split()
        self.assertEqual(listed, ["add_ref/n:576", "pool_cuda/n:32/spans:2"])
        listed = run(*words, "--device", "cpu", STRATA_DEVICE="emu", **self.EMULATED)
        self.assertEqual(listed.stdout.split(), ["add_ref/n:576"])

    def test_a_gpu_has_all_shapes(self):
        machine = Path(__file__).parents[1] / "tests" / "data" / "topology" / "made_up.xml"
        gpu = self.EMULATED | {"HWLOC_XMLFILE": str(machine), "HWLOC_THISSYSTEM": "1"}
        for device in ("auto", "cuda"):
            done = run("kernels", "--list", "--filter", "^pool_cuda", "--device", device, **gpu)
            listed = ["pool_cuda/n:32/spans:2", "pool_cuda/n:384/spans:64"]
            self.assertEqual(done.stdout.split(), listed)


class Roofline(unittest.TestCase):
    def test_peaks(self):
        done = run("roofline", "--json", "-t", "2", STRATA_CPU="ref")
        self.assertEqual(done.returncode, 0, done.stderr)
        results = json.loads(done.stdout)["results"]
        self.assertEqual([row["threads"] for row in results], [1, 2])
        for row in results:
            self.assertEqual(row["level"], "ref")
            for peak in ("memory_bytes_per_s", "l1_bytes_per_s", "f32_ops_per_s", "int8_ops_per_s"):
                self.assertGreater(row[peak], 1e6)


class Manager(unittest.TestCase):
    """The suites that Python runs; manager/test_manager.py has what they do."""

    def test_from_the_source_tree(self):
        for suite in ("baseline", "compare", "report"):
            done = run(suite, "--help")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn(f"usage: strata-bench {suite}", done.stdout)

    def test_installed_beside_the_program(self):
        with tempfile.TemporaryDirectory() as folder:
            program, manager = Path(folder, "bin"), Path(folder, "share", "strata", "bench")
            program.mkdir()
            manager.mkdir(parents=True)
            shutil.copy(PROGRAM, program)
            text = "import sys; print(*sys.argv[1:], sep=chr(10)); sys.exit(7)"
            (manager / "manager.py").write_text(text)
            done = run("compare", "--rounds", "5", program=program / "strata-bench")
            self.assertEqual((done.returncode, done.stderr), (7, ""))
            paths = ["--strata-bench", f"{program}/strata-bench", "--strata", f"{program}/strata"]
            self.assertEqual(done.stdout.split(), ["compare", *paths, "--rounds", "5"])

    def test_without_python(self):
        done = run("compare", PATH="/nowhere")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("python3: No such file", done.stderr)
        self.assertIn("compare needs Python 3.11", done.stderr)


class Usage(unittest.TestCase):
    def refused(self, status, said, *words, **environment):
        done = run(*words, **environment)
        self.assertEqual((done.returncode, done.stdout), (status, ""))
        self.assertIn(said, done.stderr)

    def test_refusals(self):
        self.refused(2, "suites are kernels roofline baseline compare report;")
        self.refused(2, "nonsense: no such suite; suites are kernels roofline", "nonsense")
        self.refused(2, "not a whole number from 1 to 1024", "kernels", "-t", "0")
        self.refused(2, "not a whole number", "kernels", "-r", "1x")
        self.refused(2, "not a number", "kernels", "--min-time", "nan")
        self.refused(2, "--filter (", "kernels", "--filter", "(")
        self.refused(2, "takes no arguments", "kernels", "more")
        self.refused(2, "unrecognized option", "roofline", "--filter", "x")
        self.refused(2, "is no level", "roofline", STRATA_CPU="mmx")
        self.refused(1, "no benchmark has a name", "kernels", "--filter", "^none$")
        self.refused(2, "is none of auto, cpu, cuda, emu", "kernels", "--device", "gpu")
        none = {"STRATA_CUDA_PLUGIN": "/nowhere.so"}
        self.refused(1, "/nowhere.so", "kernels", "--device", "emu", **none)
        self.refused(1, "no GPU can be used", "kernels", "--device", "cuda", **none)

    def test_help(self):
        for words in (["--help"], ["kernels", "--help"], ["roofline", "--help"]):
            done = run(*words)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("--min-time", done.stdout)


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""test_gpu_kit.py STRATA BENCH_MOVES PLUGIN MAKE_MODEL: the kit for GPU machines, without one.

PLUGIN is the emulated CUDA plug-in, or a file that is not there: what needs it is skipped then.
"""

import contextlib
import io
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import report
import torch_peer

HERE = Path(__file__).resolve().parent
TINY = HERE.parent.parent / "tests" / "data" / "tiny"
STRATA, MOVES, PLUGIN, MAKER = (sys.argv.pop(1) for _ in range(4))
needs_emulator = unittest.skipUnless(os.path.exists(PLUGIN), "the emulator is not built")

PEAKS = {"device": "Made Up 1", "compute": "9.0", "copy_gb_per_s": 2000.0, "f16_tops": 800.0}
PEAKS |= {"f16_tops": 400.0, "link_gb_per_s": {"pinned_to_device": 50.0}}
KERNEL = {"kernel": "packed_q8", "type": "Q4_0", "shape": "k:4096/m:1", "us": 8.0}
KERNEL |= {"gb_per_s": 1000.0, "of_copy": 0.5, "tops": 4.0}
MODEL = {"model": "llama-8b", "type": "Q4_K", "by": "strata", "phase": "decode", "sequences": 1}
MODEL |= {"tokens": 1, "depth": 0, "ms": 5.0, "tokens_per_s": 200.0, "gb_per_s": 500.0}

# Stands in for nvcc: programs are scripts that print what those of the kit would.
NVCC = """#!/bin/sh
while [ $# -gt 0 ]; do [ "$1" != -o ] || out=$2; shift; done
case $out in
*.o) exec touch "$out" ;;
*/check_cuda) text='echo checked; exit '${CHECK_STATUS-0} ;;
*) text="cat $RESULTS/${out##*/}" ;;
esac
printf '#!/bin/sh\\n%s\\n' "$text" >"$out" && chmod +x "$out"
"""


def run(arguments, **environment):
    return subprocess.run(
        arguments, capture_output=True, text=True, env=os.environ | environment, timeout=200
    )


def script(name, *arguments, **environment):
    return run([sys.executable, "-B", HERE / name, *arguments], **environment)


class WithFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.emulator = {"STRATA_CUDA_PLUGIN": PLUGIN, "STRATA_HOME": str(self.folder / "home")}


class Report(WithFolder):
    def report(self, *lines):
        path = self.folder / "lines"
        texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
        path.write_text("\n".join(texts))
        argv, sys.argv = sys.argv, ["report.py", str(path), "NVIDIA Made-Up 1", str(self.folder)]
        text = io.StringIO()
        try:
            with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
                report.main()
        finally:
            sys.argv = argv
        found = list(self.folder.glob("gpu-nvidia_made_up_1-????????.json"))
        self.assertEqual(len(found), 1)
        return json.loads(found[0].read_text()), text.getvalue()

    def test_lists(self):
        found, text = self.report(PEAKS, KERNEL, MODEL, {"new": 1})
        self.assertEqual(found["device"], PEAKS)
        self.assertEqual(found["kernels"], [KERNEL])
        self.assertEqual(found["models"], [MODEL | {"of_floor": 0.25}])
        self.assertEqual(found["other"], [{"new": 1}])
        self.assertRegex(text, r"packed_q8 Q4_0 k:4096/m:1 +8\.00 +1000\.0 +50 +4\.00")
        self.assertRegex(text, r"llama-8b Q4_K decode 1 x 1, strata +5\.000 +200\.0 +25")

    def test_first_device_counts(self):
        found, _ = self.report(PEAKS, {"device": "Made Up 1", "copy_gb_per_s": 1.0, "more": 2})
        self.assertEqual(found["device"], PEAKS | {"more": 2})

    def test_what_is_left_out(self):
        found, text = self.report(MODEL | {"phase": "prefill"}, {"kernel": "blas"}, '{"kernel":')
        self.assertNotIn("of_floor", found["models"][0])
        self.assertEqual(found["kernels"], [{"kernel": "blas"}])
        self.assertIn("cut off", text)
        self.assertIn("no picture", text)

    def test_failures_are_told(self):
        wrong = {"golden": "a.text", "compute": "q8", "ok": False}
        _, text = self.report(
            wrong | {"max": 2.0, "rms": 1.0, "layers_on_device": 3},
            wrong | {"error": "no such device"},
            {"part": "check", "seconds": 3, "passed": False},
        )
        self.assertRegex(text, r"a\.text q8 +2\.0000 +1\.0000 +3 +WRONG")
        self.assertIn("no such device", text)
        self.assertRegex(text, r"check +3 s +FAILED")


class Golden(WithFolder):
    def golden(self, folder, **environment):
        done = script("golden.py", STRATA, "emu", folder, **self.emulator | environment)
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    @needs_emulator
    def test_right(self):
        status, lines = self.golden(TINY)
        self.assertEqual(status, 0)
        self.assertEqual([line["compute"] for line in lines], ["f32", "f32", "q8"])
        self.assertTrue(all(line["layers_on_device"] == 2 for line in lines[1:]))

    @needs_emulator
    def test_planted(self):
        copy = self.folder / "tiny"
        shutil.copytree(TINY, copy, copy_function=shutil.copyfile)
        path = copy / "llama256-Q4_1.random40.logits.npy"
        path.write_bytes(path.read_bytes()[:-4] + struct.pack("<f", 9))
        status, lines = self.golden(copy)
        self.assertEqual(status, 1)
        self.assertEqual([line["ok"] for line in lines], [True, False, False])

    def test_no_device(self):
        status, lines = self.golden(TINY, STRATA_CUDA_PLUGIN="/absent")
        self.assertEqual(status, 1)
        self.assertIn("is no file", lines[0]["error"])


class Models(WithFolder):
    @needs_emulator
    def test_phases(self):
        # Too short for 4096 tokens: that run fails, the others are there.
        model = self.folder / "tiny-q4_1.gguf"
        shutil.copyfile(TINY / "llama256-Q4_1.gguf", model)
        done = script("models.py", STRATA, "100", "cpu", model, **self.emulator)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(done.returncode, 1)
        self.assertIn("tiny-q4_1: -p 4096", done.stderr)
        self.assertTrue(lines, done.stderr)
        self.assertEqual({line["layers_on_device"] for line in lines}, {0})
        self.assertTrue(all(line["model"] == "tiny" and line["tops"] > 0 for line in lines))

    def test_no_time(self):
        done = script("models.py", STRATA, "0", "cpu", TINY / "llama256-Q4_1.gguf")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr.count("no time is left"), 4)

    def test_vectors(self):
        done = script("models.py", STRATA, "100", "cpu", TINY / "bert.gguf", **self.emulator)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([line["sequences"] for line in lines], [64, 1])
        self.assertEqual({line["phase"] for line in lines}, {"embed"})

    @needs_emulator
    def test_moves(self):
        done = run([MOVES, TINY / "llama256-Q4_1.gguf", "emu", "3"], **self.emulator)
        self.assertEqual(done.returncode, 0, done.stderr)
        line = json.loads(done.stdout)
        for way in ("to_host", "to_device"):
            self.assertEqual(line[way]["moves"], 3)
            self.assertGreater(line[way]["bytes"], 0)
            self.assertGreater(line[way]["stage_ms_p50"], 0)

    def test_moves_without_device(self):
        done = run([MOVES, TINY / "llama256-Q4_1.gguf", "cpu"])
        self.assertEqual(done.returncode, 1)
        self.assertIn("not on the device", done.stderr)


    @needs_emulator
    def test_score(self):
        score = Path(MOVES).with_name("bench_score")
        numbers = ("4", "6", "8", "2", "1")
        done = run([score, TINY / "llama256-Q4_1.gguf", "emu", *numbers], **self.emulator)
        self.assertEqual(done.returncode, 0, done.stderr)
        line = json.loads(done.stdout)
        self.assertEqual((line["continuations"], line["length"], line["prefix"]), (4, 6, 8))
        self.assertGreater(line["score_ms"], 0)
        self.assertEqual(report.results_of([line])["scores"], [line])
        self.assertRegex(report.score_row(line)[0], "^4 x 6 tokens after 8$")


class Torch(unittest.TestCase):
    def test_sizes(self):
        listed = json.loads(run([MAKER, "--list"]).stdout)
        layers, head = torch_peer.sizes_of(listed["shapes"]["smollm2-135m"])
        self.assertEqual((len(layers), head), (30 * 7, [49152, 576]))
        self.assertEqual(layers[:2], [[576, 576], [192, 576]])
        self.assertEqual(layers[-1], [576, 1536])


class Run(WithFolder):
    def stand_in(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def kit(self, *arguments, **environment):
        path = f"{self.folder}:{os.environ['PATH']}"
        out = str(self.folder / "out")
        environment |= {"PATH": path, "OUT": out, "RESULTS": str(self.folder)}
        return run([HERE / "run.sh", *arguments], **environment)

    def machine(self):
        self.stand_in("nvcc", NVCC)
        (self.folder / "bench_peaks").write_text(json.dumps(PEAKS) + "\n")
        # The second line is one of a part that was stopped.
        (self.folder / "bench_cuda").write_text(json.dumps(KERNEL) + '\n{"kernel":')
        self.stand_in("nvidia-smi", "#!/bin/sh\necho Made Up 1\n")
        self.stand_in("compute-sanitizer", '#!/bin/sh\nshift 4\nexec "$@"\n')

    def test_no_gpu(self):
        self.stand_in("nvidia-smi", "#!/bin/sh\nexit 9\n")
        done = self.kit()
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"^run\.sh: (nvidia-smi shows no GPU|nvcc is not in .*)\n$")

    def test_usage(self):
        for arguments, text in (
            (["--only", "check,nix"], "no part is named nix"),
            (["--nix"], "unknown option --nix"),
            (["--seconds", "few"], "is no whole number"),
        ):
            done = self.kit(*arguments)
            self.assertEqual(done.returncode, 2)
            self.assertIn(text, done.stderr)

    def results(self):
        return json.loads(next((self.folder / "out").glob("gpu-made_up_1-*.json")).read_text())

    def test_parts(self):
        self.machine()
        done = self.kit("--only", "kernels,check,sanitize")
        self.assertEqual(done.returncode, 0, done.stderr)
        found = self.results()
        self.assertEqual(found["device"], PEAKS)
        self.assertEqual(found["kernels"], [KERNEL])
        names = [part["part"] for part in found["parts"]]
        self.assertEqual(names, ["check", "peaks", "kernels", "sanitize"])
        kept = {path.name for path in (self.folder / "out").iterdir()} - {"check.txt"}
        self.assertIn("sanitizer.txt", kept)
        self.assertNotIn("gpu-lines.jsonl", kept)

    def test_no_torch(self):
        self.machine()
        (self.folder / "torch.py").write_text("raise ImportError\n")
        done = self.kit("--only", "torch", PYTHONPATH=str(self.folder))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("torch: not there", done.stderr)
        names = [(part["part"], part["passed"]) for part in self.results()["parts"]]
        self.assertEqual(names, [("peaks", True), ("torch", True)])

    def test_a_part_fails(self):
        self.machine()
        done = self.kit("--only", "check,peaks", CHECK_STATUS="1")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(
            [(part["part"], part["passed"]) for part in self.results()["parts"]],
            [("check", False), ("peaks", True)],
        )

    def test_no_time(self):
        self.machine()
        done = self.kit("--only", "check", "--seconds", "0")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no time is left", done.stderr)


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""The small reference models on the device against float64 logits: a line of JSON each, on stdout.

    golden.py STRATA DEVICE FOLDER

FOLDER is tests/data/tiny, or a copy of the whole golden/tiny: its runs.jsonl says what to evaluate.
Models that strata does not run are left out.  Exit status 1 when one is too far from its reference,
cannot be evaluated, or has no layer on the device.
"""

import json
import math
import re
import struct
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from models import layers_on_device

ROWS = 4  # of a run, the last ones
# Greatest and root mean square difference of logits, as tests/runtime/test_golden_tiny.c has them;
# sentence vectors: with either GELU.
LIMITS = {"f32": (0.1, 0.015), "q8": (0.6, 0.15), "vectors": (1e-3, 1e-3)}


def npy_rows(path):
    """The rows of a little-endian float32 array."""
    data = path.read_bytes()
    size = struct.unpack_from("<H", data, 8)[0]
    shape = re.search(rb"'shape': \(([\d, ]*)\)", data[10 : 10 + size])[1]
    dims = [int(n) for n in shape.decode().split(",") if n.strip()]
    values = struct.unpack_from(f"<{math.prod(dims)}f", data, 10 + size)
    return [values[at : at + dims[-1]] for at in range(0, len(values), dims[-1])]


def strata(arguments, lines):
    """What a command prints for these lines, and how many layers are on the device."""
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as log:
        done = subprocess.run(
            [*arguments, "--event-log", log.name, "-q"],
            input="".join(json.dumps(line) + "\n" for line in lines),
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip() or f"exit status {done.returncode}")
        return [json.loads(line) for line in done.stdout.splitlines()], layers_on_device(log.read())


def logits(program, how, path, compute, runs, wanted):
    """The last rows of each run, in as many rows as are wanted."""
    lines = [
        {"ids": run["ids"][: len(run["ids"]) - back]}
        for run, rows in zip(runs, wanted, strict=True)
        for back in range(len(rows) - 1, -1, -1)
    ]
    arguments = [program, "logits", "-m", path, *how, "--compute", compute]
    found, on_device = strata([*arguments, "--top", str(len(wanted[0][0]))], lines)
    rows = [[value for _, value in sorted(line["top"])] for line in found]
    starts = [sum(map(len, wanted[:i])) for i in range(len(wanted) + 1)]
    return [rows[a:b] for a, b in zip(starts, starts[1:], strict=False)], on_device


def vectors(program, how, path, runs):
    arguments = [program, "embed", "-m", path, *how, "--no-normalize"]
    found, on_device = strata(arguments, [{"text": run["text"]} for run in runs])
    return [[line["embedding"]] for line in found], on_device


def line_of(name, compute, found, wanted, on_device, encoder):
    off = [
        abs(a - b) for x, y in zip(found, wanted, strict=True) for a, b in zip(x, y, strict=True)
    ]
    rms = math.sqrt(sum(x * x for x in off) / len(off))
    most, most_rms = LIMITS["vectors" if encoder else compute]
    # Encoders may be on the host.
    right = max(off) <= most and rms <= most_rms and (on_device > 0 or encoder)
    line = {"golden": name, "compute": compute, "max": max(off), "rms": rms}
    return line | {"layers_on_device": on_device, "ok": right}


def compare(program, device, folder, model, runs, compute):
    """A line for each run of a model."""
    path, how = str(folder / model), ["--device", device]
    names = [f"{model.removesuffix('.gguf')}.{run['run']}" for run in runs]
    encoder = (folder / f"{names[0]}.pooled.npy").exists()
    kind = "pooled" if encoder else "logits"
    wanted = [npy_rows(folder / f"{name}.{kind}.npy")[-ROWS:] for name in names]
    try:
        if encoder:
            found, on_device = vectors(program, how, path, runs)
        else:
            found, on_device = logits(program, how, path, compute, runs, wanted)
        return [
            line_of(name, compute, rows, rows_wanted, on_device, encoder)
            for name, rows, rows_wanted in zip(names, found, wanted, strict=True)
        ]
    except (RuntimeError, KeyError, ValueError, OSError, subprocess.SubprocessError) as error:
        text = f"{type(error).__name__}: {error}"
        return [{"golden": model, "compute": compute, "ok": False, "error": text}]


def jobs_of(folder, names):
    """Model, its runs, and how to compute; of encoders what can be given as a text."""
    runs = [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]
    for model in sorted(names):
        of_it = [run for run in runs if run["model"] == model and run["run"] != "random7"]
        if (folder / f"{model.removesuffix('.gguf')}.{of_it[0]['run']}.pooled.npy").exists():
            yield model, [run for run in of_it if "text" in run], "f32"
        else:
            yield from ((model, of_it, compute) for compute in ("f32", "q8"))


def runnable(program, folder):
    """The names of the models in the folder that strata runs."""
    found = set()
    for path in folder.glob("*.gguf"):
        done = subprocess.run([program, "inspect", path, "--json"], capture_output=True, text=True)
        if done.returncode == 0 and json.loads(done.stdout)["runnable"]:
            found.add(path.name)
    return found


def main():
    program, device, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    jobs = list(jobs_of(folder, runnable(program, folder)))
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda job: compare(program, device, folder, *job), jobs)
        lines = [line for of_it in found for line in of_it]
    for line in lines:
        print(json.dumps(line), flush=True)
    return 0 if lines and all(line["ok"] for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Whole models by strata on the device: a line of JSON for each phase, on stdout.

    models.py STRATA SECONDS DEVICE MODEL.gguf...

Prefill of 512 and 4096 tokens, decoding of 1, 8 and 64 sequences; of a model that makes sentence
vectors 1 and 64 texts of 256 tokens.  The file of a model is named
SHAPE-TYPE.gguf (make_model).  What would begin SECONDS after the start is left out, and said
on stderr.  Exit status 1 when something failed.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = (
    "-p 512 -n 64 -b 1 -r 3",
    "-p 0 -n 32 -b 64 -d 128 -r 2",
    "-p 0 -n 32 -b 8 -d 128 -r 2",
    "-p 4096 -n 0 -b 1 -r 2",
)
ENCODER_RUNS = ("-p 256 -n 0 -b 64 -r 3", "-p 256 -n 0 -b 1 -r 5")


def layers_on_device(events):
    """How many of a model's layers have a device as the end of their last move."""
    place = {}
    for line in events.splitlines():
        event = json.loads(line)
        if event["kind"] == "moved":
            place[event["layer"]] = event["to"]
    return sum(to not in ("host", "disk") for to in place.values())


def ask(arguments, timeout):
    """What a command of strata prints with --json, and its moves of layers."""
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as log:
        done = subprocess.run(
            [*arguments, "--event-log", log.name, "-q"],
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip() or f"exit status {done.returncode}")
        return json.loads(done.stdout), layers_on_device(log.read())


def about(strata, path):
    """A model's runs, and how many weights each token is multiplied with, without the head."""
    done = subprocess.run([strata, "inspect", path, "--json"], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    model = json.loads(done.stdout)
    weights = 0
    for tensor in model["tensors"]:
        if tensor["name"].startswith("blk.") and len(tensor["shape"]) == 2:
            weights += tensor["shape"][0] * tensor["shape"][1]
    return (ENCODER_RUNS if model["architecture"] == "bert" else RUNS), weights


def line_of(path, result, on_device, weights):
    shape, _, kind = path.stem.rpartition("-")
    tokens = result["prompt"] or 1
    return {
        "model": shape,
        "type": kind.upper(),
        "by": "strata",
        "phase": result["phase"],
        "sequences": result["batch"],
        "tokens": tokens,
        "depth": result["depth"],
        "ms": result["ms_p50"],
        "ms_p95": result["ms_p95"],
        "tokens_per_s": result["tokens_per_s"],
        "gb_per_s": result["bytes_per_s"] / 1e9,
        "tops": 2 * weights * result["tokens_per_s"] / 1e12,
        "layers_on_device": on_device,
    }


def measure(strata, device, path, end):
    """Prints the lines of a model; returns whether all are there."""
    whole = True
    try:
        runs, weights = about(strata, path)
    except RuntimeError as error:
        print(f"{path.stem}: {error}", file=sys.stderr)
        return False
    for run in runs:
        arguments = [strata, "bench", "-m", str(path), "--device", device, "--json"]
        arguments += ["--memory-limit", "64GB", *run.split()]
        try:
            left = end - time.monotonic()
            if left <= 0:
                raise RuntimeError("no time is left")
            found, on_device = ask(arguments, left)
            for result in found["results"]:
                print(json.dumps(line_of(path, result, on_device, weights)), flush=True)
        except (RuntimeError, subprocess.SubprocessError) as error:
            print(f"{path.stem}: {run}: {error}", file=sys.stderr)
            whole = False
    return whole


def main():
    strata, seconds, device = sys.argv[1:4]
    end = time.monotonic() + float(seconds)
    whole = [measure(strata, device, Path(path), end) for path in sys.argv[4:]]
    return 0 if all(whole) else 1


if __name__ == "__main__":
    sys.exit(main())

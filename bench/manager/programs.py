"""Runs strata-bench and strata, and says what they run on.

A measurement is {"speed", "unit", "work"}; work is what one call does (operations or tokens).  A
task is a function that takes a folder with both programs and returns measurements by name."""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

TOGETHER = 16  # kernels that share a process
PROMPT, NEW = 256, 32  # tokens to prefill and to decode


class Failure(Exception):
    """Ends the program with a message."""

    def __init__(self, text, status=1):
        super().__init__(text)
        self.status = status


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def output_of(*command):
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Failure(f"{words[0]}: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        status = done.returncode if 0 < done.returncode <= 5 else 1
        raise Failure(f"{' '.join(words[:2])}: {said}", status)
    return done.stdout


# ---- Kernels


def kernel_names(folder, pattern):
    return output_of(folder / "strata-bench", "kernels", "--filter", pattern, "--list").split()


def run_kernels(folder, pattern, min_time, *words):
    """What strata-bench says of the kernels: a row each."""
    command = [folder / "strata-bench", "kernels", "--json", "--filter", pattern]
    return json.loads(output_of(*command, "--min-time", min_time, *words))["benchmarks"]


def kernel_tasks(names, min_time):
    def task(part):
        pattern = f"^({'|'.join(part)})$"

        def measure(folder):
            rows = run_kernels(folder, pattern, min_time, "--no-roofline")
            return {row["name"]: kernel_measurement(row) for row in rows}

        return measure

    return [task(names[i : i + TOGETHER]) for i in range(0, len(names), TOGETHER)]


def kernel_measurement(row):
    """Processor time, which other programs of a busy host disturb less."""
    calls_per_s = 1e9 / row["cpu_time"]
    return {"speed": calls_per_s, "unit": "calls/s", "work": row["ops_per_s"] / calls_per_s}


# ---- Models


def absolute_models(models):
    """Files by their whole path, so that the baseline means the same from any folder."""
    return [str(Path(model).absolute()) if Path(model).exists() else model for model in models]


def model_names(models):
    return [f"{model_label(m)}/{phase}" for m in models for phase in ("prefill", "decode")]


def model_label(model):
    return re.sub(r"\.gguf$", "", Path(model).name)


def model_tasks(models):
    def task(model):
        def measure(folder):
            command = [folder / "strata", "bench", "-m", model, "-p", PROMPT, "-n", NEW, "-r", 1]
            rows = json.loads(output_of(*command, "--json"))["results"]
            return {f"{model_label(model)}/{row['phase']}": model_measurement(row) for row in rows}

        return measure

    return [task(model) for model in models]


def model_measurement(row):
    work = row["prompt"] or row["new"]
    return {"speed": row["tokens_per_s"], "unit": "tokens/s", "work": work}


# ---- The host


def version(folder):
    return output_of(folder / "strata", "--version").split()[-1]


def host(folder):
    """What makes one machine's speed differ from another's."""
    fields = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    levels = json.loads(output_of(folder / "strata", "topology", "--json"))["isa"]
    return {
        "cpu": fields.get("model name", platform.processor()),
        "cores": len(os.sched_getaffinity(0)),
        "level": os.environ.get("STRATA_CPU") or levels[-1],
        "flags": sorted(fields.get("flags", fields.get("Features", "")).split()),
    }


def host_difference(kept, here):
    """In words; empty when there is none."""
    for key in ("cpu", "cores", "level"):
        if kept[key] != here[key]:
            return f"{key} {kept[key]} there, {here[key]} here"
    flags = sorted(set(kept["flags"]) ^ set(here["flags"]))
    return f"the processor's flags differ: {' '.join(flags)}" if flags else ""

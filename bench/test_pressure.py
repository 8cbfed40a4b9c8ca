#!/usr/bin/env python3
"""test_pressure.py LIBRARY: one cycle of bench/pressure with SmolLM2-135M, and a planted bug.

Exit status 77: the model, or the right to make a memory cgroup, is not there.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def model():
    cache = os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME", "/"), ".cache")
    home = os.environ.get("STRATA_HOME") or Path(cache, "strata")
    return Path(home, "models/smollm2-135m.gguf")


def run(library, folder, *options):
    command = [sys.executable, "-B", HERE / "pressure", "-m", model(), "-n", "1", "--no-times"]
    command += ["--library", library, "--out", folder, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        print(done.stderr.strip())
        sys.exit(77)
    found = json.loads(Path(folder, "pressure.json").read_text())
    return done, found


def main():
    library = Path(sys.argv[1]).resolve()
    if not model().is_file():
        print(f"skipped: {model()} is not there (run ./tools/fetch-models)")
        return 77
    with tempfile.TemporaryDirectory(prefix="strata_test.") as folder:
        done, found = run(library, folder)
        assert done.returncode == 0, done.stdout + done.stderr
        assert found["wrong_tokens"] == 0 and found["kills"] == 0
        assert found["per_cycle"][0]["least_host_bytes"] < found["lines"][0]["host"]
        done, found = run(library, folder, "--plant")
        assert done.returncode == 1 and found["wrong_tokens"] > 0, done.stdout + done.stderr
    print("one cycle: 0 wrong tokens, 0 kills; the planted bug was found")
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""From bench_cuda's lines to a file of results, a table, and a picture where matplotlib is.

    report.py LINES NAME FOLDER
"""

import datetime
import json
import re
import sys
from pathlib import Path


def table(device, kernels, models):
    print(f"{device['device']}: copies at {device['copy_gb_per_s']} GB/s\n")
    print(f"{'product':40} {'us':>9} {'GB/s':>8} {'of copy':>8}")
    for k in kernels:
        name = f"{k['kernel']} {k['type']} {k['rows']} x {k['k']}, {k['tokens']} token(s)"
        print(f"{name:40} {k['us']:9.2f} {k['gb_per_s']:8.1f} {100 * k['of_copy']:6.0f} %")
    print(f"\n{'decoder':34} {'ms':>9} {'tokens/s':>9} {'of floor':>8}")
    for m in models:
        name = f"{m['model']} {m['type']} {m['phase']} {m['sequences']} x {m['tokens']}"
        print(f"{name:34} {m['ms']:9.3f} {m['tokens_per_s']:9.1f} {100 * m['of_floor']:6.0f} %")


def picture(path, device, kernels):
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        print("no picture: matplotlib is not there")
        return
    figure, axes = plt.subplots(figsize=(9, 5))
    for tokens, mark in ((1, "o"), (8, "s")):
        rows = [k for k in kernels if k["tokens"] == tokens]
        intensity = [k["tops"] * 1e3 / k["gb_per_s"] for k in rows]
        axes.loglog(intensity, [k["tops"] for k in rows], mark, label=f"{tokens} token(s)")
        for k, x in zip(rows, intensity, strict=True):
            axes.annotate(k["type"], (x, k["tops"]), fontsize=6)
    edges = [0.5, 64]
    axes.loglog(edges, [e * device["copy_gb_per_s"] / 1e3 for e in edges], label="copy bandwidth")
    axes.set_xlabel("operations per byte of weights")
    axes.set_ylabel("10^12 operations/s")
    axes.set_title(f"Products of packed weights on {device['device']}")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main():
    lines = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    if not lines or "device" not in lines[0]:
        sys.exit("bench_cuda gave no results")
    device = lines[0]
    kernels = [line for line in lines if "kernel" in line]
    models = [line for line in lines if "model" in line]
    name = re.sub(r"[^a-z0-9]+", "_", sys.argv[2].lower()).strip("_")
    stem = Path(sys.argv[3]) / f"gpu-{name}-{datetime.date.today():%Y%m%d}"
    stem.with_suffix(".json").write_text(
        json.dumps({"device": device, "kernels": kernels, "models": models}, indent=1) + "\n"
    )
    table(device, kernels, models)
    picture(stem.with_suffix(".png"), device, kernels)


if __name__ == "__main__":
    main()

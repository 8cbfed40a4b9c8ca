#!/usr/bin/env python3
"""From the lines of JSON that parts of run.sh print to a file of results, tables, and a picture
where matplotlib is.

    report.py LINES NAME FOLDER

Writes gpu-NAME-DATE.json and .png into FOLDER.  Lines of a kind that it does not know are kept.
"""

import datetime
import json
import re
import sys
from pathlib import Path

# What a line is, by the first of these keys that it has: the list that it goes to.
LISTS = {
    "part": "parts",
    "golden": "golden",
    "kernel": "kernels",
    "model": "models",
    "moves_of": "moves",
    "continuations": "scores",
    "device": "device",
    "torch": "torch",
}


def lines_of(text):
    """The objects of the lines; one that was cut off as its part ran out of time is left out."""
    found = []
    for line in filter(None, text.splitlines()):
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            print(f"cut off: {line[:60]}", file=sys.stderr)
    return found


def results_of(lines):
    """The lists of lines; device is one object, of all lines about it."""
    found = {name: [] for name in LISTS.values()} | {"device": {}, "other": []}
    for line in lines:
        name = next((to for key, to in LISTS.items() if key in line), "other")
        if name == "device":
            found["device"] = line | found["device"]  # bench_peaks comes first
        else:
            found[name].append(line)
    for line in found["models"]:
        copy = found["device"].get("copy_gb_per_s")
        if copy and "gb_per_s" in line and line["phase"] == "decode":
            line["of_floor"] = round(line["gb_per_s"] / copy, 4)
    return found


# ---- Tables


def cell(value, form):
    return format(value, form) if value is not None else "-"


def percent(value):
    return cell(None if value is None else 100 * value, ".0f")


def print_table(heads, rows):
    """The first column to the left, the others to the right; nothing without rows."""
    if not rows:
        return
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    for row in [heads, *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(cells).rstrip())
    print()


def device_table(device):
    if not device:
        return
    print(f"{device['device']}, compute capability {device.get('compute', '?')}")
    units = {"copy_gb_per_s": "GB/s copied", "f16_tops": "10^12 float16 op/s by mma.sync"}
    for key, unit in units.items():
        if key in device:
            print(f"  {device[key]:9.1f} {unit}")
    for name, rate in device.get("link_gb_per_s", {}).items():
        print(f"  {rate:9.1f} GB/s {name.replace('_', ' ')}")
    print()


def kernel_row(k, peak):
    name = " ".join(filter(None, [k["kernel"], k.get("type"), k.get("shape")]))
    tops = k.get("tops")
    of_peak = tops / peak if peak and tops is not None else None
    return [
        name,
        cell(k.get("us"), ".2f"),
        cell(k.get("gb_per_s"), ".1f"),
        percent(k.get("of_copy")),
        cell(tops, ".2f"),
        percent(of_peak),
    ]


def model_row(m):
    name = f"{m['model']} {m['type']} {m['phase']} {m['sequences']} x {m['tokens']}"
    return [
        f"{name}, {m.get('by', 'kernels')}",
        cell(m.get("ms"), ".3f"),
        cell(m.get("tokens_per_s"), ".1f"),
        percent(m.get("of_floor")),
        cell(m.get("tops"), ".1f"),
        str(m.get("layers_on_device", "-")),
    ]


def move_rows(move):
    for way in ("to_host", "to_device"):
        m = move[way]
        yield [
            f"{move['moves_of']}, layer {move['layer']}, {way.replace('_', ' ')}",
            f"{m['bytes'] / 1e6:.1f}",
            f"{m['stage_ms_p50']:.2f}",
            f"{m['pause_ms_p50']:.3f}",
            f"{m['pause_ms_max']:.3f}",
            f"{move['token_ms_p50']:.2f}",
            f"{move['token_ms_max_moving']:.2f}",
        ]


def score_row(s):
    name = f"{s['continuations']} x {s['length']} tokens after {s['prefix']}"
    return [name, *(f"{s[way]:.2f}" for way in ("score_ms", "alone_ms", "batch_ms"))]


def golden_row(g):
    if "error" in g:
        return [f"{g['golden']} {g['compute']}", "-", "-", "-", g["error"]]
    verdict = "" if g["ok"] else "WRONG"
    numbers = [f"{g['max']:.4f}", f"{g['rms']:.4f}", str(g["layers_on_device"])]
    return [f"{g['golden']} {g['compute']}", *numbers, verdict]


def print_tables(found):
    device_table(found["device"])
    heads = ["reference model", "max", "rms", "on device", ""]
    print_table(heads, [golden_row(g) for g in found["golden"]])
    heads = ["kernel", "us", "GB/s", "% of copy", "10^12 op/s", "% of peak"]
    peak = found["device"].get("f16_tops")
    print_table(heads, [kernel_row(k, peak) for k in found["kernels"]])
    heads = ["model", "ms", "tokens/s", "% of floor", "10^12 op/s", "on device"]
    models = sorted(
        found["models"], key=lambda m: (m["model"], m["phase"], m["sequences"], m["tokens"])
    )
    print_table(heads, [model_row(m) for m in models])
    heads = ["move", "MB", "staged ms", "pause ms", "longest", "token ms", "longest token"]
    print_table(heads, [row for move in found["moves"] for row in move_rows(move)])
    heads = ["continuations", "tree ms", "one by one", "a batch"]
    print_table(heads, [score_row(s) for s in found["scores"]])
    parts = [
        [p["part"], f"{p['seconds']} s", "passed" if p["passed"] else "FAILED"]
        for p in found["parts"]
    ]
    print_table(["part", "took", ""], parts)


# ---- Picture


def picture(path, device, kernels):
    """Products under the rooflines; without matplotlib, or products, none."""
    points = [k for k in kernels if k.get("tops") and k.get("gb_per_s")]
    if not points or "copy_gb_per_s" not in device:
        print("no picture: no kernels were measured")
        return
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        print("no picture: matplotlib is not there")
        return
    figure, axes = plt.subplots(figsize=(9, 6))
    for kernel, mark in zip(dict.fromkeys(k["kernel"] for k in points), "os^Dvx" * 9, strict=False):
        rows = [k for k in points if k["kernel"] == kernel]
        x = [k["tops"] * 1e3 / k["gb_per_s"] for k in rows]
        axes.loglog(x, [k["tops"] for k in rows], mark, markersize=4, label=kernel, alpha=0.7)
    copy, peak = device["copy_gb_per_s"] / 1e3, device.get("f16_tops")
    edges = [0.5, peak / copy if peak else 64]
    axes.loglog(edges, [e * copy for e in edges], "k-", label="copy bandwidth")
    if peak:
        axes.loglog([edges[1], 4096], [peak, peak], "k--", label="float16 mma.sync")
    axes.set_xlabel("operations per byte")
    axes.set_ylabel("10^12 operations/s")
    axes.set_title(f"Kernels on {device['device']}")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main():
    lines = lines_of(Path(sys.argv[1]).read_text())
    if not lines:
        sys.exit("no part gave results")
    found = results_of(lines)
    name = re.sub(r"[^a-z0-9]+", "_", sys.argv[2].lower()).strip("_")
    stem = Path(sys.argv[3]) / f"gpu-{name}-{datetime.date.today():%Y%m%d}"
    stem.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    print_tables(found)
    picture(stem.with_suffix(".png"), found["device"], found["kernels"])


if __name__ == "__main__":
    main()

"""The suite report: index.html, its pictures, and results.json, which can make them again."""

import html
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import programs
from programs import Failure, progress
from store import Store, date, write, write_json

HERE = Path(__file__).resolve().parent
FAMILIES = "packed_q8 packed_f32 gemm gemv attention dequantize".split()
WORST_ROWS = 20

STYLE = """
:root { color-scheme: light dark; --line: #ccc; --faint: #666; }
@media (prefers-color-scheme: dark) { :root { --line: #444; --faint: #aaa; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-size: 14px; margin: 0.5rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: 0.2rem 0.8rem; text-align: right;
         font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { font-weight: 600; }
img { max-width: 100%; height: auto; }
summary { cursor: pointer; }
p.note { color: var(--faint); max-width: 45rem; }
"""


# ---- Measuring


def measure(args):
    with Store() as store, store.copies(args.programs) as folder:
        progress("measuring the roofline")
        said = programs.output_of(folder / "strata-bench", "roofline", "--json", "-t", "1")
        progress("measuring kernels")
        rows = programs.run_kernels(folder, args.filter, args.min_time)
        progress("")
        return {
            "suite": "report",
            "date": date(),
            "version": programs.version(folder),
            "host": programs.host(folder),
            "min_time_s": args.min_time,
            "roofline": json.loads(said)["results"],
            "kernels": [kernel(row) for row in rows],
        }


def kernel(row):
    """packed_q8_Q4_1_avx2/k:576/m:1: an operation at a level and a shape."""
    head, _, shape = row["name"].partition("/")
    operation, _, level = head.rpartition("_")
    return {
        "name": row["name"],
        "operation": operation,
        "level": level,
        "shape": shape,
        "ops_per_s": row["ops_per_s"],
        "bytes_per_s": row["bytes_per_s"],
        "of_roofline": row["of_roofline"],
    }


def earlier(path):
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(f"{path}: {error}") from None
    if not isinstance(found, dict) or found.get("suite") != "report":
        raise Failure(f"{path}: not the results.json of a report", 3)
    return found


# ---- Pictures


def plot_python():
    """An interpreter that has matplotlib, or None: this one, or the system's."""
    for python in (sys.executable, "/usr/bin/python3"):
        if os.access(python, os.X_OK):
            ask = [python, "-I", "-c", "import matplotlib"]
            if not subprocess.run(ask, capture_output=True, check=False).returncode:
                return python
    return None


def family(operation):
    return next((name for name in FAMILIES if operation.startswith(name)), "others")


def plot(python, folder, results, run):
    """Writes the PNG files."""
    task = {
        "folder": str(folder),
        "roofline": results["roofline"],
        "families": [*FAMILIES, "others"],
        "points": [
            {
                "level": row["level"],
                "family": family(row["operation"]),
                "x": row["ops_per_s"] / row["bytes_per_s"],
                "y": row["ops_per_s"] / 1e9,
            }
            for row in results["kernels"]
        ],
        "ratios": run["results"] if run else [],
    }
    command = [python, "-B", str(HERE / "plots.py")]
    done = subprocess.run(
        command, input=json.dumps(task), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Failure(f"plots.py: {done.stderr.strip()}")


# ---- The page


def table(head, rows):
    def line(tag, cells):
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(c))}</{tag}>" for c in cells) + "</tr>"

    body = "\n".join(line("td", row) for row in rows)
    return f"<table>\n<thead>{line('th', head)}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def picture(name, text):
    return (
        f'<picture><source srcset="{name}-dark.png" media="(prefers-color-scheme: dark)">'
        f'<img src="{name}.png" alt="{html.escape(text)}"></picture>'
    )


def host_part(results):
    host = results["host"]
    text = f"{host['cpu']}, {host['cores']} cores, kernels up to {host['level']}"
    return (
        f"<p>strata {html.escape(results['version'])} on {html.escape(text)}; {results['date']}</p>"
    )


def roofline_part(results, plotted):
    rows = [
        [row["level"]]
        + [f"{row[key] / 1e9:.1f}" for key in ("memory_bytes_per_s", "l1_bytes_per_s")]
        + [f"{row[key] / 1e9:.1f}" for key in ("f32_ops_per_s", "int8_ops_per_s")]
        for row in results["roofline"]
    ]
    head = ["level", "memory GB/s", "L1 GB/s", "f32 Gop/s", "int8 Gop/s"]
    text = "Each kernel as a point under the measured ceilings of its level"
    return [
        "<h2>Roofline</h2>",
        '<p class="note">Measured on one thread. A point is a kernel at a shape: operations a byte'
        " that it moves, and operations a second. Kernels that read weights are bound by memory"
        " on the left and by arithmetic on the right; those that work in caches may lie above the"
        " memory line, under that of the first-level cache (L1).</p>",
        picture("roofline", text) if plotted else "",
        table(head, rows),
    ]


def kernel_cells(row):
    return [
        f"{row['ops_per_s'] / 1e9:.1f}",
        f"{row['bytes_per_s'] / 1e9:.1f}",
        f"{row['ops_per_s'] / row['bytes_per_s']:.2f}",
        f"{100 * row['of_roofline']:.0f} %",
    ]


def chosen(results):
    """Of each operation and shape the row of the highest level, which is what a model runs."""
    levels = [row["level"] for row in results["roofline"]]
    rows = sorted(results["kernels"], key=lambda row: levels.index(row["level"]))
    return {(row["operation"], row["shape"]): row for row in rows}.values()


def kernels_part(results):
    rows = results["kernels"]
    head = ["Gop/s", "GB/s", "ops/byte", "of roofline"]
    worst = sorted(chosen(results), key=lambda row: row["of_roofline"])[:WORST_ROWS]
    parts = [
        "<h2>Kernels</h2>",
        "<h3>Furthest below the roofline, at the highest level of each</h3>",
        table(["kernel", *head], [[row["name"], *kernel_cells(row)] for row in worst]),
        "<h3>All, by operation</h3>",
    ]
    for operation in dict.fromkeys(row["operation"] for row in rows):
        own = [row for row in rows if row["operation"] == operation]
        middle = statistics.median(row["of_roofline"] for row in own)
        cells = [[row["level"], row["shape"], *kernel_cells(row)] for row in own]
        title = f"{html.escape(operation)}: {len(own)}, median {100 * middle:.0f} % of roofline"
        parts.append(f"<details><summary>{title}</summary>")
        parts.append(table(["level", "shape", *head], cells) + "</details>")
    return parts


def comparison_part(runs, plotted):
    if not runs:
        return ["<h2>Comparisons</h2>", "<p>None yet: strata bench compare makes one.</p>"]
    run = runs[-1]
    text = f"Against the baseline of {run['baseline']['date']}, in {run['rounds']} rounds."
    rows = [
        [r["name"], r["verdict"], f"{r['ratio']:.3f}", f"{r['low']:.3f} to {r['high']:.3f}"]
        for r in run["results"]
    ]
    past = [
        [r["date"], r["version"], r["baseline"]["version"], len(r["results"])]
        + [r["slower"], r["faster"], "yes" if r["moved"] else ""]
        for r in reversed(runs)
    ]
    head = ["date", "strata", "baseline", "benchmarks", "slower", "faster", "baseline moved"]
    return [
        f"<h2>Last comparison, {run['date']}</h2>",
        f'<p class="note">{html.escape(text)} A ratio above 1 is faster; the interval holds the'
        " median with 95 % confidence.</p>",
        picture("ratios", "Ratios of the last comparison") if plotted else "",
        table(["benchmark", "verdict", "ratio", "95 % interval"], rows),
        "<h2>Comparisons</h2>",
        table(head, past),
    ]


def page(results, runs, plotted):
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>strata benchmarks</title>',
        '<meta name="viewport" content="width=device-width">',
        f"<style>{STYLE}</style></head><body>",
        "<h1>strata benchmarks</h1>",
        host_part(results),
        *roofline_part(results, plotted),
        *kernels_part(results),
        *comparison_part(runs, plotted),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def suite(args):
    python = None if args.no_plots else plot_python()
    if not python and not args.no_plots:
        raise Failure("no matplotlib: install it (Debian: python3-matplotlib), or give --no-plots")
    results = earlier(args.source) if args.source else measure(args)
    runs = Store().history()["runs"]
    args.out.mkdir(parents=True, exist_ok=True)
    if python:
        plot(python, args.out.absolute(), results, runs[-1] if runs else None)
    write_json(args.out / "results.json", results)
    write(args.out / "index.html", page(results, runs, bool(python)))
    print(args.out / "index.html")
    return 0

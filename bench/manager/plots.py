"""The pictures of a report, from one JSON object on stdin (report.py: plot).  Needs matplotlib 3.6
or later; each is drawn for light and for dark pages."""

import json
import math
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402 (after the choice of a backend)

LOOKS = {"": "default", "-dark": "dark_background"}
COLOURS = "#1f8fdb #d55e00 #009e73 #cc79a7 #e69f00 #a06be0 #8a8a8a".split()
MARKERS = "osD^vPX"
GREY = "#888888"
SLOWER_BELOW, FASTER_ABOVE = 0.97, 1.03
MOST_RATIOS = 40


# ---- Roofline


def limits(points, ceilings):
    """Of both axes, the same in all panels, so that levels can be compared."""
    peaks = [max(ceiling["f32"], ceiling["int8"]) for ceiling in ceilings]
    xs = [point["x"] for point in points] + [0.1, 10]
    ys = [point["y"] for point in points] + peaks
    return (min(xs) / 2, max(xs) * 3), (min(ys) / 2, max(ys) * 2.5)


def draw_slope(axes, rate, top, text, style):
    """A ceiling of GB/s: from the left edge to where it meets the highest one of Gop/s."""
    left, right = axes.get_xlim()
    end = min(top / rate, right)
    axes.plot([left, end], [rate * left, rate * end], color=GREY, ls=style, lw=1.2)
    start = max(left, axes.get_ylim()[0] / rate)
    at = start * (end / start) ** 0.1
    axes.text(
        at,
        at * rate * 1.1,
        text,
        fontsize=8,
        color=GREY,
        va="bottom",
        rotation=math.degrees(math.atan(rate)),
        rotation_mode="anchor",
        transform_rotates_text=True,
    )


def draw_level(axes, ceiling, points, families):
    l1, peaks = ceiling["l1"], {name: ceiling[name] for name in ("f32", "int8")}
    top = max(peaks.values())
    draw_slope(axes, ceiling["memory"], top, f"memory {ceiling['memory']:.0f} GB/s", "-")
    draw_slope(axes, l1, top, f"L1 {l1:.0f} GB/s", "--")
    right = axes.get_xlim()[1]
    for name, peak in peaks.items():
        axes.plot([peak / l1, right], [peak, peak], color=GREY, lw=1.2)
        axes.text(right * 1.08, peak, f"{name} {peak:.0f}", fontsize=8, color=GREY, va="center")
    for name, colour, marker in zip(families, COLOURS, MARKERS, strict=True):
        own = [p for p in points if p["family"] == name and p["level"] == ceiling["level"]]
        axes.scatter(
            [p["x"] for p in own],
            [p["y"] for p in own],
            s=22,
            color=colour,
            marker=marker,
            alpha=0.85,
            linewidths=0,
            label=name,
            zorder=3,
        )
    axes.set_title(ceiling["level"], fontsize=11)
    axes.grid(True, which="major", alpha=0.25)


def in_giga(rows):
    """Ceilings on one thread.  Memory is as fast at all levels: the best reading counts for all."""
    rows = [row for row in rows if row["threads"] == 1]
    memory = max(row["memory_bytes_per_s"] for row in rows)
    return [
        {
            "level": row["level"],
            "memory": memory / 1e9,
            "l1": row["l1_bytes_per_s"] / 1e9,
            "f32": row["f32_ops_per_s"] / 1e9,
            "int8": row["int8_ops_per_s"] / 1e9,
        }
        for row in rows
    ]


def draw_roofline(task):
    ceilings = in_giga(task["roofline"])
    columns = min(3, len(ceilings))
    rows = math.ceil(len(ceilings) / columns)
    size = (max(5 * columns, 8), 4.2 * rows + 0.6)
    figure, grid = pyplot.subplots(
        rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    panels = grid.flatten()
    x_limits, y_limits = limits(task["points"], ceilings)
    panels[0].set(xscale="log", yscale="log", xlim=x_limits, ylim=y_limits)
    for axes, ceiling in zip(panels[: len(ceilings)], ceilings, strict=True):
        draw_level(axes, ceiling, task["points"], task["families"])
    for axes in panels[len(ceilings) :]:
        axes.remove()
    for axes in panels[max(len(ceilings) - columns, 0) : len(ceilings)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("operations a byte")
    for line in grid:
        line[0].set_ylabel("Gop/s")
    handles, labels = panels[0].get_legend_handles_labels()
    legend_height = 0.35 / figure.get_figheight()
    figure.get_layout_engine().set(rect=(0, legend_height, 1, 1 - legend_height))
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), frameon=False)
    return figure


# ---- Ratios


def draw_ratios(task):
    rows = sorted(task["ratios"], key=lambda row: -abs(math.log(row["ratio"])))[:MOST_RATIOS]
    rows.sort(key=lambda row: -row["ratio"])
    figure, axes = pyplot.subplots(figsize=(10, 1.4 + 0.26 * len(rows)), layout="constrained")
    colours = {"slower": COLOURS[1], "faster": COLOURS[2], "same": GREY, "changed": GREY}
    for at, row in enumerate(rows):
        colour = colours[row["verdict"]]
        axes.plot([row["low"], row["high"]], [at, at], color=colour, lw=2.5, alpha=0.6)
        axes.plot(row["ratio"], at, "o", color=colour, ms=5)
    axes.axvspan(SLOWER_BELOW, FASTER_ABOVE, color=GREY, alpha=0.15, lw=0)
    axes.axvline(1, color=GREY, lw=1)
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=8)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xlabel("speed over the baseline's: median and its 95 % interval")
    if len(task["ratios"]) > len(rows):
        axes.set_title(f"the {len(rows)} of {len(task['ratios'])} furthest from 1", fontsize=10)
    return figure


def main():
    task = json.load(sys.stdin)
    drawings = {"roofline": draw_roofline}
    if task["ratios"]:
        drawings["ratios"] = draw_ratios
    for suffix, look in LOOKS.items():
        with pyplot.style.context(look):
            for name, draw in drawings.items():
                figure = draw(task)
                path = Path(task["folder"], f"{name}{suffix}.png")
                new = path.with_name(f"{path.name}.new")
                figure.savefig(new, dpi=110, format="png")
                new.replace(path)
                pyplot.close(figure)


if __name__ == "__main__":
    main()

"""Slower, faster or the same: what the ratios of a comparison say, and for how many runs."""

import random
import statistics

SLOWER_BELOW, FASTER_ABOVE = 0.97, 1.03
CONFIDENCE = 0.95
RESAMPLES = 2000
RUNS_TO_MOVE = 3  # successive ones that show an improvement
ORDER = ("slower", "faster", "same", "changed")


def interval(ratios):
    """The bootstrap interval of the median; the same ratios give the same interval."""
    draw = random.Random(0)
    count = len(ratios)
    medians = sorted(statistics.median(draw.choices(ratios, k=count)) for _ in range(RESAMPLES))
    tail = round((1 - CONFIDENCE) / 2 * RESAMPLES)
    return medians[tail], medians[-1 - tail]


def classify(low, high):
    if high < SLOWER_BELOW:
        return "slower"
    return "faster" if low > FASTER_ABOVE else "same"


def judge(name, pairs):
    """The result of a benchmark, from the measurements (old, new) of each round."""
    ratios = [new["speed"] / old["speed"] for old, new in pairs]
    low, high = interval(ratios)
    # A benchmark whose calls do something else than before says nothing about speed.
    changed = any(abs(new["work"] / old["work"] - 1) > 0.001 for old, new in pairs)
    return {
        "name": name,
        "verdict": "changed" if changed else classify(low, high),
        "ratio": statistics.median(ratios),
        "low": low,
        "high": high,
        "ratios": ratios,
        "old_speed": statistics.median(old["speed"] for old, _ in pairs),
        "new_speed": statistics.median(new["speed"] for _, new in pairs),
        "unit": pairs[0][1]["unit"],
        "work": pairs[0][1]["work"],
    }


def ordered(rows):
    """Regressions first, the worst at the top."""
    return sorted(rows, key=lambda row: (ORDER.index(row["verdict"]), row["ratio"]))


def count(rows, verdict):
    return sum(row["verdict"] == verdict for row in rows)


def next_streaks(streaks, rows):
    """In how many successive runs each benchmark was faster.  A run with a regression starts all
    counts anew; what a run did not measure keeps its count."""
    if count(rows, "slower"):
        return {}
    after = dict(streaks)
    for row in rows:
        name = row["name"]
        if row["verdict"] == "faster":
            after[name] = after.get(name, 0) + 1
        else:
            after.pop(name, None)
    return after


def holds(streaks, rows):
    """Has a benchmark that this run measured been faster in enough successive runs?"""
    return any(streaks.get(row["name"], 0) >= RUNS_TO_MOVE for row in rows)

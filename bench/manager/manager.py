#!/usr/bin/env python3
"""The suites baseline, compare and report of strata-bench, which runs this program.

Speeds on a host that others use too drift by more than most changes of a program are worth, so a
baseline is a copy of the programs: compare runs it and the present ones, alternating.
"""

import argparse
import json
import signal
import statistics
import sys
from pathlib import Path

import programs
import report
import verdict
from programs import Failure, progress
from store import Store, date, same_programs

MIN_TIME = 0.05  # seconds a kernel; less would measure caches
ROUNDS = 9
FEWEST_ROUNDS = 3


# ---- What to measure


def scope_of(args, default):
    """Kernels (the pattern of their names, or None) and models: kernels where --filter asks for
    them or nothing else is asked for."""
    if args.filter is None and not args.model:
        return default
    models = programs.absolute_models(args.model)
    labels = [programs.model_label(model) for model in models]
    if len(set(labels)) < len(labels):
        raise Failure("two models have the same name", 2)
    return {"filter": args.filter, "models": models}


def listed(folder, scope):
    return programs.kernel_names(folder, scope["filter"]) if scope["filter"] is not None else []


def tasks_of(kernels, scope, min_time):
    return programs.kernel_tasks(kernels, min_time) + programs.model_tasks(scope["models"])


def measure(folder, tasks):
    results = {}
    for i, task in enumerate(tasks):
        progress(f"part {i + 1} of {len(tasks)}")
        results |= task(folder)
    progress("")
    return results


def alternate(old, new, tasks, rounds):
    """Measurements (old, new) of each round, by name.  Who goes first alternates too."""
    pairs = {}
    for number in range(rounds):
        for i, task in enumerate(tasks):
            progress(f"round {number + 1} of {rounds}, part {i + 1} of {len(tasks)}")
            found = {folder: task(folder) for folder in ((old, new), (new, old))[number % 2]}
            for name, measured in found[old].items():
                pairs.setdefault(name, []).append((measured, found[new][name]))
    progress("")
    return pairs


# ---- Baseline


def baseline_suite(args):
    with Store() as store, store.copies(args.programs) as folder:
        scope = scope_of(args, {"filter": ".", "models": []})
        tasks = tasks_of(listed(folder, scope), scope, args.min_time)
        results = measure(folder, tasks)
        kept = describe(folder, scope, args.min_time, results)
        no_more_interrupts()
        store.publish(folder, kept)
        print(f"the baseline is strata {programs.version(store.link)}, {len(results)} benchmarks")
    return 0


def no_more_interrupts():
    """What was measured is kept now: being interrupted would leave half of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def describe(folder, scope, min_time, results):
    return {
        "date": date(),
        "version": programs.version(folder),
        "host": programs.host(folder),
        **scope,
        "min_time_s": min_time,
        "results": results,
    }


# ---- Compare


def compare_suite(args):
    with Store() as store, store.copies(args.programs) as new:
        old, kept = store.baseline()
        difference = programs.host_difference(kept["host"], programs.host(old))
        if difference:
            raise Failure(f"the baseline is of another host: {difference}")
        scope = scope_of(args, {"filter": kept["filter"], "models": kept["models"]})
        run, rows = compare(old, new, kept, scope, args)
        history = store.history()
        history["streaks"] = verdict.next_streaks(history["streaks"], rows)
        missed = not_measured(new, kept, rows)
        ready = verdict.holds(history["streaks"], rows)
        run["moved"] = ready and not missed and not args.no_move
        history["runs"].append(run)
        kept = describe(new, scope, args.min_time, {row["name"]: measurement(row) for row in rows})
        no_more_interrupts()
        if run["moved"]:
            store.publish(new, kept)
        store.write_history(history)
    show(run, args.json)
    if ready:
        say_moved(run, missed, args)
    return 1 if run["slower"] else 0


def compare(old, new, kept, scope, args):
    """What goes into the history, and its rows."""
    before, after = listed(old, scope), listed(new, scope)
    kernels = [name for name in before if name in set(after)]
    if not kernels and not scope["models"]:
        raise Failure("no benchmark that the filter matches is in both programs")
    pairs = alternate(old, new, tasks_of(kernels, scope, args.min_time), args.rounds)
    rows = verdict.ordered(verdict.judge(name, found) for name, found in pairs.items())
    then = {name: row["speed"] for name, row in kept["results"].items()}
    drifts = [row["old_speed"] / then[row["name"]] for row in rows if row["name"] in then]
    run = {
        "suite": "compare",
        "date": date(),
        "host": kept["host"],
        "baseline": {"date": kept["date"], "version": kept["version"]},
        "version": programs.version(new),
        "same_programs": same_programs(old, new),
        "rounds": args.rounds,
        "min_time_s": args.min_time,
        "drift": statistics.median(drifts) if drifts else None,
        "only_baseline": sorted(set(before) - set(after)),
        "only_present": sorted(set(after) - set(before)),
        "slower": verdict.count(rows, "slower"),
        "faster": verdict.count(rows, "faster"),
        "results": rows,
    }
    return run, rows


def measurement(row):
    return {"speed": row["new_speed"], "unit": row["unit"], "work": row["work"]}


def not_measured(new, kept, rows):
    """Benchmarks of the baseline that the present program has too, but this run left out: one of
    them may have become slower."""
    present = {*programs.kernel_names(new, "."), *programs.model_names(kept["models"])}
    return (set(kept["results"]) & present) - {row["name"] for row in rows}


def show(run, as_json):
    if as_json:
        print(json.dumps(run, indent=1))
        return
    width = max(len(row["name"]) for row in run["results"])
    print(f"{'benchmark':<{width}} {'ratio':>6} {'95 % interval':>15}  verdict")
    for row in run["results"]:
        span = f"{row['low']:.3f} to {row['high']:.3f}"
        print(f"{row['name']:<{width}} {row['ratio']:>6.3f} {span:>15}  {row['verdict']}")
    for key, words in (("only_baseline", "gone"), ("only_present", "new, nothing to compare")):
        for name in run[key]:
            print(f"{name:<{width}} {words}")
    print(f"{run['slower']} slower, {run['faster']} faster, of {len(run['results'])}")
    if run["drift"]:
        print(f"the baseline itself runs at {run['drift']:.2f} of the speed it was kept with")
    if run["same_programs"]:
        print("both are the same programs: what differs is noise")


def say_moved(run, missed, args):
    seen = f"an improvement held in {verdict.RUNS_TO_MOVE} runs"
    if run["moved"]:
        text = f"{seen}: the baseline is now strata {run['version']}, the present programs"
    elif args.no_move:
        text = f"{seen}; --no-move leaves the baseline"
    else:
        text = f"{seen}; the baseline stays, since {len(missed)} of its benchmarks were left out"
    print(text, file=sys.stderr if args.json else sys.stdout)


# ---- The command line


def whole(least):
    def read(text):
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"{text} is not at least {least}")
        return number

    return read


def seconds(text):
    number = float(text)
    if not 1e-6 <= number <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not from 1e-6 to 3600")
    return number


def add_scope(parser, default):
    parser.add_argument("--filter", metavar="RE", help="kernels in whose names it is found")
    parser.add_argument(
        *("-m", "--model"),
        action="append",
        default=[],
        help=f"prefill and decode of a model; may be given again. Without both: {default}",
    )


def add_suite(suites, name, run, text):
    parser = suites.add_parser(
        name, help=text, description=text, allow_abbrev=False, prog=f"strata-bench {name}"
    )
    parser.set_defaults(run=run)
    for program in ("strata-bench", "strata"):
        parser.add_argument(
            f"--{program}", type=Path, required=True, help=argparse.SUPPRESS, metavar="FILE"
        )
    parser.add_argument(
        "--min-time",
        type=seconds,
        default=MIN_TIME,
        metavar="SECONDS",
        help=f"of each kernel (default {MIN_TIME})",
    )
    return parser


def read_arguments(words):
    parser = argparse.ArgumentParser(prog="strata-bench", allow_abbrev=False)
    suites = parser.add_subparsers(required=True, metavar="SUITE")

    suite = add_suite(suites, "baseline", baseline_suite, "Keep these programs, and their speed.")
    add_scope(suite, "all kernels")

    text = "Measure the baseline and these programs, alternating; exit status 1: one is slower."
    suite = add_suite(suites, "compare", compare_suite, text)
    add_scope(suite, "what the baseline measured")
    text = f"at least {FEWEST_ROUNDS} (default {ROUNDS})"
    suite.add_argument(
        "--rounds", type=whole(FEWEST_ROUNDS), default=ROUNDS, metavar="N", help=text
    )
    suite.add_argument(
        "--no-move", action="store_true", help="leave the baseline, also after improvements"
    )
    suite.add_argument("--json", action="store_true", help="one JSON object on stdout")

    text = "Write a page with the roofline, all kernels, and the last comparisons."
    suite = add_suite(suites, "report", report.suite, text)
    suite.add_argument("--filter", metavar="RE", default=".", help="kernels to measure")
    suite.add_argument(
        "--out",
        type=Path,
        default=Path("bench-report"),
        metavar="FOLDER",
        help="(default bench-report)",
    )
    suite.add_argument(
        "--from",
        type=Path,
        dest="source",
        metavar="FILE",
        help="the results.json of an earlier report, instead of measuring",
    )
    suite.add_argument("--no-plots", action="store_true", help="without PNG files")
    args = parser.parse_args(words)
    args.programs = {"strata-bench": args.strata_bench, "strata": args.strata}
    return args


def terminate(*_):
    sys.exit(128 + signal.SIGTERM)


def main():
    signal.signal(signal.SIGTERM, terminate)
    args = read_arguments(sys.argv[1:])
    try:
        return args.run(args)
    except Failure as failure:
        progress("")
        print(f"strata-bench: {failure}", file=sys.stderr)
        return failure.status
    except KeyboardInterrupt:
        progress("")
        print("strata-bench: interrupted; the baseline is as it was", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())

"""What the manager keeps in $STRATA_HOME/bench:

    baseline -> kept-ID   a folder: strata-bench, strata, baseline.json (host, scope, results)
    history.json          the last comparisons, and how often each improvement was seen
    lock                  held by the one manager that measures

A new folder is work-ID until it is complete, and becomes the baseline when the link is replaced, in
one step; what an interrupted run left is removed by the next one.
"""

import contextlib
import datetime
import fcntl
import json
import os
import shutil
from pathlib import Path

from programs import Failure

HISTORY_RUNS = 20
PROGRAMS = ("strata-bench", "strata")


def home():
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("STRATA_HOME") or Path(cache) / "strata").absolute() / "bench"


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def date():
    return now().isoformat(timespec="seconds")


def write(path, text):
    written = path.with_name(path.name + ".new")
    written.write_text(text, encoding="utf-8")
    written.replace(path)


def write_json(path, value):
    write(path, json.dumps(value, indent=1) + "\n")


class Store:
    """Open within `with`, which holds the lock."""

    def __init__(self):
        self.folder = home()
        self.link = self.folder / "baseline"

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = open(self.folder / "lock", "w", encoding="utf-8")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.lock.close()
            raise Failure("another suite is measuring, and would be disturbed") from None
        self.remove_leftovers()
        return self

    def __exit__(self, *_):
        self.lock.close()

    def remove_leftovers(self):
        kept = self.link.resolve().name
        for folder in (*self.folder.glob("work-*"), *self.folder.glob("kept-*")):
            if folder.name != kept:
                shutil.rmtree(folder)

    @contextlib.contextmanager
    def copies(self, programs):
        """A folder with copies of the programs: what is built meanwhile does not change them.  Its
        path is as long as the baseline's, since the length of arguments moves the stack."""
        folder = self.folder / f"work-{now():%Y%m%dT%H%M%S%f}"
        folder.mkdir()
        try:
            for name in PROGRAMS:
                copy_program(programs[name], folder / name)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, work, baseline):
        """Makes a folder of `copies` the baseline."""
        write_json(work / "baseline.json", baseline)
        kept = work.with_name(work.name.replace("work-", "kept-"))
        link = self.folder / "baseline.new"
        link.unlink(missing_ok=True)
        link.symlink_to(kept.name)
        work.rename(kept)
        link.replace(self.link)
        self.remove_leftovers()

    def baseline(self):
        """The baseline's folder, and what its baseline.json says."""
        path = self.link / "baseline.json"
        if not path.exists():
            raise Failure("there is no baseline yet: strata bench baseline makes one")
        return self.link.resolve(), json.loads(path.read_text(encoding="utf-8"))

    def history(self):
        """Of the present baseline, the counts; of earlier ones too, the runs, oldest first."""
        path = self.folder / "history.json"
        found = {"runs": []}
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
        kept = self.link.resolve().name
        if found.get("baseline") != kept:
            found |= {"baseline": kept, "streaks": {}}
        return found

    def write_history(self, history):
        history["runs"] = history["runs"][-HISTORY_RUNS:]
        write_json(self.folder / "history.json", history)


def copy_program(source, target):
    if not source.exists():
        raise Failure(f"{source} is not there: both strata and strata-bench are needed")
    shutil.copy2(source, target)
    if b"libstrata.so" in target.read_bytes():
        raise Failure(f"{source} is linked with libstrata.so, which a copy would not keep")


def same_programs(one, other):
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in PROGRAMS)

"Processes: which there are, and what became of them."

import time
from pathlib import Path


def state(pid):
    "R, S, D, T (stopped), Z (ended, not yet waited for), or None."
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None


def gone(pids):
    "Have all of them ended?"
    return all(state(pid) in (None, "Z") for pid in pids)


def children(pid):
    "Processes that descend from this one, by id."
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue  # it ended while we looked

    out, new = set(), {pid}
    while new:
        new = {p for p, parent in parents.items() if parent in new} - out
        out |= new
    return out


def wait(condition, seconds=60):
    "Until it holds."
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.01)

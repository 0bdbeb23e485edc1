"""Requirements at one end of what settings.ini allows: `python tools/ends.py oldest` pins every
lower bound as it is written, `newest` leaves all open. The tools of the quick tests come last."""

import argparse
import configparser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = "pytest pytest-xdist hypothesis ipywidgets nbclient nbformat ipykernel"


def requirements(which):
    settings = configparser.ConfigParser(delimiters=["="])
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    wanted = settings["DEFAULT"]["requirements"].split()
    if which == "oldest":
        wanted = [w.replace(">=", "==") for w in wanted]
    return [*wanted, *TOOLS.split()]


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("which", choices=("oldest", "newest"))
    print("\n".join(requirements(ap.parse_args().which)))

"""Everything the page how_true_is_it shows, made anew after the law has changed.

python benchmarks/how_true.py       (a few minutes: extrapolate.py --skip-chinchilla, ceiling.py,
the page with its outputs, and nbs/images/held_out.png, the picture of all held-out runs)
"""

import base64
import os
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "nbs" / "explanations" / "how_true_is_it.ipynb"
PICTURE = ROOT / "nbs" / "images" / "held_out.png"


def run(script, *options):
    "A script of ours, with the package of this checkout"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-W", "ignore", str(ROOT / script), *map(str, options)]
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | dict(PYTHONPATH=path))


def first_picture(page):
    "The first PNG among a page's outputs"
    cells = nbformat.read(page, 4).cells
    outputs = [o for c in cells if c.cell_type == "code" for o in c.outputs]
    return next(
        base64.b64decode(o.data["image/png"]) for o in outputs if "image/png" in o.get("data", {})
    )


if __name__ == "__main__":
    run("benchmarks/extrapolate.py", "--skip-chinchilla")
    run("benchmarks/ceiling.py")
    run("tools/execute.py", PAGE)
    PICTURE.write_bytes(first_picture(PAGE))

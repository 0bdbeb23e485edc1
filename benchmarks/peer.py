"The peer's package in a virtual environment of its own, made on first use."

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENV = ROOT / "build" / "benchmark_env"  # chinchilla 0.2.0, from PyPI


def python():
    "The interpreter that has chinchilla 0.2.0 and pandas"
    python = ENV / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENV)], check=True)
    if not list(ENV.glob("lib/python*/site-packages/chinchilla-0.2.0*")):
        install = ["-m", "pip", "install", "-q", "chinchilla==0.2.0", "pandas"]
        subprocess.run([str(python), *install], check=True, capture_output=True)
    return python


def answer(script, *args):
    "What a script run there prints after RESULT"
    command = [str(python()), "-c", script, *map(str, args)]
    out = subprocess.run(command, capture_output=True, text=True)
    if out.returncode:
        sys.exit(f"chinchilla 0.2.0 failed:\n{out.stderr[-3000:]}")
    return out.stdout.split("RESULT")[1]

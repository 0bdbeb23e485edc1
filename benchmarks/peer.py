"The peer's package in a virtual environment of its own, made on first use."

import hashlib
import json
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


THEIR_FITS = '''
import json, sys, tempfile
import numpy as np, pandas as pd
from chinchilla import Chinchilla
from chinchilla._metrics import log_huber
out = {}
for name, rows in json.load(open(sys.argv[1])).items():
    df = pd.DataFrame(rows); low = df.loss.min()
    exponents = np.linspace(.1, .7, 4)
    grid = dict(e=np.log(low*np.linspace(.3, .95, 4)), a=np.linspace(2, 9, 4),
                b=np.linspace(2, 10, 4), alpha=exponents, beta=exponents)
    cc = Chinchilla(tempfile.mkdtemp(), param_grid=grid,
                    seed_ranges=dict(C=(1e18, 1e21), N_to_D=(5, 100)),
                    loss_fn=lambda y, p: log_huber(y, p, 1e-3), log_level=40)
    cc.database.df = df
    cc.visualizer.optim = lambda *a, **k: None
    try: cc.fit(); out[name] = {k: float(v) for k, v in cc.get_params().items()}
    except Exception as e: out[name] = repr(e)
print("RESULT" + json.dumps(out))
'''


def fits(tables):
    "Parameters that chinchilla 0.2.0 fits to each table"
    python()
    path = ENV / "extrapolate.json"
    kept = ENV / "extrapolate_fits.json"  # half a minute a fit: what was fitted before is kept
    out = json.loads(kept.read_text()) if kept.exists() else {}
    key = lambda table: hashlib.sha256(
        table.to_csv(index=False, float_format="%.9g").encode()
    ).hexdigest()[:16]
    for name, table in tables.items():
        if key(table) in out:
            continue
        path.write_text(json.dumps({name: table.to_dict("list")}))
        out[key(table)] = json.loads(answer(THEIR_FITS, path))[name]
        kept.write_text(json.dumps(out))
        print(f"chinchilla 0.2.0: {name}", file=sys.stderr, flush=True)
    return {name: out[key(table)] for name, table in tables.items()}

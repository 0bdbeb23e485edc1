"The console commands, as they are typed."
import json, os, subprocess, sys
from pathlib import Path
import numpy as np, pandas as pd, pytest
from flops_fit.cli import main
from flops_fit.sweep import MOCK_LAW

HERE = Path(__file__).parent


def say(capsys, line):
    status = main(line.split())
    out, err = capsys.readouterr()
    return status, out, err


def test_the_stages_chain_on_one_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path); monkeypatch.syspath_prepend(str(HERE))
    (tmp_path/"mine.py").write_text("import torch\nfrom models import Net, xor_data\nclass Data(torch.utils.data.TensorDataset):\n    def __init__(self): super().__init__(*xor_data())\nloss = torch.nn.functional.cross_entropy\ndef right(o, t): return (o.argmax(-1) == t).float().mean()\n")
    status, out, _ = say(capsys, "plan --model mine:Net --size-param width --data mine:Data --loss mine:loss --metrics accuracy=mine:right --budgets 1e6 3e6 1e7 --sizes 8 12 16 --output-dir s")
    assert status == 0 and "flops-fit train" in out and (tmp_path/"s"/"plan.json").exists()
    status, out, err = say(capsys, "train --workers 1 --output-dir s")
    assert (status, out) == (2, "") and len(err.splitlines()) == 2
    names = "--model mine:Net --size-param width --data mine:Data --loss mine:loss --metrics accuracy=mine:right"
    assert f"train --output-dir s --workers 1 {names}; or" in err
    status, out, _ = say(capsys, f"train --workers 1 --output-dir s {names}")
    assert status == 0 and "completed" in out
    assert all(.3 < r["metrics"]["accuracy"] <= 1 for r in json.loads((tmp_path/"s"/"results.json").read_text()))
    status, out, _ = say(capsys, "fit --output-dir s")
    assert status == 0 and "N*" in out and "next:" in out
    status, out, _ = say(capsys, "predict --budgets 1e8 3e8 --output-dir s")
    assert status == 0 and len([l for l in out.splitlines() if l.startswith("|")]) == 4 and "Epochs" in out
    status, out, _ = say(capsys, "predict --budgets 1e8 3e8 --output-dir s --unique-tokens none")
    assert status == 0 and "Epochs" not in out
    status, out, _ = say(capsys, "plot --output-dir s")
    assert status == 0 and (tmp_path/"s"/"plots"/"isoflops.png").exists()


def test_fit_answers_for_people_who_have_runs(tmp_path, capsys):
    rng = np.random.default_rng(0)
    N, C = np.meshgrid(np.geomspace(1e7, 1e9, 8), [1e18, 3e18, 1e19, 3e19])
    D = C/6/N
    p = MOCK_LAW
    loss = (p["E"] + p["A"]/N**p["alpha"] + p["B"]/D**p["beta"])*np.exp(rng.normal(0, .003, N.shape))
    pd.DataFrame(dict(N=N.ravel(), D=D.ravel(), loss=loss.ravel())).to_csv(tmp_path/"runs.csv", index=False)
    status, out, _ = say(capsys, f"fit {tmp_path}/runs.csv --budgets 1e21")
    assert status == 0 and "1e21" in out and "95%" in out
    status, out, _ = say(capsys, f"plot {tmp_path}/runs.csv --output-dir {tmp_path}/p")
    assert status == 0 and (tmp_path/"p"/"plots"/"scaling_laws.png").exists()


@pytest.mark.parametrize("line, says", [("train --output-dir none", "plan first"), ("fit --output-dir none", "plan first"), ("fit none.csv", "none.csv"), ("plan --model no.such:thing --budgets 1e9", "can be imported"),
                                        ("plan --budgets 10", "some size can use")])
def test_mistakes_end_in_one_message(line, says, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = say(capsys, line)
    assert status == 2 and says in err and "Traceback" not in err and os.listdir(tmp_path) == []


@pytest.mark.parametrize("budget", ["-1e9", "nan", "lots"])
def test_budgets_that_are_no_budgets(budget, capsys):
    with pytest.raises(SystemExit) as e: main(["plan", "--budgets", budget])
    assert e.value.code == 2


@pytest.mark.parametrize("line", ["predict --budgets 1e9 --unique-tokens few", "predict --budgets 1e9 --unique-tokens -3", "plan --budgets 1e9 --metrics accuracy", "fit --columns loss="])
def test_options_that_mean_nothing(line, capsys):
    with pytest.raises(SystemExit) as e: main(line.split())
    assert e.value.code == 2


@pytest.mark.parametrize("name", ["flops-fit", "ff-plan", "ff-train", "ff-analyze", "ff-visualize"])
def test_commands_are_installed(name):
    exe = Path(sys.executable).with_name(name)
    assert subprocess.run([exe, "--help"], capture_output=True).returncode == 0

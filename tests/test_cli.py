"""The console commands, as they are typed: what they do, what they refuse to run, and how a mistake
ends."""

import json, os, shutil, signal, socket, subprocess, sys, time
from pathlib import Path
import numpy as np, pandas as pd, pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from flops_fit import cli
from flops_fit.cli import main
from flops_fit.planner.plan import SweepPlan
from flops_fit.planner.dataset import ContractError
from flops_fit.fitter.laws import FitError
from flops_fit.trainer.sweep import MOCK_LAW

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent

MINE = """
import torch
from models import Net, xor_data

class Data(torch.utils.data.TensorDataset):
    def __init__(self, n=4000): super().__init__(*xor_data(n))

loss = torch.nn.functional.cross_entropy

def right(o, t): return (o.argmax(-1) == t).float().mean()

def broken(o, t):
    if len(t) > 2: raise RuntimeError("broken for good\\nand all")
    return loss(o, t)
"""
NAMES = (
    "--model mine:Net --size-param width --data mine:Data --loss mine:loss --metrics "
    "accuracy=mine:right"
)
SIZES = "--budgets 1e6 3e6 1e7 --sizes 8 12 16"


@pytest.fixture
def place(tmp_path, monkeypatch):
    "An empty folder to stand in. What is imported from it is forgotten afterwards."
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(HERE)])
    yield tmp_path
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    "A folder with the plan and the task of the demo's kind of model."
    folder = tmp_path_factory.mktemp("planned") / "s"
    assert main(f"plan --budgets 3e10 1e11 3e11 --sizes 8 16 24 --output-dir {folder}".split()) == 0
    return folder


def say(capsys, line):
    capsys.readouterr()
    try:
        status = main(line.split() if isinstance(line, str) else line)
    except SystemExit as e:
        status = e.code
    out, err = capsys.readouterr()
    return status, out, err


def two_lines(err, command):
    "Is this an error as all of ours are: the command and what is wrong, and what helps?"
    lines = err.splitlines()
    return len(lines) == 2 and lines[0].startswith(f"flops-fit {command}: ") and lines[1] != ""


def usage(err):
    "Is this what argparse says?"
    return err.startswith("usage: flops-fit") and ": error: " in err.splitlines()[-1]


# ---- what the commands do


def test_the_stages_chain_on_one_folder(place, capsys):
    (place / "mine.py").write_text(MINE)
    status, out, _ = say(capsys, f"plan {NAMES} {SIZES} --output-dir s")
    assert (
        status == 0
        and out.endswith(f"next: flops-fit train --output-dir s {NAMES}\n")
        and (place / "s" / "plan.json").exists()
    )
    status, out, _ = say(capsys, f"train --workers 1 --output-dir s {NAMES}")
    assert status == 0 and "completed" in out
    assert all(
        0.3 < r["metrics"]["accuracy"] <= 1
        for r in json.loads((place / "s" / "results.json").read_text())
    )
    status, out, _ = say(capsys, "fit --output-dir s")
    assert status == 0 and "N*" in out and "next:" in out
    status, out, _ = say(capsys, "predict --budgets 1e8 3e8 --output-dir s")
    assert (
        status == 0
        and len([l for l in out.splitlines() if l.startswith("|")]) == 4
        and "Epochs" in out
    )
    status, out, _ = say(capsys, "predict --budgets 1e8 3e8 --output-dir s --unique-tokens none")
    assert status == 0 and "Epochs" not in out
    status, out, _ = say(capsys, "plot --output-dir s")
    assert status == 0 and (place / "s" / "plots" / "isoflops.png").exists()


def runs_csv(path):
    rng = np.random.default_rng(0)
    N, C = np.meshgrid(np.geomspace(1e7, 1e9, 8), [1e18, 3e18, 1e19, 3e19])
    D = C / 6 / N
    p = MOCK_LAW
    loss = (p["E"] + p["A"] / N ** p["alpha"] + p["B"] / D ** p["beta"]) * np.exp(
        rng.normal(0, 0.003, N.shape)
    )
    pd.DataFrame(dict(N=N.ravel(), D=D.ravel(), loss=loss.ravel())).to_csv(path, index=False)
    return path


def test_fit_answers_for_people_who_have_runs(tmp_path, capsys):
    runs_csv(tmp_path / "runs.csv")
    status, out, _ = say(capsys, f"fit {tmp_path}/runs.csv --budgets 1e21")
    assert status == 0 and "1e21" in out and "95%" in out
    status, out, _ = say(capsys, f"plot {tmp_path}/runs.csv --output-dir {tmp_path}/p")
    assert status == 0 and (tmp_path / "p" / "plots" / "scaling_laws.png").exists()


@pytest.mark.parametrize("name", ["flops-fit", "ff-plan", "ff-train", "ff-analyze", "ff-visualize"])
def test_commands_are_installed(name):
    done = subprocess.run([BIN / name, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--debug" in done.stdout


# ---- code from a folder is never run unasked


def canary(path, ran):
    "A module that leaves a mark when it is imported and when it is called."
    path.write_text(
        (
            f"def run(*args, **kwargs): open({str(ran)!r}, 'a').write('called "
            f"')\nopen({str(ran)!r}, 'a').write('imported ')\n"
        )
    )


@pytest.fixture
def trap(place, planned):
    "A folder from a stranger, and canaries wherever a name could find one."
    shutil.copytree(planned, place / "s")
    canary(place / "canary.py", place / "ran")
    canary(place / "s" / "inside.py", place / "ran")
    return place


def change(place, **fields):
    file = place / "s" / "task.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


UNNAMED = dict(
    data=dict(data="canary:run"),
    model=dict(model="canary:run"),
    loss=dict(loss="canary:run"),
    held_out=dict(eval_data="canary:run"),
    metric=dict(metrics={"m": "canary:run"}),
    all=dict(model="canary:run", data="canary:run", loss="canary:run"),
    a_program=dict(data="subprocess:check_output", data_kwargs={"args": ["touch", "ran"]}),
    a_shell=dict(data="os:system", data_kwargs={"command": "touch ran"}),
    an_argument=dict(size_param="num_layers"),
    code_in_the_folder=dict(data="inside:run"),
    the_folder_as_a_package=dict(data="s.inside:run"),
)


@pytest.mark.parametrize("fields", UNNAMED.values(), ids=UNNAMED)
def test_what_only_the_file_names_is_not_run(fields, trap, capsys):
    change(trap, **fields)
    before = sorted(trap.rglob("*"))
    status, out, err = say(capsys, "train --output-dir s --workers 1")
    assert (
        status == 2
        and out == ""
        and two_lines(err, "train")
        and "s/task.json" in err
        and "--trust" in err
    )
    told, fix = err.splitlines()
    for role, name in fields.items():
        if role.endswith("kwargs"):
            continue
        option, name = (
            ("m=", name["m"]) if role == "metrics" else (f"--{role.replace('_', '-')} ", name)
        )
        assert f"{role} m {name}" in told if role == "metrics" else f"{role} {name}" in told
        assert option + name in fix.split(": flops-fit train --output-dir s --workers 1 ")[1]
    assert not (trap / "ran").exists() and sorted(trap.rglob("*")) == before


REFUSED = dict(
    call=dict(data="canary:run()"),
    no_colon=dict(data="canary"),
    path=dict(data="../canary:run"),
    attribute=dict(data="canary:run.__call__"),
    newline=dict(data="canary:run\n"),
    spaces=dict(data=" canary:run"),
    empty=dict(data=""),
    number=dict(data=1),
    none=dict(model=None),
    list=dict(loss=["canary:run"]),
    long=dict(model="canary:" + "r" * 1000),
    kwargs_list=dict(model_kwargs=["canary:run"]),
    kwargs_text=dict(data_kwargs="canary:run"),
    unknown_field=dict(setup="canary:run"),
    metrics_list=dict(metrics=["canary:run"]),
    metric_name=dict(metrics={"a\n\x1b[2J": "canary:run"}),
    newer=dict(format=2),
    format_text=dict(format="1"),
    format_true=dict(format=True),
)


@pytest.mark.parametrize("trust", ["", " --trust"])
@pytest.mark.parametrize("fields", REFUSED.values(), ids=REFUSED)
def test_what_is_no_task_is_refused_even_when_trusted(fields, trust, trap, capsys):
    change(trap, **fields)
    status, out, err = say(capsys, "train --output-dir s --workers 1" + trust)
    assert (
        status == 2
        and out == ""
        and two_lines(err, "train")
        and "s/task.json" in err
        and "\x1b" not in err
    )
    assert not (trap / "ran").exists() and sorted(os.listdir(trap / "s")) == [
        "inside.py",
        "plan.json",
        "task.json",
    ]
    assert ("pip install --upgrade" in err) == (fields == dict(format=2))


CONTENT = dict(
    nothing=b"",
    torn=b'{"model": "flops_fit.exam',
    zeros=bytes(400),
    latin=b'{"model": "\xe9"}',
    nan=b'{"format": NaN}',
    list=b"[]",
    null=b"null",
    text=b'"canary:run"',
    deep=b'{"format": 1, "model_kwargs": ' + b'{"a": ' * 100_000,
    pickle=b"\x80\x04\x95canary",
    huge=b" " * (1 << 20) + b"{}",
    missing=b'{"format": 1}',
)


@pytest.mark.parametrize("content", CONTENT.values(), ids=CONTENT)
def test_files_that_hold_no_task(content, trap, capsys):
    (trap / "s" / "task.json").write_bytes(content)
    status, out, err = say(capsys, "train --output-dir s --workers 1 --trust")
    assert (
        status == 2
        and out == ""
        and two_lines(err, "train")
        and "s/task.json" in err
        and not (trap / "ran").exists()
    )


@pytest.mark.parametrize(
    "kind", ["directory", "pipe", "link", "loop", "device", "socket", "unreadable", "gone"]
)
def test_files_that_are_no_files(kind, trap, capsys):
    file = trap / "s" / "task.json"
    file.rename(trap / "real.json")
    if kind == "directory":
        file.mkdir()
    if kind == "pipe":
        os.mkfifo(file)
    if kind == "link":
        file.symlink_to(trap / "real.json")
    if kind == "loop":
        file.symlink_to("task.json")
    if kind == "device":
        file.symlink_to("/dev/zero")
    if kind == "socket":
        socket.socket(socket.AF_UNIX).bind("s/task.json")
    if kind == "unreadable":
        if os.geteuid() == 0:
            pytest.skip("root reads everything")
        shutil.copy(trap / "real.json", file)
        file.chmod(0)
    begun = time.monotonic()
    status, out, err = say(capsys, "train --output-dir s --workers 1 --trust")
    assert (
        status == 2
        and out == ""
        and two_lines(err, "train")
        and "s/task.json" in err
        and time.monotonic() - begun < 30
    )


@pytest.mark.parametrize("line", ["fit", "predict --budgets 1e12", "plot", "train --mock"])
def test_other_commands_do_not_look_at_names(line, trap, capsys):
    change(trap, model="canary:run", data="canary:run", loss="canary:run")
    status, _, _ = say(capsys, f"{line} --output-dir s")
    assert status == (0 if "mock" in line else 2) and not (trap / "ran").exists()


@pytest.mark.parametrize("options", ["--trust", "--data canary:run"])
def test_what_is_named_or_trusted_is_run(options, trap, capsys):
    "The canaries sing: what the tests above find silent would be heard."
    change(trap, data="canary:run", data_kwargs={"n": 3})
    status, out, err = say(capsys, f"train --output-dir s --workers 1 {options}")
    assert (trap / "ran").read_text() == "imported called "
    assert status == 2 and two_lines(err, "train")  # it is no dataset
    assert (
        out.startswith(
            (
                "from s/task.json: model flops_fit.examples.gpt:byte_gpt(d_model), data "
                "canary:run(n=3), "
            )
        )
        and out.count("\n") == 1
    )


@pytest.mark.parametrize(
    "options",
    ["--model canary:run", "--loss canary:run --model canary:run", "--metrics data=canary:run"],
)
def test_a_name_in_another_part_is_not_that_name(options, trap, capsys):
    change(trap, data="canary:run")
    status, _, err = say(capsys, f"train --output-dir s --workers 1 {options}")
    assert (
        status == 2
        and two_lines(err, "train")
        and "data canary:run" in err
        and not (trap / "ran").exists()
    )


@pytest.mark.parametrize("name", ["inside:run", "s.inside:run"])
@pytest.mark.parametrize("stand", [".", "s"])
def test_nothing_is_imported_from_the_sweep_s_folder(name, stand, trap, capsys, monkeypatch):
    change(trap, data=name)
    monkeypatch.chdir(stand)
    status, _, err = say(capsys, f"train --output-dir {trap / 's'} --workers 1 --trust")
    assert status == 2 and two_lines(err, "train") and not (trap / "ran").exists()


def test_the_command_it_names_is_the_one_that_runs(place, capsys):
    (place / "mine.py").write_text(MINE)
    assert say(capsys, f"plan {NAMES} {SIZES} --data-kwargs {{\"n\":3000}} --output-dir s")[0] == 0
    _, _, err = say(capsys, "train --workers 1 --device cpu --output-dir s")
    line = err.split("give its names: flops-fit ")[1].split("; or add --trust")[0]
    status, out, _ = say(capsys, line)
    assert (
        status == 0
        and (
            "from s/task.json: model mine:Net(width), data mine:Data(n=3000), held out a part of "
            "it, loss mine:loss, metric accuracy=mine:right\n"
        )
        in out
    )


def test_a_task_from_before_formats_were_written(trap, capsys):
    change(trap, data="canary:run")
    said = json.loads((trap / "s" / "task.json").read_text())
    assert said.pop("format") == 1 and said.pop("metrics") == {}
    (trap / "s" / "task.json").write_text(json.dumps(said))
    assert "data canary:run" in say(capsys, "train --output-dir s")[2]


def test_this_folder_is_searched_last_and_only_for_what_is_nowhere_else(place):
    from flops_fit.taskfile import DEFAULT, load_named

    before = list(sys.path)
    canary(place / "colorsys.py", place / "ran")
    for name in (*DEFAULT.names().values(), "colorsys:rgb_to_hsv"):
        if ":" in name:
            load_named(name)
    assert sys.path == before and not (place / "ran").exists()
    (place / "mine.py").write_text("x = 1\n")
    assert load_named("mine:x") == 1 and sys.path == [*before, str(place)]


def test_modules_in_this_folder_stand_in_for_nothing(place):
    "Neither here nor in the processes that train: the library comes first, this folder last."
    (place / "mine.py").write_text(MINE)
    for name in (
        "json",
        "torch",
        "numpy",
        "socket",
        "signal",
        "pickle",
        "multiprocessing",
        "msgspec",
        "flops_fit",
        "safetensors",
        "random",
    ):
        (place / f"{name}.py").write_text(
            (
                f"open({str(place / 'ran')!r}, 'a').write({name!r} + ' ')\nraise SystemExit('a "
                "stranger')\n"
            )
        )
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(HERE)])),
    }
    for line in (
        f"plan {NAMES} {SIZES} --output-dir s",
        f"train --workers 2 --output-dir s {NAMES}",
    ):
        done = subprocess.run(
            [BIN / "flops-fit", *line.split()], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        if sys.version_info < (3, 11) and "workers" in line:
            continue  # before, a process that is started looks here first
        assert not (place / "ran").exists(), (place / "ran").read_text()


# ---- a mistake ends in two lines

MISTAKES = {
    "demo": [
        "",
        "--workers -1",
        "--workers two",
        "--workers 1e3",
        "--output-dir",
        "--verify=yes",
        "--budgets 1e9",
        "now",
        "--workers nan",
        "--output-dir file/x",
        "--output-dir file",
        "--trust",
    ],
    "plan": [
        "",
        "--budgets",
        "--budgets -1e9",
        "--budgets nan",
        "--budgets inf",
        "--budgets lots",
        "--budgets 10",
        "--budgets 1e9 --sizes",
        "--budgets 1e9 --sizes -8",
        "--budgets 1e9 --sizes nan",
        "--budgets 1e9 --num-sizes 0",
        "--budgets 1e9 --num-sizes 1.5",
        "--budgets 1e9 --flops few",
        "--budgets 1e9 --flops -6",
        "--budgets 1e9 --model no.such:thing",
        "--budgets 1e9 --model json",
        "--budgets 1e9 --model json:nothing",
        "--budgets 1e9 --model json:dumps",
        "--budgets 1e9 --model-kwargs [1]",
        "--budgets 1e9 --model-kwargs {1:2}",
        "--budgets 1e9 --model-kwargs {\"colour\":2}",
        "--budgets 1e9 --data-kwargs {\"seq_len\":0}",
        "--budgets 1e9 --data-kwargs {\"root\":\"none\"}",
        "--budgets 1e9 --size-param depth",
        "--budgets 1e9 --size-param a.b",
        "--budgets 1e9 --metrics accuracy",
        "--budgets 1e9 --metrics loss=json:dumps",
        "--budgets 1e10 --output-dir file/x",
        "--budgets 1e9 --eval-data json:dumps",
        "--budgets 1e9 --model failing:Net",
        "--budgets 1e9 --model leaving:Net",
        "--budgets 1e9 --data builtins:exit",
        "--budgets 1e9 --loss flops_fit:__version__",
        "--budgets 1e9 --num-sizes 2000000000",
    ],
    "train": [
        "",
        "--output-dir none",
        "--output-dir file",
        "--workers -1",
        "--workers 9999999",
        "--device",
        "--model a",
        "--data a:b:c",
        "--size-param 1",
        "--metrics a",
        "--mock --output-dir none",
        "--output-dir s --device abacus",
        "--output-dir s --device cuda:99",
        "--output-dir s --loss json:dumps",
        "--trust yes",
        "--output-dir broken",
        "--mock --output-dir broken",
    ],
    "fit": [
        "",
        "none.csv",
        "file",
        "text.csv",
        "empty.csv",
        "--output-dir none",
        "--output-dir s",
        "--columns loss",
        "text.csv --columns colour=x",
        "text.csv --columns loss=y",
        "--budgets 0",
        "--budgets x",
        "--unique-tokens few",
        "--unique-tokens -3",
        "--baseline-loss -3",
        "--output-dir s --baseline-loss 5",
        "text.csv text.csv",
        "s",
        "--output-dir broken",
    ],
    "predict": [
        "",
        "--budgets",
        "--budgets 1e9 none.csv",
        "none.csv --budgets 1e9",
        "--budgets 1e9 --output-dir none",
        "--budgets 1e9 --unique-tokens few",
        "--budgets nan",
        "--budgets 1e9 --columns loss=",
        "empty.csv --budgets 1e9",
        "text.csv --budgets 1e9",
        "s --budgets 1e9",
        "--budgets 1e9 --output-dir s",
    ],
    "plot": [
        "",
        "none.csv",
        "--output-dir none",
        "empty.csv",
        "text.csv",
        "--budgets 1e9",
        "--columns a",
        "s",
        "file",
        "--output-dir s",
        "none.jsonl",
        "--output-dir broken",
    ],
    "prepare": [
        "--text none --tokenizer bytes",
        "--text file --tokenizer bytes",
        "--text file --tokenizer s",
        "--seq-len 0",
        "--seq-len x",
        "--vocab-size -1",
        "--text empty --tokenizer bytes",
        "--text file --tokenizer none/x.model",
        "--text file --tokenizer small.model --vocab-size 9000",
        "--text file --tokenizer bytes --cache-dir file/x",
        "--tokens 1",
        "--seq-len 1 --text",
    ],
    "train-one": [
        "",
        "--tokens",
        "--tokens -1",
        "--tokens nan",
        "--tokens 1e5 --width 0",
        "--tokens 1e5 --heads 1.5",
        "--tokens 1e5 --dropout 2",
        "--tokens 1e5 --precision half",
        "--tokens 1e5 --seed -1",
        "--tokens 1e5 --device abacus",
        "--tokens 1e5 --text none --tokenizer bytes",
        "--tokens 1e5 --evals 0",
        "--tokens 1e5 --text long.txt --tokenizer bytes --seq-len 16 --width 7 --heads 2",
    ],
    "generate": [
        "",
        "--output-dir none",
        "--output-dir file",
        "--output-dir s",
        "--temperature -1",
        "--temperature x",
        "--top-k 0",
        "--top-p 2",
        "--top-p nan",
        "--seed -1",
        "--max-new-tokens 0",
        "--device abacus",
    ],
}


@pytest.fixture(scope="module")
def shelf(planned, tmp_path_factory):
    "Files for the mistakes to be about."
    folder = tmp_path_factory.mktemp("shelf")
    shutil.copytree(planned, folder / "s")
    (folder / "broken").mkdir()
    (folder / "broken" / "plan.json").write_text("{")
    (folder / "file").write_text("mine")
    (folder / "empty").mkdir()
    (folder / "cache").mkdir()
    (folder / "empty.csv").write_text("")
    (folder / "text.csv").write_text("N,D,loss\n1e6,many,2.5\n")
    (folder / "long.txt").write_text(
        "\n<|endoftext|>\n".join(f"Once there was a cat who saw {i} birds." for i in range(300))
    )
    (folder / "failing.py").write_text("raise KeyError('no\\nway')\n")
    (folder / "leaving.py").write_text("raise SystemExit(0)\n")
    return folder


@pytest.mark.parametrize("command", MISTAKES)
def test_mistakes_end_in_two_lines(command, shelf, place, capsys, monkeypatch):
    "Or, where the parser sees them, in its usage and one line."
    assert len(MISTAKES[command]) >= 12

    def cheap(
        output_dir, workers
    ):  # a demo that cannot be written fails at once; one that can is not a mistake
        from flops_fit.trainer.store import RunStore

        if output_dir == "demo":
            raise FitError("runs: expected three budgets, got none. Train more.")
        RunStore(output_dir).prepare()

    monkeypatch.setattr("flops_fit.examples.demo.run_demo", cheap)
    for line in MISTAKES[command]:
        work = place / "work"
        shutil.copytree(shelf, work)
        monkeypatch.chdir(work)
        before = sorted(p for p in work.rglob("*") if p.is_dir() and p.name != "__pycache__")
        if "--text " in line and "--cache-dir" not in line:
            line += " --cache-dir cache"
        status, out, err = say(capsys, f"{command} {line}")
        assert status == 2, f"{line}: {status}\n{out}{err}"
        ours = (
            "\n".join(err.splitlines()[-2:]) if "tokenizing" in err else err
        )  # below the progress of what was done before
        assert usage(err) or two_lines(ours, command), f"{line}:\n{err}"
        assert "Traceback" not in err and out.count("\n") <= 3, f"{line}: {out}"
        assert (
            sorted(p for p in work.rglob("*") if p.is_dir() and p.name != "__pycache__") == before
        ), line  # nothing is begun
        shutil.rmtree(work)


@pytest.mark.parametrize(
    "line, says",
    [
        ("train --output-dir none", "plan first"),
        ("fit --output-dir none", "plan first"),
        ("fit none.csv", "none.csv"),
        ("plan --model no.such:thing --budgets 1e9", "can be imported"),
        ("plan --budgets 10", "some size can use"),
    ],
)
def test_mistakes_name_the_fix_and_write_nothing(line, says, place, capsys):
    status, _, err = say(capsys, line)
    assert (
        status == 2 and says in err and two_lines(err, line.split()[0]) and os.listdir(place) == []
    )


@pytest.mark.parametrize(
    "name, command",
    [("ff_plan", "plan"), ("ff_train", "train"), ("ff_analyze", "fit"), ("ff_visualize", "plot")],
)
def test_the_old_names_do_as_the_new_ones(name, command, place, capsys, monkeypatch):
    words = ["--budgets", "10"] if command == "plan" else ["--output-dir", "none"]
    for debug in ([], ["--debug"]):
        monkeypatch.setattr(sys, "argv", [name, *words, *debug])
        status = getattr(cli, name)()
        err = capsys.readouterr().err
        assert (
            status == 2
            and two_lines("\n".join(err.splitlines()[-2:]), command)
            and ("Traceback" in err) == bool(debug)
        )
        assert (
            main([command, *words]) == 2
            and capsys.readouterr().err.splitlines() == err.splitlines()[-2:]
        )


def fails(monkeypatch, error):
    "Let the command fail in this way."

    def run(args):
        raise error

    monkeypatch.setattr(cli, "_result", run)


ERRORS = {
    ContractError("loss\x1b[2J", "a\nb", "c", "mend it, all of it"): "mend it",
    FitError("runs: expected 3, got 2. There may be more. Add one to them."): "Add one to them.",
    FitError("no more to be said"): "--help",
    OSError(28, "No space left on device", "x/y"): "make room",
    PermissionError(13, "Permission denied", "x"): "permissions",
    MemoryError(): "smaller",
    ModuleNotFoundError("No module named 'wandb'"): "pip install",
    RuntimeError("none of 9 runs completed.\nThe first:\n  Traceback"): "--debug",
    ValueError(""): "--debug",
    KeyError("k"): "--debug",
    ZeroDivisionError("float division"): "--debug",
    RecursionError("deep"): "--debug",
    UnicodeDecodeError("utf8", b"\xff", 0, 1, "no"): "--debug",
    BrokenPipeError(32, "Broken pipe"): "--debug",
}


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_every_kind_of_error_is_two_lines_and_debug_shows_the_rest(error, capsys, monkeypatch):
    fails(monkeypatch, error)
    status, _, err = say(capsys, "plot")
    assert (
        status == 2
        and two_lines(err, "plot")
        and ERRORS[error] in err.splitlines()[1]
        and err.isprintable() == ("\n" not in err)
        and "\x1b" not in err
    )
    for line in ("--debug plot", "plot --debug"):
        status, _, full = say(capsys, line)
        assert (
            status == 2
            and full.startswith("Traceback (most recent call last):")
            and "in run" in full
            and full.endswith(err)
        )


def test_causes_are_told():
    assert (
        cli.problem_and_fix(OSError(28, "No space left on device", "x/y"))[0]
        == "No space left on device: x/y"
    )
    assert (
        cli.problem_and_fix(
            FitError("runs: expected 3, got 2. There may be more. Add one to them.")
        )[0]
        == "runs: expected 3, got 2. There may be more."
    )
    assert cli.problem_and_fix(ContractError("loss", "a number", "nan", "mend it")) == (
        "loss: expected a number, got nan",
        "mend it",
    )
    long = cli.problem_and_fix(RuntimeError("begin " + "x" * 5000 + " end"))[0]
    assert len(long) < 1100 and long.startswith("RuntimeError: begin") and long.endswith("end")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.sampled_from(
        [
            ValueError,
            OSError,
            RuntimeError,
            KeyError,
            ImportError,
            FitError,
            TypeError,
            AssertionError,
        ]
    ),
    a=st.text(max_size=60),
    b=st.text(max_size=60),
)
def test_no_text_of_an_error_makes_more_than_two_lines(kind, a, b, capsys, monkeypatch):
    with monkeypatch.context() as m:
        fails(m, kind(f"{a}. {b}"))
        status, _, err = say(capsys, "plot")
    assert status == 2 and two_lines(err, "plot") and err.replace("\n", "").isprintable()


ODD = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "",
            " ",
            "-",
            "--",
            "0",
            "-1",
            "1e400",
            "nan",
            "None",
            "/",
            "..",
            "\0",
            "a\nb",
            "{}",
            "[" * 2000,
            "{\"a\":" * 2000,
            "a:b",
            "a=b",
            "'",
            "%s",
            "%(prog)s",
            "\udcff",
            "é:ü",
            "x" * 5000,
            "9" * 5000,
            "@x",
            "~",
            "$(touch x)",
            "json:loads",
            "json:",
            ":x",
            "=",
            "loss=",
            "1e9",
            "7",
        ]
    ),
)


@pytest.mark.parametrize("command", MISTAKES)
def test_odd_words_for_every_option(command, place, capsys, monkeypatch):
    """Whatever is typed, nothing but an answer, the parser's line or two lines of ours; demo and
    training are left out, since they would be begun."""
    parser = next(a for a in cli._parser()._actions if a.dest == "command").choices[command]
    options = [
        a
        for a in parser._actions
        if a.option_strings and a.nargs != 0 and a.dest not in ("help", "debug")
    ]
    monkeypatch.setattr(
        "flops_fit.examples.demo.run_demo",
        lambda *a: (_ for _ in ()).throw(FitError("demo: expected none, got one. Stop.")),
    )
    monkeypatch.setattr(
        "flops_fit.examples.tinystories.TinyStoriesDataset._write",
        lambda *a: (_ for _ in ()).throw(ConnectionError("no hub here")),
    )
    monkeypatch.setattr(
        "flops_fit.examples.smalllm.train_tokenizer",
        lambda *a: (_ for _ in ()).throw(ValueError("no text here")),
    )
    monkeypatch.setattr(
        "flops_fit.cli.build_task",
        lambda *a: (_ for _ in ()).throw(ContractError("task", "none", "one", "leave it alone")),
    )
    needed = {
        "plan": ["--budgets", "1e9"],
        "predict": ["--budgets", "1e9"],
        "train-one": ["--tokens", "1e4", "--text", "none"],
        "prepare": ["--text", "none"],
    }.get(command, [])

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(st.tuples(st.sampled_from(options), ODD), max_size=3), st.lists(ODD, max_size=1)
    )
    def check(pairs, rest):
        words = [command, *needed, *(w for a, v in pairs for w in (a.option_strings[0], v)), *rest]
        status, _, err = say(capsys, words)
        assert status in (0, 2) and "Traceback" not in err, words
        if status == 2:
            assert two_lines(err, command) or usage(err), (words, err)

    check()


def test_a_sweep_of_which_nothing_comes(place, capsys):
    (place / "mine.py").write_text(MINE)
    names = NAMES.replace("mine:loss", "mine:broken")
    assert say(capsys, f"plan {names} {SIZES} --output-dir s")[0] == 0
    status, out, err = say(capsys, f"train --workers 1 --output-dir s {names}")
    assert status == 2 and "failed" in out and two_lines("\n".join(err.splitlines()[-2:]), "train")
    assert "runs completed" in err.splitlines()[-2] and "and all" in err.splitlines()[-2]


def test_warnings_are_a_line_each(trap, capsys):
    (trap / "s" / "runs").mkdir()
    name = SweepPlan.load(trap / "s" / "plan.json").experiments[0].experiment_id
    (trap / "s" / "runs" / f"{name}.json").write_text("{")
    status, _, err = say(capsys, "fit --output-dir s")
    warned, *rest = err.splitlines()
    assert (
        status == 2
        and warned.startswith("flops-fit fit: warning: ")
        and f"{name}.json" in warned
        and two_lines("\n".join(rest), "fit")
    )


def test_interrupted(capsys, monkeypatch):
    fails(monkeypatch, KeyboardInterrupt())
    status, _, err = say(capsys, "--debug plot")
    assert status == 130 and "stopped" in err and "Traceback" not in err


def test_a_sigterm_saves_and_ends_with_143(place):
    (place / "mine.py").write_text(MINE)
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(HERE)])),
    }
    subprocess.run(
        [
            BIN / "flops-fit",
            *f"plan {NAMES} --budgets 1e9 3e9 1e10 --sizes 256 384 512 --output-dir s".split(),
        ],
        env=env,
        check=True,
        capture_output=True,
    )
    p = subprocess.Popen(
        [BIN / "flops-fit", *f"train --workers 1 --output-dir s {NAMES}".split()],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not (place / "s" / "locks").exists():
        assert time.monotonic() < until and p.poll() is None
        time.sleep(0.01)
    p.send_signal(signal.SIGTERM)
    _, err = p.communicate(timeout=300)
    assert p.returncode == 143 and "Traceback" not in err


def test_readers_who_leave_and_disks_that_are_full(tmp_path):
    line = [BIN / "flops-fit", "fit", runs_csv(tmp_path / "runs.csv")]
    p = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    p.stdout.close()
    assert p.stderr.read() == "" and p.wait() == 141
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full:
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and two_lines(done.stderr, "fit") and "No space left" in done.stderr

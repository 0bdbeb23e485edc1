"A table of runs, whatever its columns are called and wherever it comes from"

import json
import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from flops_fit.fitter.laws import FitError
from flops_fit.fitter.table import isoflop_budgets, read_runs

base = dict(num_params=[1e8, 2e8, 4e8], num_tokens=[1e10, 5e9, 2.5e9], loss=[3.1, 3.0, 3.05])


@pytest.mark.parametrize(
    "names",
    [
        ("N", "D", "loss"),
        ("params", "Tokens", "Val Loss"),
        ("num_params", "training_tokens", "validation_loss"),
        ("Model Size", "num_tokens", "final_loss"),
        ("params_active_precise", "tokens", "final_loss"),
    ],
)
def test_columns_go_by_many_names(names):
    got = read_runs(pd.DataFrame(dict(zip(names, base.values()))))
    assert {c: got[c].tolist() for c in base} == base
    assert np.allclose(got.flops, 6 * got.num_params * got.num_tokens)


@settings(max_examples=30, deadline=None)
@given(
    n=st.floats(1e3, 1e12),
    d=st.floats(1e3, 1e14),
    k=st.floats(1, 12),
    drop=st.sampled_from(["N", "D", "C"]),
)
def test_the_missing_one_of_N_D_C_is_derived(n, d, k, drop):
    row = {c: v for c, v in dict(N=n, D=d, C=k * n * d, loss=3.0).items() if c != drop}
    got = read_runs([row], flops_factor=k).iloc[0]
    assert np.allclose([got.num_params, got.num_tokens, got.flops], [n, d, k * n * d])


def test_only_holes_are_derived():
    got = read_runs(
        pd.DataFrame(dict(N=[1e8, np.nan], D=[1e10, 5e9], C=[7e18, 6e18], loss=[3.0, 3.1]))
    )
    assert got.num_params.tolist() == [1e8, 2e8] and got.flops.tolist() == [
        7e18,
        6e18,
    ]  # what was counted stays


def test_held_out_loss_wins_over_training_loss():
    assert read_runs([dict(N=1, D=1, loss=1.0, val_loss=2.0)]).loss.tolist() == [2.0]
    assert read_runs([dict(N=1, D=1, train_loss=1.0, final_loss=2.0)]).loss.tolist() == [2.0]


def test_other_measures_become_columns():
    rows = [
        dict(N=1e8, D=1e9, loss=3.0, metrics=dict(accuracy=0.5, flops=1.0)),
        dict(N=2e8, D=1e9, loss=2.9, metrics=None),
        dict(N=4e8, D=1e9, loss=2.8, metrics=dict(accuracy=0.6)),
    ]
    got = read_runs(rows)
    assert (
        got.accuracy[[0, 2]].tolist() == [0.5, 0.6]
        and np.isnan(got.accuracy[1])
        and got["metrics.flops"][0] == 1
        and got.flops[0] == 6e17
    )
    assert "accuracy" not in read_runs(rows[1:2]) and read_runs(rows[2:]).accuracy.tolist() == [0.6]


def test_columns_given_by_hand():
    got = read_runs(
        pd.DataFrame({"a": [1e8], "b": [1e9], "c4": [3.0], "loss": [9.0]}),
        columns=dict(num_params="a", num_tokens="b", loss="c4"),
    )
    assert got.loss.tolist() == [3.0]
    with pytest.raises(FitError, match="not in the table"):
        read_runs(base, columns=dict(loss="c5"))
    with pytest.raises(FitError, match="expected keys among"):
        read_runs(base, columns=dict(c4="loss"))


class Run:
    def __init__(self, **kw):
        self.kw = kw

    def to_dict(self):
        return self.kw


def test_every_kind_of_source(tmp_path):
    df = pd.DataFrame(base)
    rows = df.to_dict("records")
    df.to_csv(tmp_path / "a.csv", index=False)
    df.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    df.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "results.json").write_text(json.dumps(dict(experiments=rows)))
    (tmp_path / "bom.csv").write_text("\ufeffN,D,loss\n1e8,1e9,3\n", encoding="utf-8")
    want = read_runs(df)
    for source in (
        tmp_path / "a.csv",
        str(tmp_path / "a.tsv"),
        tmp_path / "a.jsonl",
        tmp_path / "a.json",
        tmp_path,
        rows,
        (r for r in rows),
        base,
        [Run(**r) for r in rows],
    ):
        pd.testing.assert_frame_equal(read_runs(source), want)
    assert read_runs(tmp_path / "bom.csv").num_params.tolist() == [1e8]


def test_the_source_is_left_alone():
    df = pd.DataFrame(base)
    before = df.copy()
    got = read_runs(df)
    got.loc[0, "loss"] = 0
    pd.testing.assert_frame_equal(df, before)


def test_runs_that_did_not_finish_stay_with_their_status():
    got = read_runs(
        [
            dict(N=1e8, D=1e9, loss=3.0, status="completed"),
            dict(N=1e8, D=1e9, loss=None, status="failed"),
            dict(N=1e8, D=1e9, loss=float("nan"), status="completed"),
            dict(N=1e8, D=1e9, loss=float("inf"), status="completed"),
            dict(N=1e8, D=1e9, loss=3.0, status=None),
        ]
    )
    assert got.status.tolist() == ["completed", "failed", "no loss", "diverged", "completed"]


@pytest.mark.parametrize(
    "source, message",
    [
        ([], "empty"),
        ("/nowhere/runs.csv", "does not exist"),
        (7, "got int"),
        ([1, 2], "int in it"),
        (dict(N=[1], D=[1, 2], loss=[1]), "equally long"),
        (dict(N=[1e8], loss=[3.0]), "no column for num_tokens"),
        (dict(N=[1e8], D=[1e9]), "no column for loss"),
        (dict(loss=[3.0]), "num_params, num_tokens"),
        (dict(N=["many"], D=[1e9], loss=[3.0]), "'many' in row 0"),
        (dict(N=[-1e8], D=[1e9], loss=[3.0]), "positive"),
        (dict(N=[1e8], D=[0.0], loss=[3.0]), "positive"),
        (dict(N=[1e8], D=[1e9], loss=[-3.0]), "positive"),
        (dict(N=[True], D=[1e9], loss=[3.0]), "true and false"),
        (dict(N=[np.inf], D=[1e9], loss=[3.0]), "positive"),
    ],
)
def test_what_cannot_be_read_is_refused(source, message):
    with pytest.raises(FitError, match=message):
        read_runs(source)


def test_unreadable_files_are_refused(tmp_path):
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "a.bin").write_text("x")
    for name, message in (("a.json", "unreadable"), ("a.bin", "expected a .csv")):
        with pytest.raises(FitError, match=message):
            read_runs(tmp_path / name)
    with pytest.raises(FitError, match="results.json"):
        read_runs(tmp_path)


def test_large_integers_do_not_overflow(tmp_path):
    (tmp_path / "a.csv").write_text("N,D,loss\n70000000000,1400000000000,2\n")
    assert np.isclose(read_runs(tmp_path / "a.csv").flops[0], 5.88e23)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    budgets=st.integers(2, 6),
    sizes=st.integers(4, 9),
    jitter=st.floats(0, 0.04),
    factor=st.floats(2, 10),
)
def test_budgets_are_found_where_they_are(seed, budgets, sizes, jitter, factor):
    rng = np.random.default_rng(seed)
    true = np.repeat(1e18 * factor ** np.arange(budgets), sizes)
    got = isoflop_budgets(
        np.tile(np.geomspace(1e8, 1e9, sizes), budgets),
        true * np.exp(rng.normal(0, jitter, len(true)).clip(-2 * jitter, 2 * jitter)),
    )
    assert np.isfinite(got).mean() > 0.8 and len(np.unique(got[np.isfinite(got)])) == budgets
    assert np.nanmax(np.abs(np.log(got / true))) < 0.13


def test_no_budgets_are_claimed_without_isoflop_curves(shared_data):
    for name in ("hot", "slim_chinchilla"):
        r = read_runs(shared_data / f"runs/gemstones/wandb_df_for_fitting_{name}.jsonl")
        assert np.isnan(isoflop_budgets(r.num_params, r.flops)).all()


def test_published_tables(published):
    epoch = read_runs(published / "chinchilla.csv")
    assert len(epoch) == 245 and np.allclose(epoch.num_tokens, epoch.flops / 6 / epoch.num_params)
    budgets = np.unique(isoflop_budgets(epoch.num_params, epoch.flops))
    assert 6 <= np.isfinite(budgets).sum() <= 9  # the paper's figure has nine
    llama = read_runs(published / "llama3.csv")
    assert (
        len(llama) == 133
        and llama.compute_budget.nunique() == 10
        and np.allclose(llama.num_params, llama.compute_budget / 6 / llama.num_tokens)
    )


def test_published_curves(shared_data):
    gem = read_runs(shared_data / "runs/gemstones/wandb_df_for_fitting_hot.jsonl")
    assert len(gem) == 220 and gem.trunk.nunique() == 22

"A table of runs, whatever its columns are called and wherever it comes from"

import json
import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from flops_fit.fitter.laws import FitError
from flops_fit.fitter import analyzer
from flops_fit.fitter.analyzer import ScalingLawAnalyzer
from flops_fit.fitter.shape import thinned
from flops_fit.fitter.table import isoflop_budgets, notes_of, read_runs

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


def notes(table, **kwargs):
    return {w.code: w for w in notes_of(read_runs(table, **kwargs))}


@pytest.mark.parametrize("name", ["a.parquet", "a.pq"])
def test_parquet_with_the_types_it_keeps(tmp_path, name):
    pytest.importorskip("pyarrow")
    df = pd.DataFrame(base).assign(
        num_params=pd.array([10**8, None, 4 * 10**8], dtype="Int64"),
        flops=6e18,
        metrics=[dict(accuracy=0.5)] * 3,
    )
    df.index = ["x", "x", "y"]
    df.to_parquet(tmp_path / name)
    got = read_runs(tmp_path / name)
    assert got.num_params.tolist() == base["num_params"] and got.accuracy.tolist() == [0.5] * 3
    assert got.index.tolist() == [0, 1, 2]


def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_text("")

    def missing(path):
        raise ImportError("Missing optional dependency 'pyarrow'")

    monkeypatch.setattr(pd, "read_parquet", missing)
    with pytest.raises(FitError, match="pip install pyarrow"):
        read_runs(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    "ours, theirs",
    [
        ("loss", n)
        for n in "val_loss lm_loss loss_validation val_bpb final_val_loss train/loss eval/loss "
        "c4_en-validation/CrossEntropyLoss bits_per_byte wiki_val_bits_per_byte".split()
        + ["C4 Eval Loss", "Validation loss (nats)"]
    ]
    + [
        ("num_params", n)
        for n in "param_count model_params non_embedding_params total_params N_no_emb".split()
        + ["Parameters (non-embedding)", "Params excl. embeddings"]
    ]
    + [
        ("num_tokens", n)
        for n in "samples_seen tokens_trained total_tokens consumed_train_tokens".split()
    ],
)
def test_names_that_people_give(ours, theirs):
    got = read_runs(pd.DataFrame(base).rename(columns={ours: theirs}))
    assert got[ours].tolist() == base[ours]


def test_the_best_of_several_losses_is_taken():
    def taken(**losses):
        table = pd.DataFrame(dict(N=[1e8], D=[1e9])).assign(**{k: [v] for k, v in losses.items()})
        return read_runs(table).loss[0], [w.code for w in notes_of(read_runs(table))]

    assert taken(loss=1.0, val_loss=2.0) == (2.0, [])
    assert taken(train_loss=1.0, c4_eval_loss=2.0, c4_eval_loss_std=3.0) == (2.0, [])
    assert taken(loss=1.0, c4_eval_loss=2.0) == (2.0, [])
    assert taken(train_loss=1.0, val_accuracy=0.5) == (1.0, ["training_loss"])
    assert taken(train_loss=1.0, train_aux_loss=2.0) == (1.0, ["training_loss"])
    # several texts: the plain one, as ever; without it, the user says which
    assert taken(loss=1.0, c4_eval_loss=2.0, pile_eval_loss=3.0) == (1.0, [])
    with pytest.raises(FitError, match="got 2 that may be: 'c4_eval_loss', 'pile_eval_loss'"):
        taken(train_loss=1.0, c4_eval_loss=2.0, pile_eval_loss=3.0)


def test_all_parameters_are_a_better_count_than_those_without_embeddings():
    both = pd.DataFrame(base).rename(columns=dict(num_params="total_params"))
    both["non_embedding_params"] = both.total_params / 2
    assert read_runs(both).num_params.tolist() == base["num_params"] and not notes(both)
    said = notes(both.drop(columns="total_params"))
    assert "'non_embedding_params'" in said["without_embeddings"].message
    # of a mixture of experts, those that take part in a forward pass
    experts = both.rename(columns=dict(non_embedding_params="active_params"))
    assert read_runs(experts).num_params.tolist() == (both.total_params / 2).tolist()


def test_samples_are_no_tokens():
    seen = pd.DataFrame(base).rename(columns=dict(num_tokens="samples_seen"))
    assert "samples_as_tokens" in notes(seen) and "samples_as_tokens" not in notes(
        seen.assign(flops=6e18)
    )


def test_rows_at_step_zero_are_set_aside_and_said():
    log = pd.DataFrame(dict(N=1e8, D=[0, 1e9, 2e9, 0], loss=[10.8, 3.5, 3.2, 11.0]))
    log["state"] = ["finished", "finished", "finished", "crashed"]
    got = read_runs(log)
    assert got.num_tokens.tolist() == [1e9, 2e9, 0] and got.status.tolist()[-1] == "crashed"
    assert got.index.tolist() == [1, 2, 3]  # rows keep their numbers
    (note,) = notes_of(got)
    assert note.code == "step_zero" and "1 of 4 rows" in note.message and "10.8" in note.remedy
    by_compute = pd.DataFrame(dict(N=[1e8] * 2, C=[0, 6e17], loss=[10.8, 3.5]))
    assert read_runs(by_compute).num_tokens.tolist() == [1e9]


def test_normalised_losses_are_refused_with_the_reason():
    with pytest.raises(FitError, match="got -0.5 in row 0.*normalised.*floor above 0"):
        read_runs(pd.DataFrame(base).assign(loss=[-0.5, 0.1, 0.4]))


def test_what_was_noted_travels_and_does_no_harm(tmp_path):
    pytest.importorskip("pyarrow")
    table = read_runs(pd.DataFrame(base).rename(columns=dict(loss="train_loss")))
    table.to_parquet(tmp_path / "a.parquet")
    for again in (table, table[:2], tmp_path / "a.parquet"):
        assert [*notes(again)] == ["training_loss"]
    for odd in (7, [1, 2], "abc", [["a"]], None):
        strange = pd.DataFrame(base)
        strange.attrs = {key: odd for key in table.attrs}
        assert not notes(strange)
    # and the analysis says it, to whoever fits the table
    said = ScalingLawAnalyzer(table).analyze().warnings
    assert said[0].code == "training_loss"


def test_likely_columns_are_named_where_no_name_is_known():
    table = pd.DataFrame(
        {
            "run": ["a", "b"],
            "weights": [1e8, 2e8],
            "toks": [1e9, 2e9],
            "nats on C4": [3.1, 3.0],
            "lr": [1e-2, 2e-2],
            "val_acc": [0.5, 0.6],
            "when": pd.to_datetime(["2024", "2025"]),
            "layers": [12, 24],
        }
    )
    with pytest.raises(FitError) as e:
        read_runs(table)
    assert 'loss may be "nats on C4"' in str(e.value)
    assert (
        'num_tokens may be "toks"' in str(e.value) and "layers" not in str(e.value).split("By")[1]
    )
    with pytest.raises(FitError, match='columns={"loss": "nats on C4"}'):
        read_runs(table.rename(columns=dict(weights="N", toks="D")))
    with pytest.raises(FitError, match='columns={"num_tokens": 3}'):  # a name may be no text
        read_runs(pd.DataFrame({"N": [1e8], 3: [1e9], "loss": [3.0]}))


def budgets_by_definition(N, C, width=0.13):
    "What `isoflop_budgets` finds by a convolution, from the density at each place itself"
    c = np.log(C)
    places = np.unique((c[:, None] + np.linspace(-width, width, 9)).ravel())
    density = np.exp(-0.5 * ((places[:, None] - c) / (width / 2.5)) ** 2).sum(1)
    budgets, left = np.full(len(c), np.nan), np.ones(len(c), bool)
    for peak in places[np.argsort(-density, kind="stable")]:
        near = np.abs(c - peak) <= width
        if not near.any() or (near & ~left).any():
            continue
        ring = (np.abs(c - peak) <= 3 * width) & ~near
        if len(np.unique(N[near])) >= 3 and near.sum() >= ring.sum():
            budgets[near] = np.exp(np.median(c[near]))
        left &= ~near
    return budgets if np.isfinite(budgets).sum() >= len(c) / 2 else np.full(len(c), np.nan)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 120),
    budgets=st.integers(1, 6),
    jitter=st.floats(0, 0.12),
    width=st.sampled_from([1e-3, 0.05, 0.13]),
)
def test_the_convolution_finds_what_the_density_itself_does(seed, n, budgets, jitter, width):
    rng = np.random.default_rng(seed)
    C = 1e18 * 4.0 ** rng.integers(0, budgets, n) * np.exp(rng.normal(0, jitter + 1e-9, n))
    N = np.exp(rng.uniform(18, 24, n))
    np.testing.assert_array_equal(isoflop_budgets(N, C, width), budgets_by_definition(N, C, width))


def test_the_convolution_on_the_published_cloud(published):
    r = read_runs(published / "chinchilla.csv")
    N, C = r.num_params.to_numpy(), r.flops.to_numpy()
    np.testing.assert_array_equal(isoflop_budgets(N, C), budgets_by_definition(N, C))


def test_large_tables_are_thinned_evenly_and_say_so():
    n = 1000
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        dict(flops=np.exp(rng.uniform(40, 50, n)), num_params=rng.uniform(1, 2, n))
    )
    kept, (said,) = thinned(table, 100)
    assert len(kept) == 100 and kept.index.is_monotonic_increasing
    assert {kept.flops.min(), kept.flops.max()} == {table.flops.min(), table.flops.max()}
    assert np.abs(np.quantile(np.log(kept.flops), [0.2, 0.5, 0.8]) - [42, 45, 48]).max() < 0.4
    assert said.code == "rows_sampled" and "100 of 1,000 runs" in said.message
    whole, none = thinned(table, n)
    assert whole is table and none == []
    with pytest.raises(FitError, match="most"):
        thinned(table, 1)


def test_an_analysis_says_what_it_thinned(monkeypatch):
    monkeypatch.setattr(analyzer, "thinned", lambda runs: thinned(runs, 60))
    rng = np.random.default_rng(0)
    C = np.repeat(np.geomspace(1e18, 1e20, 6), 20)
    N = np.sqrt(C / 120) * np.exp(rng.uniform(-1, 1, len(C)))
    D = C / 6 / N
    loss = (1.7 + 400 / N**0.34 + 410 / D**0.28) * np.exp(0.003 * rng.normal(size=len(C)))
    analysis = ScalingLawAnalyzer(pd.DataFrame(dict(N=N, D=D, loss=loss))).analyze()
    assert len(analysis.runs) == 60 and analysis.law.num_runs == 60
    assert "rows_sampled" in {w.code for w in analysis.warnings}


def test_bits_a_byte_are_fitted_as_they_are_and_never_called_nats():
    C = np.repeat(np.geomspace(1e18, 1e20, 5), 7)
    N = np.sqrt(C / 120) * np.tile(np.geomspace(0.2, 5, 7), 5)
    D = C / 6 / N
    nats = 1.7 + 400 / N**0.34 + 410 / D**0.28
    nats *= np.exp(0.003 * np.random.default_rng(0).normal(size=len(C)))
    per_byte = 1 / (4.3 * np.log(2))
    table = pd.DataFrame(dict(N=N, D=D))
    a = ScalingLawAnalyzer(table.assign(val_loss=nats)).analyze()
    b = ScalingLawAnalyzer(table.assign(val_bpb=nats * per_byte)).analyze()
    ours, theirs = a.predict(1e21), b.predict(1e21)
    assert np.isclose(ours.optimal_params, theirs.optimal_params, rtol=1e-4)
    assert np.isclose(ours.expected_loss * per_byte, theirs.expected_loss, rtol=1e-5)
    assert np.isclose(a.law.params["E"] * per_byte, b.law.params["E"], rtol=1e-3)
    assert "nats" not in b.summary() + b._repr_html_() + b.chinchilla_table()

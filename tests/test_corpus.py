"""PythonCorpus: what it reads, how it splits, and that samples and batches are the bytes they
should be."""

import pickle
import pytest, torch
from flops_fit.examples.corpus import PythonCorpus, _is_test


@pytest.fixture(scope="module")
def both():
    return PythonCorpus("train"), PythonCorpus("test")


@pytest.fixture
def folder(tmp_path):
    for i in range(60):
        (tmp_path / f"m{i:02}.py").write_bytes(f"# file {i}\n".encode() * 20)
    for name in ("test/a.py", "pkg/tests/b.py", "__pycache__/c.py", "site-packages/d.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"FORBIDDEN" * 50)
    (tmp_path / "huge.py").write_bytes(b"FORBIDDEN" * 30_000)
    (tmp_path / "notes.txt").write_bytes(b"FORBIDDEN" * 50)
    return tmp_path


def test_the_standard_library_is_large_enough_to_learn_from(both):
    train, test = both
    assert train.unique_tokens > 5e6 and test.unique_tokens > 131_072
    assert 0.01 < test.unique_tokens / train.unique_tokens < 0.15
    assert b"import" in bytes(train.data[:100_000].tolist())


def test_no_file_is_on_both_sides(folder):
    texts = [
        set(bytes(PythonCorpus(s, seq_len=8, root=folder).data.tolist()).split(b"\0")) - {b""}
        for s in ("train", "test")
    ]
    assert all(texts) and not texts[0] & texts[1]
    assert len(texts[0] | texts[1]) == 60


def test_what_is_left_out(folder):
    for split in ("train", "test"):
        assert b"FORBIDDEN" not in bytes(PythonCorpus(split, seq_len=8, root=folder).data.tolist())


def test_the_split_follows_the_path_inside_the_library(folder, tmp_path_factory):
    import shutil

    elsewhere = tmp_path_factory.mktemp("elsewhere") / "deeper"
    shutil.copytree(folder, elsewhere)
    assert torch.equal(
        PythonCorpus("test", 8, root=folder).data, PythonCorpus("test", 8, root=elsewhere).data
    )
    share = sum(_is_test(f"{i}.py") for i in range(10_000)) / 10_000
    assert abs(share - 1 / 24) < 0.01


def test_samples_tile_the_text(folder):
    data = PythonCorpus("train", seq_len=7, root=folder)
    xs, ys = zip(*(data[i] for i in range(len(data))))
    assert torch.equal(torch.cat(xs), data.data[: len(data) * 7].long())
    assert torch.equal(torch.cat(ys), data.data[1 : len(data) * 7 + 1].long())
    assert data.tokens_per_sample == 7 and data.unique_tokens == len(data) * 7
    assert len(data.data) - 1 - len(data) * 7 < 7  # nothing but a last piece is lost


def test_a_batch_is_its_samples(both):
    i = torch.tensor([5, 0, 77, 5])
    xs, ys = both[0].batch(i)
    assert xs.dtype == ys.dtype == torch.int64
    for row, j in enumerate(i):
        assert torch.equal(xs[row], both[0][j][0]) and torch.equal(ys[row], both[0][j][1])


def test_it_works_under_a_loader_and_travels(both):
    x, y = next(iter(torch.utils.data.DataLoader(both[1], batch_size=4)))
    assert x.shape == y.shape == (4, 64)
    copy = pickle.loads(pickle.dumps(both[1]))
    assert torch.equal(copy[9][1], both[1][9][1])


def test_site_packages_only_add(both):
    more = PythonCorpus("test", site_packages=True)
    assert more.unique_tokens > both[1].unique_tokens
    assert torch.equal(more.data[:1000], both[1].data[:1000])


@pytest.mark.parametrize(
    "kwargs, error, says",
    [
        (dict(split="valid"), ValueError, "'train' or 'test'"),
        (dict(seq_len=0), ValueError, "seq_len"),
        (dict(root="/no/such/folder"), FileNotFoundError, "root="),
    ],
)
def test_bad_settings_are_refused(kwargs, error, says):
    with pytest.raises(error, match=says):
        PythonCorpus(**kwargs)


def test_too_little_text_is_refused(tmp_path):
    (tmp_path / "a.py").write_text("x = 1")
    with pytest.raises(FileNotFoundError, match="one sample needs 65"):
        PythonCorpus(root=tmp_path)

"Batches from memory, from readers and one by one are the same batches."

import gc, weakref
import cloudpickle, torch, torch.nn.functional as F
from flops_fit.planner.contract import make_task
from flops_fit.planner.dataset import wrap_dataset
from flops_fit.trainer.feed import Feed, _Kept, in_memory
from flops_fit.planner.sweep_design import plan_sweep
from flops_fit.trainer.train import train_trunk
from models import Net, RECIPE, xor_data


class Rows(torch.utils.data.Dataset):
    "Map-style, one sample at a time."

    tokens_per_sample = 1

    def __init__(self, noise=0.0):
        self.x, self.y, self.noise = *xor_data(400), noise

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i] + (self.noise * torch.randn(16) if self.noise else 0), self.y[i]


def batches(feed, which):
    return [feed(i)[0] for i in which]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b))


def test_readers_give_the_same_batches():
    slow, read = (
        Feed(wrap_dataset(Rows()), 32, 3, "cpu"),
        Feed(wrap_dataset(Rows()), 32, 3, "cpu", workers=2),
    )
    slow.memory = read.memory = None
    order = [0, 1, 2, 3, 14, 15, 2, 3]  # forth and back, as branches do
    expected, before = batches(slow, order), torch.get_rng_state()
    assert same(batches(read, order), expected)
    assert torch.equal(before, torch.get_rng_state())


def test_readers_make_augmentation_a_function_of_the_batch():
    two, one = (
        Feed(wrap_dataset(Rows(0.1)), 32, 3, "cpu", workers=2),
        Feed(wrap_dataset(Rows(0.1)), 32, 3, "cpu", workers=1),
    )
    assert two.memory is None and same(batches(two, [0, 1, 2, 3, 1]), batches(one, [0, 1, 2, 3, 1]))


def test_readers_end_with_the_feed():
    read = Feed(wrap_dataset(Rows()), 32, 3, "cpu", workers=2)
    read.memory = None
    batches(read, [0, 1, 2])
    workers, gone = read.flow._workers, weakref.ref(read)
    gc.disable()
    try:
        del read
        assert gone() is None and not any(w.is_alive() for w in workers)
    finally:
        gc.enable()


def test_what_is_kept_stays_behind_and_is_let_go():
    source = wrap_dataset(Rows())
    kept = in_memory(source, "cpu")
    assert isinstance(kept, _Kept)
    kept.batch(torch.arange(400))
    there = cloudpickle.loads(cloudpickle.dumps(source))
    assert not vars(there).get("_memo")
    gone = weakref.ref(kept)
    del source, kept
    gc.collect()
    assert gone() is None


def test_too_large_to_keep(monkeypatch):
    monkeypatch.setattr("flops_fit.trainer.feed._KEEP", 100)
    assert in_memory(wrap_dataset(Rows()), "cpu") is None


def test_ragged_samples_are_read_each_time():
    class Ragged(Rows):
        def __getitem__(self, i):
            return torch.ones(16 if i < 200 else 8), self.y[i]

    source = wrap_dataset(Ragged())
    kept = in_memory(source, "cpu")
    assert kept is None or kept.batch(torch.tensor([300, 301]))[0].shape == (2, 8)


def test_training_from_any_of_them_is_the_same():
    def losses(dataset, memory):
        task = make_task(Net, "width", dataset=dataset, loss_fn=F.cross_entropy, eval_tokens=40)
        if not memory:
            task.train._memo = task.held_out._memo = _never(task)
        plan = plan_sweep(task, compute_budgets=[4e5], sizes=[8], recipe=RECIPE)
        return [r.final_loss for r in train_trunk(task, plan.experiments, RECIPE)]

    x, y = xor_data(400)
    assert losses((x, y), True) == losses(Rows(), True) == losses(Rows(), False)


def _never(task):
    from flops_fit.trainer.feed import _Memo

    return _Memo({(id(s), "cpu"): None for s in (task.train, task.held_out)})

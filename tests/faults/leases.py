"Claims that turn stale in seconds, so that a test need not wait for a minute."

import contextlib
import importlib

BEAT, STALE = 0.05, 2.0  # seconds: between two beats, and without one until a claim is void
PATIENT = 8.0  # where nobody is stopped, so that a busy machine takes no claim away


@contextlib.contextmanager
def quick(stale=STALE):
    "In this process, claims are beaten and turn stale as above."
    changed = []
    for module in ("flops_fit.trainer.lease", "flops_fit.trainer.store"):
        try:
            module = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        for names, value in ((("_BEAT", "BEAT"), BEAT), (("_STALE", "STALE"), stale)):
            for name in names:
                if hasattr(module, name):
                    changed.append((module, name, getattr(module, name)))
                    setattr(module, name, value)
    assert len(changed) >= 2, "the lease's constants have other names"
    try:
        yield
    finally:
        for args in changed:
            setattr(*args)

"Models and data to start from. Nothing here imports torch until one of these names is used (PEP 562)."
_where = {
    "gpt": "GPT GPTConfig byte_gpt gpt_loss_fn create_model_for_scaling",
    "corpus": "PythonCorpus",
    "tinystories": "TinyStoriesDataset",
    "vit": "VisionTransformer vit_loss_fn",
    "cifar": "CIFAR10Dataset",
}
_where = {name: module for module, names in _where.items() for name in names.split()}
__all__ = [*_where]


def __getattr__(name):
    if name not in _where: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module
    value = getattr(import_module(f"{__name__}.{_where[name]}"), name)
    globals()[name] = value
    return value


def __dir__(): return sorted({*globals(), *_where})

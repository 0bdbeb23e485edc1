"""Compute-optimal model size and data for your own architecture, data and budget, with honest intervals.

Importing this package loads neither torch nor matplotlib: every name below is fetched when it is first used (PEP 562).
"""
__version__ = "0.1.0"

_where = {
    "core": "find_optimal plan_sweep create_model create_models_at_sizes validate_model_contract validate_dataset "
            "validate_loss_fn wrap_dataset Recipe TrainingRunner Experiment SweepPlan Run fit_parametric fit_power_law "
            "PowerLawFit ScalingLawAnalyzer ScalingAnalysis ScalingVisualizer Result ContractError FitError",
    "examples.gpt": "GPT GPTConfig",
    "examples.tinystories": "TinyStoriesDataset",
}
_where = {name: module for module, names in _where.items() for name in names.split()}
__all__ = ["__version__", *_where]


def __getattr__(name):
    if name not in _where: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module
    value = getattr(import_module(f"{__name__}.{_where[name]}"), name)
    globals()[name] = value
    return value


def __dir__(): return sorted({*globals(), *_where})

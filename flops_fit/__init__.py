"""Compute-optimal model size and data for your own architecture, data and budget, with honest
intervals.

Importing this package loads neither torch nor matplotlib: names are fetched when they are used."""
__version__ = "0.1.0"

from .lazy import lazily

__getattr__, __dir__, __all__ = lazily(__name__, {
    "core":
        "find_optimal plan_sweep create_model create_models_at_sizes validate_model_contract "
        "validate_dataset validate_loss_fn wrap_dataset Recipe TrainingRunner Experiment SweepPlan "
        "Run fit_parametric fit_power_law PowerLawFit ScalingLawAnalyzer ScalingAnalysis "
        "ScalingVisualizer Result ContractError FitError",
    "examples.gpt": "GPT GPTConfig",
    "examples.tinystories": "TinyStoriesDataset",
})
__all__ = ["__version__", *__all__]

"What is looked at: plots, and explorers with sliders. Nothing is imported before it is used."
from ..lazy import lazily

__getattr__, __dir__, __all__ = lazily(__name__, {
    "explore_fit": "ResultExplorer AnalysisExplorer",
    "explore_plan": "PlanExplorer",
    "explorer":
        "BLUE VERMILION GREEN ORANGE PINK INK rank_colors panels log_axis label "
        "simulated_mark png control log_slider choice_slider some_or_none int_slider "
        "dropdown number button Ticks Explorer",
    "monitor": "Monitor",
    "plots":
        "drawable plot_isoflops plot_scaling_laws plot_tokens_per_param plot_loss "
        "plot_residuals ScalingVisualizer",
})

"What is looked at: plots, and explorers with sliders."
from ..lazy import lazily

__getattr__, __dir__, __all__ = lazily(__name__, {
    "explore_analysis": "AnalysisExplorer",
    "explore_plan": "PlanExplorer",
    "explore_result": "ResultExplorer",
    "explorer":
        "control int_slider dropdown number log_slider choice_slider some_or_none button "
        "Ticks Explorer",
    "monitor": "Monitor",
    "plots":
        "plot_isoflops plot_scaling_laws plot_tokens_per_param plot_loss plot_residuals "
        "ScalingVisualizer",
    "style":
        "BLUE VERMILION GREEN ORANGE PINK INK rank_colors tick_steps log_axis "
        "power_of_ten log_scale axes_or_new quiet label simulated_mark png picture_html "
        "new_figure panels answers_at note_gap drawable",
})

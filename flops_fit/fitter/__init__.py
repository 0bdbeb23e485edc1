"The law: fit runs to it, read off the optimum, and say how sure that is."
from ..lazy import lazily

__getattr__, __dir__, __all__ = lazily(__name__, {
    "agreement": "parabola_bias disagreements",
    "analyzer": "ScalingLawAnalyzer",
    "answers": "LawFit",
    "ceiling":
        "CEILING_PRIORS baseline_of fit_bounded ceiling_evidence ceiling_suits "
        "check_bounded",
    "coupled":
        "PRIORS ABOUT_RUNS near_optimal_weights lowest_loss solved_terms noise_warnings "
        "left_over lack_of_fit fit_coupled check_coupled raised_on",
    "curves": "IsoFlopFit line_of_sizes fit_isoflop isoflop_minima EnvelopeFit fit_envelope",
    "diagnostics": "design_warnings grid_edges diagnose next_step",
    "forms":
        "SOFTNESS REPEATS columns_of stack_slopes chinchilla_loss chinchilla_starts "
        "coupled_loss coupled_starts bounded_loss saturate best_size_for repeated_loss "
        "repeated_starts differenced_loss scattered_starts",
    "freedom": "Freedom free_parameters start_columns",
    "inputs": "checked_runs",
    "intervals":
        "robust_scale share_inside sums_of_groups squares_of_groups covariance_root "
        "quantile linearised spread profile bootstrap",
    "lawfit": "as_array ends Answer",
    "laws":
        "CHINCHILLA COUPLED BOUNDED KAPLAN DATA_CONSTRAINED COUPLED_REPEATS "
        "BOUNDED_REPEATS LAWS Law checked_counts",
    "names": "ALIASES plain_name find_columns about_columns likely_columns refuse_missing",
    "optimum": "tokens_left family_optimum searched_optimum",
    "parametric": "fit_parametric",
    "posterior": "FORM_ERROR prior_moments scale posterior_mode posterior_spread",
    "power_law": "PowerLawFit fit_power_law",
    "reach":
        "fall_in_trunks annealing_warnings widened missing_side bracketing_runs "
        "bracketing side_warnings",
    "repeats": "fit_repeats",
    "report": "ScalingAnalysis",
    "select": "check_fit check_budget influence held_out held_out_at_top choose_law",
    "shape": "settings_tried best_of_settings labels explained_by label_warnings thinned",
    "solver": "huber Problem Solution solve condition reached best_of",
    "table": "read_runs notes_of as_table columns_beside isoflop_budgets",
    "..errors": "FitError FitWarning",
})

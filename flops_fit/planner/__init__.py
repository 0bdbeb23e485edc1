"The design of a sweep: what is counted, how runs are trained, which runs are made. Nothing is imported before it is used."
from ..lazy import lazily

__getattr__, __dir__, __all__ = lazily(__name__, {
    "contract":
        "create_model model_num_params create_models_at_sizes validate_model_contract "
        "validate_loss_fn Task make_task check_task",
    "dataset":
        "name_of split_sample DataSource Pair is_hugging_face wrap_dataset "
        "validate_dataset hold_out",
    "flops": "count_params training_flops FlopCount exact_flops",
    "plan":
        "Count Positive Natural DEVICES Experiment stable_hash fork_of own_steps "
        "SweepPlan",
    "recipe": "MACHINE batch_tokens_rule lr_rule PowerRate Recipe",
    "sweep_design":
        "guess_optimum Family plan_warnings check_budgets check_flops plan_sweep "
        "count_size rows_of_plan plan_optimum",
    "..errors": "ContractError FitWarning",
})

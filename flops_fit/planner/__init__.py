"The design of a sweep: what is counted, how runs are trained, which runs are made."
from ..lazy import lazily

__getattr__, __dir__, __all__ = lazily(__name__, {
    "contract":
        "create_model model_num_params create_models_at_sizes validate_model_contract "
        "Task make_task check_task",
    "dataset": "DataSource is_hugging_face wrap_dataset validate_dataset hold_out",
    "experiment": "Count Positive Natural Experiment stable_hash",
    "family": "Family",
    "flops": "count_params training_flops check_flops rule_factor FlopCount exact_flops",
    "layout": "Cell cells_where feasible lay_out",
    "loss": "validate_loss_fn",
    "plan": "DEVICES fork_of TrunkPlan own_steps SweepPlan",
    "recipe": "MACHINE HOLD batch_tokens_rule lr_rule PowerRate Recipe",
    "sample": "name_of split_sample tokens_of as_tensors Pair",
    "sweep_design": "guess_optimum check_budgets plan_sweep plan_optimum",
    "..errors": "ContractError FitWarning",
})

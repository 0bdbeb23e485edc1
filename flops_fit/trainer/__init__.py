"The sweep itself: runs are trained, kept and found again. Nothing is imported before it is used."
from ..lazy import lazily

__getattr__, __dir__, __all__ = lazily(__name__, {
    "calibration": "best_rate fit_rates Calibration calibrate RateCheck check_rates",
    "checkpoint": "save_checkpoint load_checkpoint peek",
    "evaluation": "is_out_of_memory free_memory PeakMemory measure evaluate",
    "feed": "in_memory Feed",
    "lease": "BEAT STALE ClaimLost Lease Unclaimed take",
    "loggers": "TensorBoardLogger WandbLogger",
    "orders": "Stop stoppable Orders train_into missing train_order",
    "progress": "clock in_notebook SweepProgress",
    "run": "Loss Finite Share utc_now Run marked RunTable",
    "store": "RunStore Beat",
    "sweep": "MOCK_LAW MOCK_NOISE mock_run TrainingRunner",
    "train": "train_trunk Mark Step",
    "trunk":
        "PEAKS WORKER pick_device autocast_for peak_flops settled StepTimeout step_alarm "
        "Stopped Diverged Trunk astray identity State make_optimizer switch_checkpointing "
        "compiled seconds_a_pass",
    "verification": "Verification",
    "workers": "FILLS told_to_end WorkerLost DeviceExecutor device_executor",
    "..errors": "ContractError",
})

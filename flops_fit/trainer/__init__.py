"The sweep itself: runs are trained, kept and found again."
from ..lazy import lazily

__getattr__, __dir__, __all__ = lazily(__name__, {
    "calibration": "calibrate",
    "checkpoint": "save_checkpoint load_checkpoint peek",
    "device":
        "PEAKS pick_device device_name peak_flops autocast_for settled compiled "
        "seconds_a_pass",
    "evaluation": "is_out_of_memory free_memory PeakMemory measure evaluate",
    "feed": "in_memory Feed next_samples",
    "found_rates": "Calibration rate_points rate_error",
    "lease": "BEAT STALE ClaimLost Lease Unclaimed take",
    "loggers": "TensorBoardLogger WandbLogger",
    "orders": "Stop stoppable Orders train_into missing train_order",
    "progress": "clock in_notebook SweepProgress",
    "rate_check": "RateCheck check_rates",
    "rates": "Parabola best_rate fit_rates rate_spread try_rates",
    "run": "Loss Finite Share utc_now Run status_html RunTable",
    "store": "RunStore Beat",
    "sweep": "MOCK_LAW MOCK_NOISE mock_run TrainingRunner",
    "train": "train_trunk",
    "trunk":
        "WORKER StepTimeout step_alarm Stopped Diverged Trunk astray identity State "
        "make_optimizer switch_checkpointing",
    "verification": "Verification",
    "watch": "Checkpoint Watch Step listeners",
    "workers": "FILLS worker_is_ending WorkerLost DeviceExecutor device_executor",
    "..errors": "ContractError",
})

"""What disks, processes and strangers do to a sweep's folder, and what must hold all the same.

The part that runs in CI takes samples and says which; `make faults` (FLOPS_FIT_FAULTS=1) takes all.
"""

import os

LONG = bool(os.environ.get("FLOPS_FIT_FAULTS"))

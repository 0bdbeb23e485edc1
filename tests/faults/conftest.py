"Says what differs where a check in a helper module fails."

import pytest

pytest.register_assert_rewrite("faults.small")

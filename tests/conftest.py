"Shared fixtures. Data that is not in the project is read from ../shared/data; where it is missing a test skips and says so."
from pathlib import Path
import pytest

root = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data():
    path = root.parent/"shared"/"data"
    if not path.is_dir(): pytest.skip(f"the shared data folder is not at {path}: this check needs real runs or text")
    return path

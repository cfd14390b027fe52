"""The marks of every test that starts Ray."""

import os

import pytest

RAY_MARKS = [
    pytest.mark.skipif(os.name == "nt", reason="no SIGKILL"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray.*"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

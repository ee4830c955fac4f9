"""What pytest looks for here; it is in ``torture``, because mypy knows one module ``conftest`` only."""

from torture import (
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_generate_tests,
    pytest_report_header,
    pytest_terminal_summary,
    rng,
    stage,
    store,
)

__all__ = [
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_generate_tests",
    "pytest_report_header",
    "pytest_terminal_summary",
    "rng",
    "stage",
    "store",
]

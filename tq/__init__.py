"""tq: a translation job queue. ``from tq import Client`` for the HTTP client; see the README."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tq.client import Client

__all__ = ["Client", "__version__"]


def __getattr__(name: str) -> Any:
    # Resolved on first use: `tq --help` must not pay for httpx, nor a worker for the client.
    if name == "Client":
        from tq.client import Client  # noqa: PLC0415 - lazy, see above

        return Client
    if name == "__version__":
        return version("tq")
    raise AttributeError(f"module 'tq' has no attribute {name!r}")

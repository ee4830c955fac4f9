"""tq: a translation job queue. ``from tq import Client`` or ``AsyncClient`` for its HTTP API; see the README."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tq.async_client import AsyncClient
    from tq.client import Client

__all__ = ["AsyncClient", "Client", "__version__"]


def __getattr__(name: str) -> Any:
    # Resolved on first use: `tq --help` must pay neither for httpx nor for reading the metadata.
    if name == "Client":
        from tq.client import Client

        return Client
    if name == "AsyncClient":
        from tq.async_client import AsyncClient

        return AsyncClient
    if name == "__version__":
        from importlib.metadata import version

        return version("tq")
    raise AttributeError(f"module 'tq' has no attribute {name!r}")

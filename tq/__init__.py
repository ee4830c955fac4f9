"""tq: a translation job queue. ``from tq import Client`` or ``AsyncClient`` for its HTTP API; see the README."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tq.async_client import AsyncClient
    from tq.client import Client
    from tq.errors import TqError
    from tq.messages import Change, Message, Status

    __version__: str

__all__ = ["AsyncClient", "Change", "Client", "Message", "Status", "TqError", "__version__"]

_HOMES = {
    "AsyncClient": "tq.async_client",
    "Change": "tq.messages",
    "Client": "tq.client",
    "Message": "tq.messages",
    "Status": "tq.messages",
    "TqError": "tq.errors",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # with it no checker of types would find fault with a name that there is not

    def __getattr__(name: str) -> object:
        # Resolved on first use: `tq --help` must pay neither for httpx nor for reading the metadata.
        if name in _HOMES:
            from importlib import import_module

            found = getattr(import_module(_HOMES[name]), name)
        elif name == "__version__":
            from importlib.metadata import version

            found = version("tq")
        else:
            raise AttributeError(f"module 'tq' has no attribute {name!r}")
        globals()[name] = found
        return found

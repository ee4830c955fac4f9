"""TCP ports: whether a server may listen on one, who is in its way, and free ones."""

from __future__ import annotations

import contextlib
import errno
import socket

from tq.errors import StackError
from tq.processes import port_holder

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to


def reachable_host(host: str) -> str:
    """The address at which this machine itself reaches a server bound to ``host``."""
    return _WILDCARDS.get(host, host)


def http_url(host: str, port: int) -> str:
    """``http://127.0.0.1:8000`` for a server bound to ``host``."""
    name = reachable_host(host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def require_free_port(host: str, port: int, *, service: str, setting: str) -> None:
    """Return when ``service`` can listen on the port.

    Args:
        host: the address to bind.
        port: the port to bind.
        service: who wants it, for the message.
        setting: the prefix of the settings that say so: ``TQ_API``.

    Raises:
        StackError: something listens there already (named with pid and command if the system tells),
            or the address cannot be bound at all.
    """
    try:
        bound = _bind(host, port)
        bound.close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise StackError(
                f"{service} cannot listen on {host}, port {port}",
                why=error.strerror or str(error),
                fix=f"correct {setting}_HOST or {setting}_PORT",
            ) from None
    else:
        # BSD lets a specific address be bound beside a wildcard one, whose server it would hide.
        if not _answers(reachable_host(host), port):
            return
    holder = port_holder(port)
    raise StackError(
        f"port {port} is in use, so {service} cannot listen on it",
        why=f"pid {holder[0]} ({holder[1]}) listens on it" if holder else "by a process that this user may not see",
        fix=f"stop that process, start with `tq up --port auto`, or set {setting}_PORT to a free port",
    )


def free_ports(*hosts: str) -> list[int]:
    """A free port for each of the hosts; no two are the same."""
    with contextlib.ExitStack() as stack:
        return [stack.enter_context(_bind(host, 0)).getsockname()[1] for host in hosts]


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        # As servers do: connections of a former server that linger in TIME_WAIT are no obstacle.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        # Only listening collides with a listener that set SO_REUSEADDR itself.
        bound.listen(1)
    except OSError:
        bound.close()
        raise
    return bound


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=0.5):
            return True
    except OSError:
        return False

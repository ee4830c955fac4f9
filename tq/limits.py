"""What a client may cost the API: time, memory and connections."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of one API process. Times are in seconds, sizes in bytes.

    Attributes:
        head: for the request line and all headers, from the connection's begin or the head's first byte.
        head_bytes: of them; also of whatever else a client sends that is neither head nor body.
        body: for a body to come, and one second more for each ``rate`` bytes of it.
        answer: for a client to take what was written to it, and one second more for each ``rate`` bytes.
        rate: bytes a second; who is slower has to be done within ``body`` or ``answer``.
        idle: whole seconds that a connection is kept between two requests.
        linger: how long the rest of a refused body is read and dropped, so that the client sees the answer.
        pipelined: requests that may wait behind another one of the same connection.
        bodies: bytes of bodies whose requests are not answered yet, all together.
        connections: those beyond get 503, except for ``GET /health``.
    """

    head: float = 30.0
    head_bytes: int = 64 * 1024
    body: float = 30.0
    answer: float = 30.0
    rate: int = 1024
    idle: int = 5
    linger: float = 5.0
    pipelined: int = 16
    bodies: int = 128 * 2**20
    connections: int = 1000

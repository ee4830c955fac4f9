"""The statuses of messages by name, for who cannot wait for the import of ``messages``: it brings pydantic."""

from __future__ import annotations

from typing import Literal

StatusName = Literal["queued", "running", "retrying", "completed", "failed", "cancelled"]
#: How it stands with a message's webhook.
CallbackStatus = Literal["waiting", "pending", "delivered", "failed", "disabled"]

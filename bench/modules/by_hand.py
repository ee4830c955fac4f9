"""What people wire by hand: a FastAPI route that sends a Celery task. Served as ``by_hand:api``."""

from __future__ import annotations

import uuid

from fastapi import FastAPI
from p_celery import app
from pydantic import BaseModel
from work import text

api = FastAPI()


class Item(BaseModel):
    """A message."""

    content: str
    priority: int = 0
    metadata: dict[str, str] = {}


@app.task(name="by-hand")
def translate(message_id: str, item: dict[str, object]) -> str:
    """Never run: only the way in is measured."""
    return f"{message_id} {item}"


async def opened() -> None:
    """Nothing is needed to send."""


async def send(_: None, number: int) -> None:
    """Queue one, as the route does."""
    submit(Item(content=text(number), metadata={"source_language": "en", "target_language": "fr"}))


@api.post("/messages", status_code=202)
def submit(item: Item) -> dict[str, str]:
    """Queue one."""
    message_id = uuid.uuid4().hex
    translate.apply_async((message_id, item.model_dump()), task_id=message_id)
    return {"message_id": message_id, "status": "queued"}

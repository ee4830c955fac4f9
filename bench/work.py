"""The work that every queue is given: short texts, each different, and what a good model answers."""

from __future__ import annotations

import os

SYSTEM = "Translate the user's message from English into French. Answer with the translation only."


def text(number: int) -> str:
    """The text of one message; no two are the same, so that nothing can be taken from a memory."""
    return os.environ.get("BENCH_CONTENT") or f"Hello world! The text number {number} needs to be translated today."


def translation(source: str) -> str:
    """What the stand-in answers: the right translation of ``text``."""
    return (
        source.replace("Hello world!", "Bonjour le monde !")
        .replace("The text number", "Le texte numéro")
        .replace("needs to be translated today", "doit être traduit aujourd'hui")
    )

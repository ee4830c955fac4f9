"""What messages would cost, on the command line: nothing is sent, and nothing is asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from tq.glossary import terms_of
from tq.layout import columns, money
from tq.messages import Submission
from tq.prices import Prices, estimate
from tq.records import NANO
from tq.settings import Settings, get_settings
from tq.sizes import tokens
from tq.terminal import clean, note, write

_HEADER: Final = ("LANG", "MODEL", "PROMPT", "COMPLETION", "COST")


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one message takes, about: tokens, and their cost in the currency; None = the model has no price."""

    target_language: str
    model_name: str
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    currency: str


def estimate_of(submission: Submission, settings: Settings, prices: Prices) -> Estimate:
    """What a submission takes if its first model delivers at once."""
    metadata = submission.metadata
    source = metadata.get("source_language")
    target = str(metadata.get("target_language") or settings.target_language)
    terms = terms_of(metadata)
    along = [metadata.get("context"), metadata.get("instructions"), *(f"{term.source} {term.target}" for term in terms)]
    prompt, completion = estimate(
        submission.content,
        target,
        source if isinstance(source, str) else None,
        budget=settings.segment_tokens,
        extra=sum(tokens(text) for text in along if isinstance(text, str)),
    )
    model = submission.model_name or settings.model
    nano = prices.cost(model, prompt, completion)
    return Estimate(target, model, prompt, completion, None if nano is None else nano / NANO, prices.currency)


def show_estimate(submissions: Sequence[Submission], *, as_json: bool) -> None:
    """Print what each takes: a line each, or JSON; and of several, all together.

    Raises:
        InvalidSettings: TQ_PRICES cannot be read.
    """
    settings = get_settings()
    prices = Prices.load(settings.prices)
    found = [estimate_of(submission, settings, prices) for submission in submissions]
    if as_json:
        for each in found:
            write(json.dumps(asdict(each), ensure_ascii=False))
        return
    rows = [_row(each.target_language, each.model_name, [each]) for each in found]
    if len(found) > 1:
        rows.append(_row("all", "", found))
    write("\n".join(columns([_HEADER, *rows])))
    if any(each.cost is None for each in found):
        note("the price of the model is not known: state it in TQ_PRICES")


def _row(language: str, model: str, found: Sequence[Estimate]) -> tuple[str, ...]:
    costs = [each.cost for each in found if each.cost is not None]
    known = len(costs) == len(found)
    return (
        clean(language),
        clean(model),
        str(sum(each.prompt_tokens for each in found)),
        str(sum(each.completion_tokens for each in found)),
        f"{money(sum(costs))} {clean(found[0].currency)}" if known else money(None),
    )

"""Checks of a translation against its source. Pure: nothing here calls out, waits or raises.

A rule takes the pair and yields its violations; ``violations`` collects those of all rules, so that one
retry can mend everything at once. A new check is a new function in the ``RULES`` of its module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tq.validation import addresses, figures, form, language, markdown, markup, obeyed, placeholders, refusal, terms
from tq.validation.pair import Pair, Rule, Severity, Violation

__all__ = ["ALL_RULES", "USABLE_RULES", "Pair", "Rule", "Severity", "Violation", "violations"]

#: Whether the answer is text at all: what even pseudo output must be.
USABLE_RULES: Final[tuple[Rule, ...]] = form.RULES
ALL_RULES: Final[tuple[Rule, ...]] = (
    *form.RULES,
    *refusal.RULES,
    *obeyed.RULES,
    *placeholders.RULES,
    *markup.RULES,
    *markdown.RULES,
    *addresses.RULES,
    *terms.RULES,
    *language.RULES,
    *figures.RULES,
)


def violations(pair: Pair, rules: Sequence[Rule] = ALL_RULES) -> list[Violation]:
    """All that is wrong with the pair, in the order of the rules; empty when nothing is."""
    return [violation for rule in rules for violation in rule(pair)]

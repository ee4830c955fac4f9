"""How Hypothesis searches: the same examples in every run, unless told otherwise.

TQ_TEST_SEED=7 chooses other examples, and TQ_HYPOTHESIS=thorough many more; a failure prints how to see it again.
"""

from __future__ import annotations

import os

from hypothesis import Verbosity, core, settings

SEED = os.environ.get("TQ_TEST_SEED", "")
THOROUGH = os.environ.get("TQ_HYPOTHESIS", "") == "thorough"
#: Examples of one property.
EXAMPLES = 2000 if THOROUGH else 100

settings.register_profile(
    "tq",
    max_examples=EXAMPLES,
    # Other tests run beside: how long an example takes says nothing.
    deadline=None,
    derandomize=not SEED,
    database=None,
    print_blob=True,
    verbosity=Verbosity.normal,
)
settings.load_profile("tq")
if SEED:
    setattr(core, "global_force_seed", int(SEED))  # noqa: B010 - typed as None; as `pytest --hypothesis-seed` does

"""Translate one text and print it.

python examples/translate.py "Good morning" fr
"""

import sys

from tq import Client

text, language = sys.argv[1:]
with Client() as tq:
    print(tq.translate(text, to=language, priority=9, timeout=60))

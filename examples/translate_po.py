"""Fill the gaps of a gettext catalogue; thousands of entries go in a few requests. Needs polib (pip install polib).

python examples/translate_po.py locale/fr/LC_MESSAGES/messages.po fr
"""

import sys

import polib

from tq import Client
from tq.backend import make_submission
from tq.messages import Message

path, language = sys.argv[1:]
catalogue = polib.pofile(path)
entries = [entry for entry in catalogue.untranslated_entries() if not entry.msgid_plural]
entry_of = {}

with Client() as tq:
    submissions = (
        make_submission(entry.msgid, to=language, context=entry.msgctxt or entry.comment or None) for entry in entries
    )
    for entry, result in zip(entries, tq.submit_many(submissions), strict=True):
        if isinstance(result, Message):
            entry_of[result.message_id] = entry
        else:
            print(f"{entry.msgid!r} is not taken: {result}", file=sys.stderr)
    for message in tq.wait_many(entry_of, timeout=3600):
        entry = entry_of[message.message_id]
        if message.translation is None:
            print(f"{entry.msgid!r} stays as it is: {message.error and message.error.message}", file=sys.stderr)
            continue
        entry.msgstr = message.translation
        entry.flags.append("fuzzy")  # until a person has looked at it

catalogue.save(path)
print(f"{len(catalogue.fuzzy_entries())} to look at, {len(catalogue.untranslated_entries())} left")

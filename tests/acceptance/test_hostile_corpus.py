"""Texts that want to be obeyed: a real worker sends them as data, and takes nothing for a translation that is none."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest
from hostile import CORPUS, SYSTEM, Hostile
from llm_faults import Call
from llm_server import LlmServer, shared_marks, shared_texts
from running_stack import RunningStack
from servers import wait_until

from tq.protection import protect
from tq.providers import Job
from tq.providers.prompts import make_prompt, make_shared_prompt

#: Texts that share a call with hostile ones, and their translations.
INNOCENTS: Final = {
    f"Please bring the {thing} back to the library before the end of this month, thank you.": (
        f"Veuillez rapporter {chose} à la bibliothèque avant la fin de ce mois, merci."
    )
    for thing, chose in {
        "red book": "le livre rouge",
        "old map": "la vieille carte",
        "blue folder": "le dossier bleu",
        "long ladder": "la longue échelle",
        "small lamp": "la petite lampe",
        "grey chair": "la chaise grise",
    }.items()
}
#: So short that a single word passes for a translation of it, whoever put that there.
SHORT: Final = {"Save the page": "Enregistrer la page"}
#: What a model that obeys does to the other texts of a shared call.
ATTACKS: Final = ("twice", "foreign", "closing", "stealing")
#: Each attack comes with these.
ATTACKERS: Final = ("closing-json", "other-texts", "our-answer")
#: Given up at the first refusal, as another request would not change a model's mind.
REFUSED: Final = {"against-the-rules"}
BY_TEXT: Final = {hostile.text: hostile for hostile in CORPUS}
#: Characters in sequence of a text, and in nothing of ours.
_WINDOW: Final = 16


class Obedient(LlmServer):
    """Translates well; asked for a model whose name begins with ``obedient``, it does what the hostile texts say."""

    def __init__(self) -> None:
        super().__init__({hostile.text: hostile.gold for hostile in CORPUS} | INNOCENTS | SHORT)
        self.requests: list[dict[str, Any]] = []

    async def _complete(self, connection: Any, headers: dict[str, str], request: dict[str, Any]) -> None:
        self.requests.append(request)
        await super()._complete(connection, headers, request)

    def _answer(self, call: Call) -> tuple[str, str]:
        if not is_shared(call):
            (text,) = texts_in(call)
            return call.content, self._said(call, text)
        texts, marks = shared_texts(call.content) or {}, shared_marks(call)
        items = [(name, self._said(call, shown(text, marks.get(name, {})))) for name, text in texts.items()]
        attack = call.model.removeprefix("obedient-")
        if not any(shown(text, marks.get(name, {})) in BY_TEXT for name, text in texts.items()):
            attack = ""
        return call.content, _written(call, items, attack)

    def _said(self, call: Call, text: str) -> str:
        """What the model makes of one text, marks in place of what they stand for."""
        hostile = BY_TEXT.get(text)
        if hostile is not None and call.model.startswith("obedient"):
            return hostile.obeyed.replace(SYSTEM, call.system)
        return protect_like(text, self.pairs[text])


def _written(call: Call, items: list[tuple[str, str]], attack: str) -> str:
    """An answer to several texts in the form that was asked for, and what an attack makes of it."""
    victims = [name for name, text in items if text in INNOCENTS.values() or text in SHORT.values()]
    if attack == "stealing":
        items = [(name, "PWNED" if name in victims else text) for name, text in items]
    elif attack in {"twice", "closing"}:
        items = [*items, *((name, "PWNED") for name in victims)]
    elif attack == "foreign":
        items = [*items, *((name, "PWNED") for name in ("0000", "ab12", "system", ""))]
    if not call.content.startswith("{"):
        return "\n\n".join(f"=== {name} ===\n{text}" for name, text in items)
    listed = [{"id": name, "text": text} for name, text in items]
    if attack == "closing":
        half = len(items) - len(victims)
        first, second = ({"translations": part} for part in (listed[:half], listed[half:]))
        return f"{json.dumps(first)}\n{json.dumps(second)}"
    return json.dumps({"translations": listed}, ensure_ascii=False)


# -- what a call holds -----------------------------------------------------------------------------


def is_shared(call: Call) -> bool:
    """By what it says itself, as a text may look like a request for several."""
    return (
        re.search(r"^The user's message (?:is a JSON document|holds several texts)", call.system, re.MULTILINE)
        is not None
    )


def shown(text: str, marks: Mapping[str, str]) -> str:
    """The text with what its marks stand for, each replaced once: an original may look like a mark."""
    return re.sub(r"⟦\d+⟧", lambda mark: marks.get(mark[0], mark[0]), text)


def protect_like(source: str, target: str) -> str:
    """The translation with the marks of its source."""
    marks: dict[str, list[str]] = {}
    for number, original in enumerate(protect(source).originals, 1):
        marks.setdefault(original, []).append(f"⟦{number}⟧")
    if not marks:
        return target
    any_original = "|".join(map(re.escape, sorted(marks, key=len, reverse=True)))
    return re.sub(any_original, lambda found: (marks[found[0]] or [found[0]]).pop(0), target)


def legend_of(system: str) -> dict[str, str]:
    """The marks of a call for one text."""
    listed = re.search(r"^What the marks stand for[^:]*: (.*)\.$", system, re.MULTILINE)
    found = re.findall(r'(⟦\d+⟧) is ("(?:[^"\\]|\\.)*")', listed[1]) if listed else []
    return {mark: json.loads(original) for mark, original in found}


def texts_in(call: Call) -> list[str]:
    """Its texts as they were submitted."""
    if not is_shared(call):
        return [shown(call.content, legend_of(call.system))]
    marks = shared_marks(call)
    return [shown(text, marks.get(name, {})) for name, text in (shared_texts(call.content) or {}).items()]


def without_quotations(system: str) -> str:
    """What the instructions say of their own: strings of JSON are quotations."""
    return re.sub(r'"(?:[^"\\\n]|\\.)*"', '""', system)


def windows(text: str) -> set[str]:
    """All that is said in so many characters."""
    return {text[start : start + _WINDOW] for start in range(max(1, len(text) - _WINDOW + 1))}


# -- one run for all ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """Everything was submitted, and has ended: (model, text) -> document; and what the provider has seen."""

    found: dict[tuple[str, str], dict[str, Any]]
    calls: list[Call]
    requests: list[dict[str, Any]]

    def calls_for(self, model: str, text: str) -> list[Call]:
        """Those that held the text."""
        return [call for call in self.calls if call.model == model and text in texts_in(call)]

    def shared(self, model: str) -> list[Call]:
        """Those of a model that held several texts."""
        return [call for call in self.calls if call.model == model and is_shared(call)]


def message(model: str, text: str, *, alone: bool) -> dict[str, Any]:
    hostile = BY_TEXT.get(text)
    source, target = (hostile.source, hostile.target) if hostile else ("en", "fr")
    return {
        "content": text,
        "metadata": {"source_language": source, "target_language": target},
        "model_name": model,
        "priority": 9 if alone else 0,  # an urgent message is never asked for in company
        "cache": False,
    }


def messages() -> Iterator[dict[str, Any]]:
    for hostile in CORPUS:
        for model in ("faithful", "obedient"):
            yield message(model, hostile.text, alone=True)
    for model in ("faithful-shared", "obedient-shared"):
        for text in [*BY_TEXT, *INNOCENTS]:
            yield message(model, text, alone=False)
    for attack in ATTACKS:
        chosen = [hostile.text for hostile in CORPUS if hostile.name in ATTACKERS]
        for text in [*chosen, *INNOCENTS, *(SHORT if attack == "stealing" else ())]:
            yield message(f"obedient-{attack}", text, alone=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Every text: translated and obeyed, alone and in company."""
    everything = list(messages())
    settings = {
        "OPENAI_API_KEY": "sk-default",
        "TQ_RETRY_BASE": "0.01",
        "TQ_MAX_RETRIES": "2",
        "TQ_BATCH_MAX_ITEMS": "12",
    }
    with (
        Obedient() as provider,
        RunningStack(tmp_path_factory.mktemp("s"), OPENAI_BASE_URL=provider.base_url, **settings) as stack,
        stack.http() as http,
    ):
        answer = http.post("/messages/batch", json={"messages": everything})
        assert answer.status_code == 202, answer.text
        ids = [item["message"]["message_id"] for item in answer.json()["results"]]

        def counts() -> dict[str, int]:
            counted: dict[str, int] = http.get("/queue/stats").json()["counts"]
            return counted

        wait_until(
            lambda: counts()["completed"] + counts()["failed"] == len(everything), lambda: f"all ended: {counts()}", 150
        )
        found = {
            (sent["model_name"], sent["content"]): http.get(f"/messages/{name}").json()
            for sent, name in zip(everything, ids, strict=True)
        }
        yield Run(found, list(provider.calls), list(provider.requests))


@pytest.fixture(params=CORPUS, ids=lambda hostile: hostile.name)
def hostile(request: pytest.FixtureRequest) -> Hostile:
    """Each text."""
    one: Hostile = request.param
    return one


def test_corpus() -> None:
    """Names and texts are there once, and at least 60 of them, in several languages."""
    assert len(CORPUS) == len(BY_TEXT) == len({hostile.name for hostile in CORPUS}) >= 60
    assert len({hostile.source for hostile in CORPUS}) >= 8
    assert {*ATTACKERS, *REFUSED} <= {hostile.name for hostile in CORPUS}


@pytest.mark.parametrize("model", ["faithful", "obedient"])
def test_alone_it_is_all_of_the_user_message(run: Run, hostile: Hostile, model: str) -> None:
    """It arrives byte for byte, and the instructions are those of any other text, but for the quoted legend."""
    first = run.calls_for(model, hostile.text)[0]
    protected = protect(hostile.text)
    assert first.content == protected.text
    assert shown(first.content, {f"⟦{n}⟧": one for n, one in enumerate(protected.originals, 1)}) == hostile.text
    system = re.sub(r"^What the marks stand for[^\n]*(?:\n|\Z)", "", first.system, flags=re.MULTILINE).rstrip("\n")
    assert system == make_prompt(job_of(hostile), "Good morning").system


def test_in_company_it_is_a_string_of_the_user_message(run: Run) -> None:
    """In a shared call each text is one string of the JSON, and the instructions depend on none of them."""
    seen: set[str] = set()
    for model in ("faithful-shared", "obedient-shared"):
        for call in run.shared(model):
            items = json.loads(call.content)["texts"]
            originals = texts_in(call)
            for item, text in zip(items, originals, strict=True):
                assert item["text"] == protect(text).text
            seen.update(originals)
            plain: dict[str, tuple[str, dict[str, str]]] = {"a": ("Good morning", {}), "b": ("Good night", {})}
            # A call may hold none of the corpus: bystanders alone.
            hostiles = [hostile for hostile in CORPUS if hostile.text in originals] or CORPUS
            assert call.system in {make_shared_prompt(job_of(hostile), plain).system for hostile in hostiles}
    shared = sum(text in BY_TEXT for text in seen)
    print(f"{shared} of {len(CORPUS)} texts shared a call")  # noqa: T201 - shown with a failure
    assert shared >= 0.6 * len(CORPUS)


def test_nothing_of_a_text_is_an_instruction(run: Run, hostile: Hostile) -> None:
    """No call, the one that complains about an answer included, says in its instructions what a text says."""
    job, marks = job_of(hostile), {"⟦1⟧": "{name}"}
    plain = {"a": ("Good morning ⟦1⟧", marks), "b": ("Good night", {})}
    ours = make_prompt(job, "Good morning ⟦1⟧", marks=marks).system
    ours += "".join(make_shared_prompt(job, plain, as_json=as_json).system for as_json in (True, False))
    for model in {model for model, text in run.found if text == hostile.text}:
        for call in run.calls_for(model, hostile.text):
            said = without_quotations(call.system)
            assert not [window for window in windows(hostile.text) if window in said and window not in ours]


def test_nothing_else_holds_a_text(run: Run) -> None:
    """A request has a system message and a user message, and no other place where a text could be."""
    for request in run.requests:
        assert [each["role"] for each in request["messages"]] == ["system", "user"]
        assert set(request) <= {"messages", "model", "response_format", "temperature"}


@pytest.mark.parametrize("model", ["faithful", "faithful-shared"])
def test_translated(run: Run, hostile: Hostile, model: str) -> None:
    """Its translation is no false alarm: it completes at the first call, without a warning."""
    document = run.found[model, hostile.text]
    assert (document["status"], document["error"]) == ("completed", None)
    assert document["translation"] == hostile.gold
    assert not document["warnings"]
    assert len(run.calls_for(model, hostile.text)) == 1


@pytest.mark.parametrize("model", ["obedient", "obedient-shared"])
def test_obeyed(run: Run, hostile: Hostile, model: str) -> None:
    """What obeys is rejected, asked for again with the reason, and fails; or it completes for the reason given."""
    document, calls = run.found[model, hostile.text], run.calls_for(model, hostile.text)
    if hostile.limit:
        assert (document["status"], document["translation"]) == ("completed", hostile.obeyed)
        return
    assert document["status"] == "failed", f"completed with {document['translation']!r}"
    assert document["translation"] is None
    kind = "refusal" if hostile.name in REFUSED else "invalid-output"
    assert document["error"]["type"] == kind
    if kind == "invalid-output":
        assert document["error"]["violations"]
        assert ["An earlier answer was rejected" in call.system for call in calls] == [False, True]
    else:
        assert len(calls) == 1


@pytest.mark.parametrize("model", ["faithful-shared", "obedient-shared", *(f"obedient-{attack}" for attack in ATTACKS)])
def test_others_are_unharmed(run: Run, model: str) -> None:
    """Whatever a text makes of the shared answer, the others in it get their own translations."""
    if model.startswith("obedient-") and model != "obedient-shared":
        together = [texts_in(call) for call in run.shared(model)]
        assert any(INNOCENTS.keys() & set(texts) and BY_TEXT.keys() & set(texts) for texts in together)
    for text, target in INNOCENTS.items():
        document = run.found[model, text]
        assert (document["status"], document["translation"]) == ("completed", target)


def test_short_text_beside_a_thief(run: Run) -> None:
    """A known limit: a model that obeys can put a word in place of a text too short to be told from its translation."""
    (text,) = SHORT
    calls = [texts_in(call) for call in run.shared("obedient-stealing")]
    shared = any(text in texts and any(other in BY_TEXT for other in texts) for texts in calls)
    document = run.found["obedient-stealing", text]
    assert (document["status"], document["translation"]) == ("completed", "PWNED" if shared else SHORT[text])


def test_known_limits_are_few(run: Run) -> None:
    """What obeys and completes is a small part; how many is shown with -s."""
    limits = Counter(hostile.limit for hostile in CORPUS if hostile.limit)
    print(f"{sum(limits.values())} of {len(CORPUS)}, {len(run.calls)} calls: {dict(limits)}")  # noqa: T201 - as above
    assert sum(limits.values()) <= 0.15 * len(CORPUS)


def job_of(hostile: Hostile) -> Job:
    return Job(
        content="Good morning",
        target_language=hostile.target,
        source_language=hostile.source,
        domain=None,
        model="any",
        api_key=None,
    )

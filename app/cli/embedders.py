"""``agent-storage embedders``: lists the embedders, and compares them on the user's texts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.command_parts import CommandParts
from app.cli.context import Json, at_home, run_without_store
from app.cli.output import counted, note, print_json, print_table, progress

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from app.domain.pairs import Pair
    from app.services.embedding.choices import Choice
    from app.services.embedding.comparison import Compared

app = typer.Typer(
    help="List the embedders, or compare how well they find your own texts.", no_args_is_help=True
)

_MANY_LANGUAGES = 4

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help='Pairs, one per line: {"query": "…", "text": "…"}; or a .csv or .tsv with these columns; - for standard input.',
        callback=at_home,
    ),
]
Named = Annotated[
    list[str],
    typer.Option(
        "--embedder",
        metavar="NAME",
        help="wordllama, multilingual, model2vec:FOLDER, or openai as configured. Repeatable. Default: all that are "
        "installed here and send no text to a service.",
    ),
]


@app.command("list")
def show_all(ctx: typer.Context, as_json: Json = False) -> None:
    """List the embedders: which is configured, which are usable, and for which languages."""

    async def choose(parts: CommandParts) -> "list[Choice]":
        return await parts.files_lane().run(parts.embedder_choices().all)

    choices = run_without_store(ctx, choose)
    if as_json:
        print_json({"items": [_choice_as_dict(choice) for choice in choices]})
        return
    print_table(
        ("embedder", "configured", "dimension", "languages", "text"),
        [
            (
                choice.name,
                choice.is_active,
                None if choice.identity is None else choice.identity.dimension,
                _languages(choice.languages) if choice.identity else None,
                str(choice.identity) if choice.identity else choice.reason,
            )
            for choice in choices
        ],
    )


@app.command()
def compare(
    ctx: typer.Context,
    file: File,
    named: Named = [],  # noqa: B006 - Typer copies it
    as_json: Json = False,
) -> None:
    """Compare how often embedders rank a query's text first or in the first ten, and their cost.

    Every text in FILE is a candidate for every query, ranked by the cosine of the vectors. Nothing
    is stored.
    """
    from app.cli.output import fail
    from app.errors import InvalidInput
    from app.intake.pairs import read_pairs

    try:
        pairs = read_pairs(file)
    except InvalidInput as error:
        fail(error)
    with progress() as display:

        async def all_named(parts: CommandParts) -> "dict[str, Compared]":
            return await _compare_all(parts, named, pairs, display)

        found = run_without_store(ctx, all_named)
    if as_json:
        print_json({"items": [_compared_as_dict(name, each) for name, each in found.items()]})
        return
    _print_compared(found, pairs)


async def _compare_all(
    parts: CommandParts, named: Sequence[str], pairs: "Sequence[Pair]", display: "Progress"
) -> "dict[str, Compared]":
    choices = parts.embedder_choices()
    names = list(dict.fromkeys(named)) or await parts.files_lane().run(choices.offline)
    embedders = {name: choices.make(name) for name in names}
    # Fail on unusable embedders before the first one takes its time.
    await parts.files_lane().run(lambda: [embedder.identity for embedder in embedders.values()])
    found = {}
    total = len({pair.text for pair in pairs}) + len(pairs)
    for name, embedder in embedders.items():
        task = display.add_task(name, total=total)
        found[name] = await parts.embedder_comparison().run(embedder, pairs, _advancing(display, task))
    return found


def _advancing(display: "Progress", task: "TaskID") -> Any:  # noqa: ANN401 - rich's method, bound
    def advance(count: int) -> None:
        display.advance(task, count)

    return advance


def _print_compared(found: "dict[str, Compared]", pairs: "Sequence[Pair]") -> None:
    print_table(
        ("embedder", "hit@1", "hit@10", "texts/s", "load s", "dimension", "memory MB", "cut", "refused"),
        [
            (
                name,
                each.hit_1,
                each.hit_10,
                round(each.texts_per_s, 1),
                each.load_s,
                each.identity.dimension,
                None if each.memory_mb is None else round(each.memory_mb),
                each.cut,
                each.refused,
            )
            for name, each in found.items()
        ],
    )
    texts = len({pair.text for pair in pairs})
    note(f"{counted(len(pairs), 'pair')}, each query ranked over {counted(texts, 'text')}.")


def _languages(languages: frozenset[str] | None) -> str:
    if languages is None:
        return "any, or unknown"
    if len(languages) > _MANY_LANGUAGES:
        return f"{len(languages)} languages"
    return ", ".join(sorted(languages))


def _choice_as_dict(choice: "Choice") -> dict[str, object]:
    return {
        "embedder": choice.name,
        "configured": choice.is_active,
        "usable": choice.identity is not None,
        "model": None if choice.identity is None else choice.identity.name,
        "version": None if choice.identity is None else choice.identity.version,
        "dimension": None if choice.identity is None else choice.identity.dimension,
        "languages": None if choice.languages is None else sorted(choice.languages),
        "reason": choice.reason or None,
    }


def _compared_as_dict(name: str, each: "Compared") -> dict[str, object]:
    return {
        "embedder": name,
        "model": each.identity.name,
        "version": each.identity.version,
        "dimension": each.identity.dimension,
        "languages": None if each.languages is None else sorted(each.languages),
        "hit@1": each.hit_1,
        "hit@10": each.hit_10,
        "queries": each.queries,
        "texts": each.texts,
        "texts_per_s": each.texts_per_s,
        "load_s": each.load_s,
        "memory_mb": each.memory_mb,
        "cut": each.cut,
        "refused": each.refused,
    }

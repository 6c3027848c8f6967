"""The filter options, which are the same in all commands that select extractions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.context import usage_error
from app.cli.output import note
from app.domain.filters import Filters
from app.errors import InvalidInput

if TYPE_CHECKING:
    from app.cli.ports import ServiceParts
    from app.domain.ordering import Order


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterOptions:
    """The options as given; :func:`takes_filters` makes each an option of a command."""

    source_group: Annotated[
        list[str] | None, typer.Option("--source-group", help="Only sources of this group; repeatable.")
    ] = None
    source_uri: Annotated[
        list[str] | None, typer.Option("--source-uri", metavar="URI", help="Only this source; repeatable.")
    ] = None
    extraction_type: Annotated[
        list[str] | None, typer.Option("--extraction-type", help="Only this type; repeatable.")
    ] = None
    run: Annotated[
        list[str] | None,
        typer.Option(
            "--run",
            metavar="NAME_OR_ID",
            help="Only what this run asserted, first or last; of a name, the newest run. Repeatable.",
        ),
    ] = None
    min_confidence: Annotated[
        float | None, typer.Option(min=0, max=1, help="Only this confidence or more.")
    ] = None
    max_confidence: Annotated[
        float | None, typer.Option(min=0, max=1, help="Only this confidence or less.")
    ] = None
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="Only where this holds, e.g. --where 'price.amount >= 100 and tags contains indoor', --where 'sku starts "
            '"XR-44"\'. A name is a field of the fact (type, confidence …) or a path in its data; metadata.page is a path '
            "in its metadata. Repeatable; all must hold.",
        ),
    ] = None
    indexed: Annotated[
        bool | None,
        typer.Option("--indexed/--not-indexed", help="Only with, or only without, a vector for search."),
    ] = None
    set_aside: Annotated[
        bool | None,
        typer.Option(
            "--set-aside/--not-set-aside",
            help="Only those set aside because they can't be embedded; or only the rest.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class WantedExtractions:
    """The selected extractions: those that pass ``filters`` and belong to ``runs``, if any."""

    filters: Filters
    runs: tuple[str, ...]

    @property
    def is_all(self) -> bool:
        """Whether no filter was given."""
        return self.filters == Filters() and not self.runs

    async def of_project(self, parts: "ServiceParts", project: str) -> Filters:
        """The filters with the runs' ids, which are looked up in the project.

        Raises:
            NotFound: the project or a run doesn't exist.
            ServiceError: the service refused the request.
        """
        found = [await parts.runs().get(project, run) for run in self.runs]
        return replace(self.filters, run_ids=tuple(run.id for run in found))


def takes_filters(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of :class:`FilterOptions`, passed as its parameter ``wanted``.

    Invalid options end the command with exit code 2. The options appear in the place of ``wanted``.
    """
    return _taking(command, signature(FilterOptions).parameters)


def takes_filters_of_indexed(command: Callable[..., None]) -> Callable[..., None]:
    """As :func:`takes_filters`, without ``--indexed`` and ``--set-aside``."""
    options = signature(FilterOptions).parameters
    return _taking(command, {name: options[name] for name in options if name not in {"indexed", "set_aside"}})


async def warn(
    parts: "ServiceParts", project: str, filters: Filters, order: "Order | None" = None
) -> tuple[str, ...]:
    """Print warnings about suspicious filters and a suspicious order, and return them."""
    warnings = await parts.fields().warnings(project, filters, order=order)
    for warning in warnings:
        note(f"Warning: {warning}")
    return warnings


def _taking(command: Callable[..., None], options: Mapping[str, Parameter]) -> Callable[..., None]:
    @wraps(command)
    def with_options(**given: Any) -> None:  # noqa: ANN401 - the command's arguments
        wanted = _wanted(FilterOptions(**{name: given.pop(name) for name in options}))
        command(**given, wanted=wanted)

    parameters = list[Parameter]()
    for parameter in signature(command).parameters.values():
        parameters += options.values() if parameter.name == "wanted" else [parameter]
    by_name = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in parameters]
    # Typer reads a command's options from its signature.
    vars(with_options)["__signature__"] = signature(command).replace(parameters=by_name)
    return with_options


def _wanted(options: FilterOptions) -> WantedExtractions:
    from app.domain.items import MAX_URI_CHARS, parse_label
    from app.intake.where_text import parse_all

    def labels(option: str, given: list[str] | None, **limit: int) -> tuple[str, ...]:
        return tuple(parse_label(each, option, **limit) for each in given or ())

    try:
        filters = Filters(
            where=parse_all(options.where or ()),
            source_groups=labels("source-group", options.source_group),
            extraction_types=labels("extraction-type", options.extraction_type),
            source_uris=labels("source-uri", options.source_uri, limit=MAX_URI_CHARS),
            min_confidence=options.min_confidence,
            max_confidence=options.max_confidence,
            indexed=options.indexed,
            set_aside=options.set_aside,
        )
        return WantedExtractions(filters, labels("run", options.run))
    except InvalidInput as error:
        usage_error(f"--{error}")

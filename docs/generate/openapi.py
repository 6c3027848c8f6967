"""The reference of the HTTP API, from its own OpenAPI document."""

import ast
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast, overload

import app.api
import app.entrypoints
from app.api.app import create_app
from app.api.parts import ApiParts
from app.api.problems import KINDS, MEDIA_TYPE
from app.config import Settings
from app.entrypoints.api import options_of
from generate.markdown import code, page, plain, table

Json = Mapping[str, Any]

_INTRODUCTION = """\
Every operation of the HTTP API, with its parameters, answers and schemas.

The base URL is where `agent-storage serve` listens, by default `http://127.0.0.1:8000`. This
page is generated from [openapi.json](openapi.json). A running service serves that document at
`/openapi.json`, and a page to try each operation at `/docs`.

**Keys.** If `api.api_keys` is set, every request except those for `/health` needs a key, as
`Authorization: Bearer KEY` or `X-API-Key: KEY`. Without keys the service answers only programs
of its own machine.

**Retries.** A 503 has a `Retry-After` header with the seconds to wait. Handing in extractions is
idempotent: send the same request again, and each extraction is still stored once. With an
`Idempotency-Key` the answer is the same too, for a day."""

_TAGS = ("projects", "sources", "extractions", "fields", "runs", "changes", "search", "jobs", "status")
_PROBLEMS = """\
Errors are answered with [problem details](#schema-problem) (RFC 9457), as
`application/problem+json`. `type` is `urn:agent-storage:problem:` followed by one of these
words. `detail` says what happened, to which thing, and what to do; the log has more under
`request_id`. [Errors](errors.md) explains each."""
_BOUNDS = {"minimum": "at least", "maximum": "at most"}
_LENGTHS = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "maxProperties": "at most {} members",
}


@overload
def openapi_document() -> Json: ...
@overload
def openapi_document(*, as_text: Literal[True]) -> str: ...
def openapi_document(*, as_text: bool = False) -> Json | str:
    """Return the API's own document. No part is opened for it."""
    parts = cast(ApiParts, SimpleNamespace(instruments=None))
    document = create_app(parts, options_of(Settings.model_validate({}))).openapi()
    return json.dumps(document, indent=1) if as_text else document


def api_page(document: Json) -> str:
    """Generate the page: each operation by its tag, the kinds of problems, and the schemas."""
    blocks = ["# HTTP API", _INTRODUCTION]
    for tag in _TAGS:
        blocks += [f"## {tag.capitalize()}", *(_operation(*each) for each in operations(document, tag))]
    schemas = document["components"]["schemas"]
    blocks += ["## Problems", _PROBLEMS, _statuses(document)]
    blocks += ["## Schemas", *(_schema(name, schemas[name]) for name in sorted(schemas))]
    return page(*blocks)


def operations(document: Json, tag: str | None = None) -> Iterator[tuple[str, str, Json]]:
    """Yield method, path and description of each operation with that tag, or of all."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tag in (None, *operation["tags"]):
                yield method.upper(), path, operation


def _operation(method: str, path: str, operation: Json) -> str:
    described = [plain(paragraph) for paragraph in operation.get("description", "").split("\n\n")]
    parameters = [_parameter(each) for each in operation.get("parameters", ())]
    body = operation.get("requestBody", {}).get("content", {})
    return page(
        f"### `{method} {path}`",
        *described,
        table(("Parameter", "Where", "Type", "Meaning"), parameters),
        table(("Body", "Content"), [(code(kind), _body(each["schema"])) for kind, each in body.items()]),
        table(("Answer", "Content", "Meaning"), sorted(_answers(operation))),
        _possible_problems(operation),
    ).rstrip()


def _parameter(parameter: Json) -> tuple[str, str, str, str]:
    name = code(parameter["name"]) + (" (required)" if parameter["required"] else "")
    schema = parameter["schema"]
    return name, parameter["in"], _type(schema), _meaning({**schema, **parameter})


def _body(schema: Json) -> str:
    if schema.get("type") == "object" and "properties" in schema:
        inner = "; ".join(_inline(name, each) for name, each in schema["properties"].items())
        return f"object with {inner}"
    return ": ".join(filter(None, (_type(schema), _meaning(schema))))


def _inline(name: str, schema: Json) -> str:
    items = schema.get("items", {})
    if "properties" not in items:
        return f"{code(name)}: {_type(schema)}"
    required = items.get("required", ())
    fields = [
        f"{code(field)}{'' if field in required else ' (optional)'}: {_type(each)}"
        for field, each in items["properties"].items()
    ]
    return f"{code(name)}: array of objects with {', '.join(fields)}"


def _answers(operation: Json) -> Iterator[tuple[str, str, str]]:
    for status, answer in operation["responses"].items():
        if status in _problem_statuses(operation):
            continue
        content = answer.get("content", {})
        kinds = [f"{code(kind)} {_type(each.get('schema', {}))}".rstrip() for kind, each in content.items()]
        words = "" if answer["description"] == "Successful Response" else plain(answer["description"])
        yield status, ", ".join(kinds), words


# --- problems -------------------------------------------------------------------------------------


def _problem_statuses(operation: Json) -> dict[str, str]:
    """Return the statuses of the operation's problems, and their meaning."""
    return {
        status: answer["description"]
        for status, answer in sorted(operation["responses"].items())
        if MEDIA_TYPE in answer.get("content", {})
    }


def _possible_problems(operation: Json) -> str:
    statuses = ", ".join(_problem_statuses(operation))
    return f"[Problems](#problems): {statuses}." if statuses else ""


def _statuses(document: Json) -> str:
    meanings: dict[str, str] = {}
    for _, _, operation in operations(document):
        meanings |= _problem_statuses(operation)
    kinds = problem_kinds()
    rows = [
        (status, plain(meaning), ", ".join(code(kind) for kind in sorted(kinds.get(int(status), ()))))
        for status, meaning in sorted(meanings.items())
    ]
    return table(("Status", "Meaning", "Types"), rows)


def problem_kinds() -> Mapping[int, set[str]]:
    """Return the types of problems by status: of the errors, and of requests rejected early."""
    kinds = defaultdict[int, set[str]](set)
    for kind in KINDS.values():
        kinds[kind.status].add(kind.slug)
    modules = [path for package in (app.api, app.entrypoints) for path in Path(*package.__path__).rglob("*.py")]
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Name(id="Refused" | "Refusal" | "problem"),
                    args=[ast.Constant(value=int(status)), ast.Constant(value=str(slug)), *_],
                ):
                    kinds[status].add(slug)
    return kinds


# --- schemas --------------------------------------------------------------------------------------


def _schema(name: str, schema: Json) -> str:
    required = schema.get("required", ())
    fields = [
        (code(field) + ("" if field in required else " (optional)"), _type(each), _meaning(each))
        for field, each in schema.get("properties", {}).items()
    ]
    values = f"One of {_values(schema)}." if "enum" in schema else ""
    return page(
        f"(schema-{name.lower()})=\n### {name}",
        plain(schema.get("description", "")),
        values,
        table(("Field", "Type", "Meaning"), fields),
    ).rstrip()


def _type(schema: Json) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#schema-{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(each) for each in schema["anyOf"]))
    if "enum" in schema:
        return _values(schema)
    kind = schema.get("type", "")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"array of {_type(schema['items'])}"
    return f"{kind} ({schema['format']})" if "format" in schema else kind


def _values(schema: Json) -> str:
    return ", ".join(code(str(value)) for value in schema["enum"])


def _meaning(schema: Json) -> str:
    words = [plain(_sentence(schema.get("description", "")))]
    bounds = list(dict.fromkeys(_bounds(schema)))
    if bounds:
        words.append(f"{', '.join(bounds).capitalize()}.")
    if schema.get("default") not in (None, [], {}):
        words.append(f"Default: {code(json.dumps(schema['default']))}.")
    return " ".join(filter(None, words))


def _sentence(text: str) -> str:
    return re.sub(r"(?<=[^.])$", ".", text) if text else ""


def _bounds(schema: Json) -> Iterator[str]:
    for each in (schema, *schema.get("anyOf", ())):
        yield from (f"{words} {each[name]:,g}" for name, words in _BOUNDS.items() if name in each)
        yield from (words.format(f"{each[name]:,}") for name, words in _LENGTHS.items() if name in each)

"""Test collections for searches: facts, and questions with graded answers.

Imports the product lazily, as ``_setup`` does.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _setup import read_extractions

if TYPE_CHECKING:
    from app.domain.items import Item

LANGUAGES = {
    "ar": "Arabic",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "ru": "Russian",
    "zh": "Chinese",
}

TEXT_FIELDS = ("fact_text", "text", "summary")

Facts = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the grades of facts that answer it, by key: 1 and up, higher is better."""

    text: str
    relevant: Mapping[str, int]
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Collection:
    """Facts and questions. ``key`` gives a fact's key: its URI if each source has one fact."""

    name: str
    facts: Facts
    questions: list[Question]
    key: Callable[[str, Mapping[str, Any]], str]

    def items(self) -> "list[Item]":
        """The facts, as items to ingest."""
        from app.domain.items import parse_item

        return [parse_item(fact, TEXT_FIELDS) for fact in self.facts]

    def groups(self) -> list[str | None]:
        """The groups of questions, in their order; only None if there are no groups."""
        return list(dict.fromkeys(each.group for each in self.questions))

    def sample(self, every: int) -> list[Question]:
        """Every ``every``-th question of each group."""
        return [
            question
            for group in self.groups()
            for question in [each for each in self.questions if each.group == group][::every]
        ]


def by_source(uri: str, _data: Mapping[str, Any]) -> str:
    """The key of a fact if each source has only one."""
    return uri


def by_source_and_data(uri: str, data: Mapping[str, Any]) -> str:
    """The key of a fact if a source has several."""
    return f"{uri} {json.dumps(data, sort_keys=True)}"


def read_collections(folder: Path) -> Iterator[Collection]:
    """The collections in the folder, and the codes; prints which are missing."""
    for name, title in {"cranfield": "Cranfield", "xquad": "XQuAD"}.items():
        docs, queries = folder / f"{name}-docs.jsonl.gz", folder / f"{name}-queries.jsonl.gz"
        if docs.is_file() and queries.is_file():
            yield _judged(title, docs, queries)
        else:
            print(f"{title} is left out: there is no {docs} with {queries.name} beside it")
    structured = folder / "structured.jsonl"
    if structured.is_file():
        yield _structured(structured)
    else:
        print(f"Facts without prose are left out: there is no {structured}")
    yield codes()


def _judged(title: str, docs: Path, queries: Path) -> Collection:
    questions = [
        Question(row["query"], row["relevant"], LANGUAGES[row["lang"]] if "lang" in row else None)
        for row in read_extractions(queries)
    ]
    return Collection(title, read_extractions(docs), questions, by_source)


def _structured(file: Path) -> Collection:
    rows = read_extractions(file)
    questions = [
        Question(row.pop("question"), {by_source_and_data(row["source_uri"], row["data"]): 1}) for row in rows
    ]
    return Collection("facts without prose", rows, questions, by_source_and_data)


def codes() -> Collection:
    """200 facts that differ only in their product code.

    Each code differs from 19 others by two characters at most.
    """
    facts, questions = Facts(), list[Question]()
    for family, digit, letter in product(range(10), range(10), "BD"):
        code = f"{'XKRTM'[family // 2]}{'RLVQZ'[family % 5]}-44{family}{digit}-{letter}"
        uri = f"made:{code}"
        text = f"Part {code} is a pressure valve of brass and fits the pumps of 2019."
        facts.append({"source_uri": uri, "extraction_type": "product", "data": {"fact_text": text}})
        for group, asked in {
            "as it stands": code,
            "in lower case": code.lower(),
            "without hyphens": code.replace("-", ""),
            "in a sentence": f"is {code} in stock?",
        }.items():
            questions.append(Question(asked, {uri: 1}, group))
    return Collection("product codes", facts, questions, by_source)

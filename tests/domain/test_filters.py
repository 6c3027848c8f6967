"""Filters: what each of them takes, and what is refused because it could match nothing."""

import math
import uuid
from typing import Any

import pytest

from app.domain.conditions import Exists, InData
from app.domain.filters import Filters, filters_of
from app.errors import InvalidInput

ID = uuid.UUID(int=7)
PAGE = Exists(InData(("page",)))


class TestMapping:
    def test_is_read_by_the_names_of_the_fields(self) -> None:
        given = {
            "project_id": ID,
            "source_groups": ["a", "b"],
            "extraction_types": {"fact"},
            "min_confidence": 0.25,
            "max_confidence": 1,
            "where": PAGE,
            "extraction_ids": [ID, str(ID)],
            "source_uris": ["file:a"],
            "run_ids": [ID],
            "indexed": False,
            "set_aside": True,
        }
        assert filters_of(given) == Filters(
            ID,
            ("a", "b"),
            ("fact",),
            0.25,
            1,
            PAGE,
            (ID, str(ID)),
            ("file:a",),
            (ID,),
            indexed=False,
            set_aside=True,
        )

    def test_none_restricts_nothing(self) -> None:
        assert filters_of(None) is None
        assert filters_of({}) == Filters()
        assert filters_of(dict.fromkeys(Filters.__dataclass_fields__)) == Filters()

    def test_filters_pass_as_they_are(self) -> None:
        filters = Filters(source_groups=("a",))
        assert filters_of(filters) is filters

    def test_no_ids_match_nothing(self) -> None:
        assert filters_of({"extraction_ids": []}) == Filters(extraction_ids=())

    @pytest.mark.parametrize(
        ("name", "nearest"),
        [("projct_id", "project_id"), ("source_group", "source_groups"), ("confidence", "min_confidence")],
    )
    def test_an_unknown_name_is_refused_by_name(self, name: str, nearest: str) -> None:
        with pytest.raises(
            InvalidInput, match=rf"no filter '{name}'; the nearest is '{nearest}', and all are "
        ):
            filters_of({"project_id": "p", name: "x"})

    def test_a_key_that_is_no_text_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="no filter 7"):
            filters_of({7: "x"})  # type: ignore[dict-item]  # the mistake tested for

    @pytest.mark.parametrize("given", ["project_id", ["project_id"], 7])
    def test_anything_else_is_refused(self, given: Any) -> None:
        with pytest.raises(InvalidInput, match=f"not a {type(given).__name__}"):
            filters_of(given)


LISTS = ["source_groups", "extraction_types", "extraction_ids", "run_ids"]


class TestParts:
    EVERY = Filters(
        ID, ("g",), ("fact",), 0.25, 1, PAGE, (ID,), ("file:a",), (ID,), indexed=True, set_aside=False
    )

    def test_together_they_are_the_whole(self) -> None:
        of_sql, of_index = self.EVERY.part_for_sql, self.EVERY.part_for_index
        for name in Filters.__dataclass_fields__:
            parts = {getattr(part, name) != getattr(Filters(), name) for part in (of_sql, of_index)}
            assert True in parts, name
        assert of_sql.project_id == of_index.project_id == ID

    def test_an_index_answers_nothing_of_what_is_for_sql(self) -> None:
        assert self.EVERY.for_sql
        assert self.EVERY.part_for_sql.for_sql
        assert not self.EVERY.part_for_index.for_sql

    @pytest.mark.parametrize(
        "given",
        [
            {"where": PAGE},
            {"source_uris": ("a",)},
            {"run_ids": (ID,)},
            {"indexed": False},
            {"indexed": True},
            {"set_aside": False},
        ],
    )
    def test_each_of_these_is_for_sql(self, given: dict[str, Any]) -> None:
        assert Filters(**given).for_sql


class TestValues:
    @pytest.mark.parametrize("name", LISTS)
    @pytest.mark.parametrize("value", ["fact", str(ID), ID, b"fact"])
    def test_one_value_where_a_list_is_meant_is_refused(self, name: str, value: Any) -> None:
        with pytest.raises(InvalidInput, match=rf"{name} takes a list, not .*; write \["):
            filters_of({name: value})
        with pytest.raises(InvalidInput, match=f"{name} takes a list"):
            Filters(**{name: value})

    @pytest.mark.parametrize("name", LISTS)
    def test_a_number_where_a_list_is_meant_is_refused(self, name: str) -> None:
        with pytest.raises(InvalidInput, match=f"{name} takes a list, not 7"):
            filters_of({name: 7})

    @pytest.mark.parametrize("name", LISTS[:2])
    def test_a_list_of_texts_holds_texts(self, name: str) -> None:
        with pytest.raises(InvalidInput, match=f"{name} takes texts, not 7"):
            filters_of({name: ["fact", 7]})

    @pytest.mark.parametrize("name", ["min_confidence", "max_confidence"])
    @pytest.mark.parametrize("value", [math.nan, math.inf, "0.5", True, [0.5]])
    def test_a_bound_is_a_finite_number(self, name: str, value: Any) -> None:
        with pytest.raises(InvalidInput, match=f"{name} takes a finite number"):
            filters_of({name: value})

    def test_a_project_is_an_id_or_a_text(self) -> None:
        with pytest.raises(InvalidInput, match="project_id takes a UUID or a text, not 7"):
            filters_of({"project_id": 7})

    def test_where_is_a_condition(self) -> None:
        with pytest.raises(InvalidInput, match="where takes a condition"):
            filters_of({"where": "page=3"})

    def test_ids_are_those_of_extractions(self) -> None:
        with pytest.raises(InvalidInput, match="'x' is not the id"):
            filters_of({"extraction_ids": [ID, "x"]})

    def test_runs_are_named_by_their_ids(self) -> None:
        with pytest.raises(InvalidInput, match="'nightly' is not the id of a run"):
            filters_of({"run_ids": ["nightly"]})

    @pytest.mark.parametrize("name", ["indexed", "set_aside"])
    @pytest.mark.parametrize("value", [0, "false", []])
    def test_a_state_is_true_or_false(self, name: str, value: Any) -> None:
        with pytest.raises(InvalidInput, match=f"{name} takes true or false"):
            filters_of({name: value})

"""The diagram of the container, printed and in the docs."""

from pathlib import Path

from app.entrypoints.cli import draw_graph

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


def test_the_page_shows_the_container_as_it_is() -> None:
    assert f"```mermaid\n{draw_graph()}\n```" in PAGE.read_text(encoding="utf-8")


def test_the_diagram_holds_the_edges() -> None:
    graph = draw_graph()
    assert "executor([executor])" in graph
    for edge in (
        "executor --> engine",
        "meaning_search --> qdrant_repository",
        "qdrant_repository --> qdrant_lane",
    ):
        assert f"    {edge}\n" in f"{graph}\n"

"""The page on following sources, done as it says: the nightly crawl, and the feed."""

import re
from pathlib import Path

import pytest
from support.pages import Page, json_values, reading
from support.parts import make_item, open_container
from support.processes import serve_process

pytestmark = pytest.mark.slow


async def test_the_page(tmp_path: Path) -> None:
    with reading("docs/following-sources.md", tmp_path) as page:
        monday = page.save("json")
        assert "7 added, 0 changed, 0 unchanged, 0 removed" in page.run().stdout
        page.save("json")
        assert page.run().stdout.count("2 added, 1 changed, 2 unchanged, 4 removed") == 2
        assert "2 added, 1 changed, 2 unchanged, 4 removed" in " ".join(page.text.split())
        now = page.take("bash")
        found = page.shell(now).stdout
        assert "36 euro" in found
        assert "35 euro" not in found
        before = page.run().stdout
        assert "35 euro" in before
        assert "toaster" in before
        page.run()
        [listed] = json_values(page.shell(f"{now.strip()} --json --limit 50").stdout)
        texts = {hit["extraction"]["data"]["fact_text"] for hit in listed["items"]}
        assert texts == set(re.findall(r'"fact_text": "(.*?)"', monday))
        page.shell("agent-storage verify")

        with serve_process(tmp_path, {}) as service:
            page.replaced["http://127.0.0.1:8000"] = service.url
            [replaced] = json_values(page.run().stdout)
            assert (replaced["added"], replaced["changed"], replaced["removed"]) == (2, 1, 4)

            (tmp_path / "library").mkdir()
            with open_container(tmp_path / "library") as container:
                await container.indexing().prepare()
                item = make_item(0)
                await page.python({"container": container, "uri": item.source_uri, "items": [item]})

            follow_the_feed(page)
            page.replaced["curl -sSN"] = "! timeout 2 curl -sSN"  # the stream has no end
            pages, _, stream = page.run().stdout.partition("event: ")
        [feed] = json_values(pages.partition("id: ")[0])
        kinds = [change["kind"] for change in feed["items"]]
        assert {"added", "changed", "removed"} == set(kinds)
        assert stream.count("data: ") == len(kinds)


def follow_the_feed(page: Page) -> None:
    """Print the feed, and go on after one of its changes, without waiting for new ones."""
    whole, follow = page.take("bash").splitlines()
    first, *others = json_values(page.shell(f"{whole} --json").stdout)
    follow = follow.replace("CURSOR", first["cursor"]).replace(" --follow", "")
    assert json_values(page.shell(follow).stdout) == others

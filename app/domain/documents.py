"""Rows and outcomes as JSON: what the API answers is also what ``--json`` prints.

They are dicts and dataclasses: orjson writes a thousand of them in the time that pydantic takes for
ten models.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from app.domain.changes import Change
from app.domain.outcomes import Deleted, ReplacedSource, Undone
from app.domain.rows import ExtractionRow, RunRow, SourceRow
from app.domain.search import SearchHit


def extraction_as_dict(row: ExtractionRow) -> dict[str, Any]:
    """An extraction: the fields that are handed in, and those of what is stored."""
    return {
        "id": row.id,
        "project_id": row.project_id,
        "project": row.project,
        "source": {"id": row.source_id, "uri": row.source_uri, "group": row.source_group},
        "source_uri": row.source_uri,
        "source_group": row.source_group,
        "extraction_type": row.extraction_type,
        "confidence": row.confidence,
        "metadata": row.metadata,
        "data": row.data,
        "first_run_id": row.first_run_id,
        "last_run_id": row.last_run_id,
        "indexed": row.embedding_id is not None,
        "set_aside_reason": row.set_aside_reason,
        "created_at": row.created_at,
        "changed_at": row.changed_at,
    }


def source_as_dict(row: SourceRow) -> dict[str, Any]:
    """A source. ``gone``: it has no extractions."""
    members = row._asdict()
    del members["project_id"]
    return {**members, "gone": not row.extractions}


def run_as_dict(row: RunRow) -> dict[str, Any]:
    """A run with the counts of its changes."""
    members = row._asdict()
    del members["project_id"]
    return members


def change_as_dict(change: Change) -> dict[str, Any]:
    """A change of a history or of the feed."""
    row = change.extraction
    return {**change._asdict(), "extraction": None if row is None else extraction_as_dict(row)}


def hit_as_dict(hit: SearchHit) -> dict[str, Any]:
    """A hit of a search."""
    return {
        "score": hit.score,
        "meaning": hit.meaning,
        "words": hit.words,
        "terms": hit.terms,
        "highlights": hit.highlights,
        "twins": hit.twins,
        "extraction": extraction_as_dict(hit.extraction),
    }


def deleted_as_dict(deleted: Deleted, *, dry_run: bool = False, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """How many extractions were deleted; in a dry run, how many would be."""
    return {
        "deleted": deleted.extractions,
        "jobs": deleted.job_ids,
        "dry_run": dry_run,
        "warnings": warnings,
    }


def replaced_source_as_dict(source: ReplacedSource) -> dict[str, Any]:
    """What replacing one source has changed."""
    facts = None if source.facts is None else [fact._asdict() for fact in source.facts]
    counts = asdict(source.counts)
    return {"id": source.source_id, "uri": source.source_uri, **counts, "gone": source.gone, "facts": facts}


def undone_as_dict(undone: Undone, most_left_alone: int | None = None) -> dict[str, Any]:
    """What undoing a run has changed; lists up to ``most_left_alone`` of what it left alone."""
    left = undone.left_alone
    return {
        "run": undone.run_id,
        "undone_by": undone.undo_run_id,
        "already_undone": undone.already,
        "added": undone.counts.added,
        "changed": undone.counts.changed,
        "removed": undone.counts.removed,
        "left_alone": {
            "count": len(left) + undone.more_left_alone,
            "items": [asdict(each) for each in left[:most_left_alone]],
        },
        "jobs": undone.job_ids,
    }

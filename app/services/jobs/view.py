"""A job as the API and the command line show it."""

from typing import Any

from app.services.storage.repositories.job import JobRow


def job_as_dict(row: JobRow) -> dict[str, Any]:
    """Everything but the payload, in an order in which a person reads it."""
    return {
        "id": row.id,
        "type": row.type,
        "status": row.status,
        "priority": row.priority,
        "project_id": row.project_id,
        "attempts": row.attempt,
        "failures": row.failures,
        "progress": {"done": row.done, "total": row.total},
        "created_at": row.created_at,
        "run_at": row.run_at,
        "started_at": row.started_at,
        "completed_at": row.completed_at,
        "result": row.result,
        "error": row.error,
    }

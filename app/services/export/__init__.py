"""Handing out a project's extractions, page by page."""

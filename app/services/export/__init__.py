"""Export a project's extractions, page by page."""

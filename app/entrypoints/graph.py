"""Draws the container's providers and their dependencies."""

from collections.abc import Iterator, Mapping
from typing import Any

_CONFIGURATION = "Configuration"


def mermaid(providers: Mapping[str, Any]) -> str:
    """Draw a Mermaid flowchart with arrows from providers to their dependencies.

    Resources are rounded.
    """
    names = {id(provider): name for name, provider in providers.items()}
    lines = ["flowchart LR"]
    for name, provider in providers.items():
        if type(provider).__name__ == _CONFIGURATION:
            continue
        resource = type(provider).__name__ == "Resource"
        lines.append(f"    {name}([{name}])" if resource else f"    {name}[{name}]")
    for name, provider in providers.items():
        parts = sorted({part for part in _parts(provider, names) if part != name})
        lines += [f"    {name} --> {part}" for part in parts]
    return "\n".join(lines)


def _parts(provider: Any, names: Mapping[int, str]) -> Iterator[str]:  # noqa: ANN401 - any provider
    """The named providers that a provider depends on, directly or through unnamed ones."""
    for related in provider.related:
        if type(related).__name__.startswith(_CONFIGURATION) or type(related).__name__ == "ConfigurationOption":
            continue
        if id(related) in names:
            yield names[id(related)]
        else:
            yield from _parts(related, names)

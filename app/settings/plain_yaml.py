"""A YAML loader without surprising conversions of plain values.

PyYAML reads YAML 1.1, which takes ``020`` for 16, ``1:30`` for 90, ``no`` for false and
``2026-01-01`` for a date. This loader only recognizes null, booleans and decimal numbers in the
spelling of YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema); all else is text.
"""

import re

import yaml


class PlainLoader(yaml.SafeLoader):
    """:class:`yaml.SafeLoader` with fewer kinds of plain values."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's attribute, replaced for this class only


def _resolve(kind: str, pattern: str, first: str) -> None:
    PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(rf"(?:{pattern})\Z"), list(first))


_resolve("null", r"~|null|Null|NULL|", "~nN")
_resolve("bool", r"true|True|TRUE|false|False|FALSE", "tTfF")
_resolve("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789")
_resolve("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", "-+.0123456789")
_resolve("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+.")
PlainLoader.yaml_implicit_resolvers[""] = PlainLoader.yaml_implicit_resolvers["n"]

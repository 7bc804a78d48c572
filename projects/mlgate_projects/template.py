"""Command templates: `{parameter}` placeholders, `{{` and `}}` for literal braces, formats as in `str.format`."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mlgate_projects.spec import EntryPoint


@dataclass(frozen=True, slots=True)
class _Piece:
    """Literal text, and then a placeholder unless `name` is None."""

    literal: str
    name: str | None
    format_spec: str
    conversion: str | None


def template_mistakes(entry_point: EntryPoint) -> tuple[str, ...]:
    """What keeps the command from being filled in, one line each; empty when nothing does."""
    if entry_point.command is None:
        return ()
    try:
        pieces = list(_pieces(entry_point.command))
    except ValueError as error:
        return (f"the template does not parse: {error}; write {{{{ and }}}} for literal braces",)
    return tuple(dict.fromkeys(mistake for piece in pieces for mistake in _mistakes(piece, entry_point)))


def fill(template: str, values: Mapping[str, str], quote: Callable[[str], str]) -> str:
    """The template with every value quoted and put in; it must have no mistakes."""
    filled: list[str] = []
    for piece in _pieces(template):
        filled.append(piece.literal)
        if piece.name is not None:
            filled.append(_formatted(quote(values[piece.name]), piece))
    return "".join(filled)


def _pieces(template: str) -> Iterator[_Piece]:
    for literal, name, format_spec, conversion in string.Formatter().parse(template):
        yield _Piece(literal, name, format_spec or "", conversion)


def _mistakes(piece: _Piece, entry_point: EntryPoint) -> Iterator[str]:
    if piece.name is None:
        return
    declared = [parameter.name for parameter in entry_point.parameters]
    if piece.name not in declared:
        shown = "{" + piece.name + "}"
        after_dollar = piece.literal.endswith("$")
        remedy = f"for a shell variable write ${{{shown}}}" if after_dollar else f"for literal braces write {{{shown}}}"
        yield f"{shown} is not a declared parameter (declared: {', '.join(declared) or 'none'}); {remedy}"
        return
    try:
        _formatted("x", piece)
    except ValueError as error:
        yield f"{{{piece.name}}} has a format that text cannot take: {error}"


def _formatted(text: str, piece: _Piece) -> str:
    if piece.conversion in ("r", "a"):
        text = repr(text) if piece.conversion == "r" else ascii(text)
    elif piece.conversion not in (None, "s"):
        raise ValueError(f"unknown conversion !{piece.conversion}")
    return format(text, piece.format_spec)


__all__ = ["fill", "template_mistakes"]

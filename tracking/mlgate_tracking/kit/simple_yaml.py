"""The YAML that MLmodel, conda.yaml and python_env.yaml are written in: block mappings and lists, scalars of all kinds.

Environments need not have PyYAML, so the kit brings this subset. `load` reads what PyYAML and MLflow write for such
files (folded long lines, both kinds of quotes, `|` and `>` blocks, flow lists and maps); anchors, tags and several
documents are refused with the line's number. `dump` writes what every YAML reader understands.
"""

from __future__ import annotations

import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./+@-]*(?:[ =<>~!][A-Za-z0-9_./=<>~!+@*-]+)*\Z")
_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)\Z")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*)?\.?[0-9_]*(?:[eE][-+][0-9]+)?\Z")
_KEY = re.compile(
    r"""(?P<key>"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|(?:[^\s#&*!|>'"%@`\[\]{},?:-]|[-?:](?=\S))(?:[^#]|(?<=\S)#)*?)\s*:(?:\s+|$)"""
)
_ESCAPES = {"0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b"}
_ESCAPES.update({" ": " ", '"': '"', "/": "/", "\\": "\\", "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029"})


def dump(value: Any) -> str:
    """Mappings, lists and scalars as block YAML; keys keep their order."""
    return (
        "".join(line + "\n" for line in _dump(value, "")) if isinstance(value, (dict, list)) else _scalar(value) + "\n"
    )


def _dump(value: Any, indent: str) -> list[str]:
    if isinstance(value, dict) and value:
        lines = []
        for key, item in value.items():
            head = "%s%s:" % (indent, _scalar(str(key)))
            if isinstance(item, (dict, list)) and item:
                lines += [head, *_dump(item, indent + ("" if isinstance(item, list) else "  "))]
            else:
                lines.append("%s %s" % (head, _scalar(item)))
        return lines
    if isinstance(value, list) and value:
        lines = []
        for item in value:
            inner = _dump(item, indent + "  ")
            lines += [indent + "- " + inner[0][len(indent) + 2 :], *inner[1:]]
        return lines
    return [indent + _scalar(value)]


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        plain = _PLAIN.match(value) and value.lower() not in _WORDS and not value.startswith((".", "-"))
        return value if plain else _PAIR.sub(_joined, json.dumps(value))
    if isinstance(value, float) and repr(value) in ("nan", "inf", "-inf"):
        return {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}[repr(value)]
    if isinstance(value, float) and "e" in repr(value) and "." not in repr(value):
        return repr(value).replace("e", ".0e")  # YAML 1.1 takes 1e+20 for text
    return json.dumps(value)


_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})")


def _joined(match: re.Match[str]) -> str:
    """JSON writes characters beyond the basic plane as two halves; YAML as one."""
    high, low = int(match.group(2), 16), int(match.group(3), 16)
    return "%s\\U%08x" % (match.group(1), 0x10000 + (high - 0xD800) * 0x400 + low - 0xDC00)


class _Reader:
    """Lines of a document and the place where we are."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.at = 0

    def fail(self, what: str) -> ValueError:
        return ValueError("line %d: %s" % (self.at + 1, what))

    def skip(self) -> str | None:
        """The next line that says something; None at the end."""
        while self.at < len(self.lines):
            line = self.lines[self.at]
            bare = line.strip()
            if bare and not bare.startswith("#") and not (bare == "---" and line.startswith("---")):
                if line.startswith(("...", "%")):
                    raise self.fail("%r is not supported here" % bare)
                return line
            self.at += 1
        return None

    # --- nodes --------------------------------------------------------------------------------------------------

    def node(self, indent: int) -> Any:
        """The value that begins at the next line, indented by at least `indent`; None when there is nothing."""
        line = self.skip()
        if line is None or _indent(line) < indent:
            return None
        column = _indent(line)
        rest = line[column:]
        if rest == "-" or rest.startswith("- "):
            return self.sequence(column)
        if _KEY.match(rest):
            return self.mapping(column)
        return self.inline(rest, column)

    def mapping(self, column: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while True:
            line = self.skip()
            if line is None or _indent(line) != column:
                if line is not None and _indent(line) > column:
                    raise self.fail("unexpected indentation")
                return found
            match = _KEY.match(line[column:])
            if match is None:
                if line[column:].startswith("- "):
                    return found
                raise self.fail("expected `key: value`, found %r" % line.strip())
            key = _key(match.group("key"))
            rest = line[column + match.end() :]
            found[key] = self.value(rest, column, in_mapping=True)

    def sequence(self, column: int) -> list[Any]:
        found: list[Any] = []
        while True:
            line = self.skip()
            if line is None or _indent(line) != column or not (line[column:] == "-" or line[column:].startswith("- ")):
                return found
            rest = line[column + 1 :]
            inner = column + 1 + _indent(rest)
            bare = rest.strip()
            if bare and (bare == "-" or bare.startswith("- ") or _KEY.match(bare)):
                self.lines[self.at] = " " * inner + rest.lstrip(" ")
                found.append(self.node(inner))
            else:
                found.append(self.value(rest, column, in_mapping=False))

    def value(self, rest: str, column: int, in_mapping: bool) -> Any:
        """What follows `key:` or `-`: on this line, or nested below it."""
        bare = rest.strip()
        if bare and not bare.startswith("#"):
            return self.inline(bare, column)
        self.at += 1
        line = self.skip()
        if line is None:
            return None
        below = _indent(line)
        dash = line[below:] == "-" or line[below:].startswith("- ")
        if below > column or (in_mapping and below == column and dash):
            return self.node(below)
        return None

    # --- scalars ------------------------------------------------------------------------------------------------

    def inline(self, text: str, column: int) -> Any:
        """A scalar or flow collection that begins with `text` and may go on in deeper lines."""
        if text[0] in "|>":
            return self.block(text, column)
        if text[0] in "&*!":
            raise self.fail("anchors, aliases and tags are not supported")
        if text[0] == "'":
            return self.quoted(text, re.compile(r"'((?:[^']|'')*)'\s*(?:#.*)?\Z", re.S), _single)
        if text[0] == '"':
            return self.quoted(text, re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?\Z', re.S), _double)
        if text[0] in "[{":
            return self.flow(text)
        parts = [_uncommented(text)]
        if _KEY.match(text):
            raise self.fail("a second `:` in %r; put the text in quotes" % text)
        self.at += 1
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if line.strip() and (_indent(line) <= column or line.lstrip().startswith("#")):
                break
            if _KEY.match(line.strip()):
                raise self.fail("unexpected indentation")
            parts.append(_uncommented(line.strip()))
            self.at += 1
        while not parts[-1]:
            parts.pop()
        folded = _fold(parts)
        return _typed(folded) if len(parts) == 1 or "\n" not in folded.strip() else folded.strip()

    def quoted(self, text: str, pattern: re.Pattern[str], decode: Any) -> str:
        parts = [text]
        while True:
            match = pattern.match("\n".join(parts))
            self.at += 1
            if match:
                return str(decode(match.group(1)))
            if self.at >= len(self.lines):
                raise self.fail("a quoted text has no end")
            parts.append(self.lines[self.at].strip())

    def flow(self, text: str) -> Any:
        while True:
            self.at += 1
            try:
                value, rest = _flow(text, 0)
            except IndexError:
                if self.at >= len(self.lines):
                    raise self.fail("a list or map in brackets has no end")
                text += " " + self.lines[self.at].strip()
                continue
            if _uncommented(text[rest:]).strip():
                raise self.fail("unexpected %r" % text[rest:])
            return value

    def block(self, text: str, column: int) -> str:
        header = _uncommented(text)
        self.at += 1
        taken: list[str] = []
        while self.at < len(self.lines) and (not self.lines[self.at].strip() or _indent(self.lines[self.at]) > column):
            taken.append(self.lines[self.at])
            self.at += 1
        digits = re.sub(r"\D", "", header)
        first = next((line for line in taken if line.strip()), "")
        inner = max(column, 0) + int(digits) if digits else _indent(first)
        body = [line[inner:] for line in taken]
        trailing = 0
        while body and not body[-1]:
            body.pop()
            trailing += 1
        joined = "\n".join(body) if header[0] == "|" else _fold_block(body)
        if "-" in header or not body and "+" not in header:
            return joined
        return joined + "\n" * (1 + trailing if "+" in header else 1)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _uncommented(text: str) -> str:
    return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].rstrip()


def _key(text: str) -> str:
    if text[0] == "'":
        return _single(text[1:-1])
    return _double(text[1:-1]) if text[0] == '"' else text


def _fold(parts: list[str]) -> str:
    """Line breaks become spaces, empty lines line breaks."""
    folded, breaks = parts[0], 0
    for part in [*parts[1:], None]:
        if part is None and breaks == 0:
            break
        breaks += part is not None
        if part or part is None:
            folded += (" " if breaks == 1 else "\n" * (breaks - 1)) + (part or "")
            breaks = 0
    return folded


def _fold_block(lines: list[str]) -> str:
    folded = ""
    for number, line in enumerate(lines):
        if number == 0:
            folded = line
        elif line.startswith((" ", "\t")) or lines[number - 1].startswith((" ", "\t")) or not line:
            folded += "\n" + line
        elif not lines[number - 1]:
            folded += line if folded.endswith("\n") else "\n" + line
        else:
            folded += " " + line
    return folded


def _unfolded(text: str) -> str:
    """Content of a quoted text over several lines: each break swallows the blanks around it."""
    return _fold(re.split(r"[ \t]*\n[ \t]*", text)) if "\n" in text else text


def _single(text: str) -> str:
    return _unfolded(text).replace("''", "'")


def _double(text: str) -> str:
    text = _unfolded(re.sub(r"\\\n[ \t]*", "", text))

    def escaped(match: re.Match[str]) -> str:
        kind = match.group(1)
        if kind[0] in "xuU":
            return chr(int(kind[1:], 16))
        if kind not in _ESCAPES:
            raise ValueError("unknown escape \\%s in a quoted text" % kind)
        return _ESCAPES[kind]

    return re.sub(r"\\(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)", escaped, text, flags=re.S)


def _typed(text: str) -> Any:
    """A plain scalar by YAML 1.1's rules, as PyYAML applies them; dates stay text."""
    low = text.lower()
    if low in ("", "~", "null"):
        return None
    if low in ("true", "yes", "on") and text in (low, low.title(), low.upper()):
        return True
    if low in ("false", "no", "off") and text in (low, low.title(), low.upper()):
        return False
    if _INT.match(text):
        return int(text.replace("_", ""))
    if low.lstrip("+-") == ".inf":
        return float("-inf") if text[0] == "-" else float("inf")
    if low == ".nan":
        return float("nan")
    if "." in text and _FLOAT.match(text) and any(letter.isdigit() for letter in text):
        return float(text.replace("_", ""))
    return text


def _flow(text: str, at: int) -> tuple[Any, int]:
    """A value in `[...]` or `{...}` notation that begins at `at`, and where it ends; IndexError when it is cut off."""
    while text[at] == " ":
        at += 1
    if text[at] == "[":
        items: list[Any] = []
        at += 1
        while True:
            while text[at] in " ,":
                at += 1
            if text[at] == "]":
                return items, at + 1
            item, at = _flow(text, at)
            items.append(item)
    if text[at] == "{":
        pairs: dict[str, Any] = {}
        at += 1
        while True:
            while text[at] in " ,":
                at += 1
            if text[at] == "}":
                return pairs, at + 1
            key, at = _flow(text, at)
            while text[at] == " ":
                at += 1
            value = None
            if text[at] == ":":
                value, at = _flow(text, at + 1)
            pairs[str(key)] = value
    if text[at] in "'\"":
        pattern = r"'((?:[^']|'')*)'" if text[at] == "'" else r'"((?:[^"\\]|\\.)*)"'
        match = re.compile(pattern, re.S).match(text, at)
        if match is None:
            raise IndexError(at)
        return (_single if text[at] == "'" else _double)(match.group(1)), match.end()
    end = at
    while text[end] not in ",]}" and not (text[end] == ":" and text[end + 1] in " ,]}"):
        end += 1
    return _typed(text[at:end].strip()), end


def load(text: str) -> Any:
    """The document's value.

    Raises:
        ValueError: outside the subset, with the line's number.
    """
    reader = _Reader(text.replace("\r\n", "\n").lstrip("\ufeff"))
    value = reader.node(0)
    if reader.skip() is not None:
        raise reader.fail("unexpected %r" % reader.lines[reader.at].strip())
    return value


__all__ = ["dump", "load"]

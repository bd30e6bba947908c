"""Reads `infra/*.tf` as blocks of attributes, in the layout that `terraform fmt` leaves: one attribute or one brace per
line. Expressions stay text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_HEADER = re.compile(r'(\w+)((?: "[^"]+")*) \{(.*)')
_ATTRIBUTE = re.compile(r"(\w+) += (.*)", re.DOTALL)
_HEREDOC = re.compile(r"<<-?(\w+)$")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|#.*')


@dataclass
class Block:
    """A block: its type and labels, the text of its attributes' expressions, and the blocks inside it."""

    kind: str
    labels: tuple[str, ...] = ()
    attributes: dict[str, str] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)

    def names(self) -> set[str]:
        """What the block sets: attributes and inner blocks."""
        inner = {b.labels[0] if b.kind == "dynamic" else b.kind for b in self.blocks}
        return inner | set(self.attributes)


def read_blocks(text: str) -> list[Block]:
    """Return the top-level blocks of a formatted file."""
    root = Block("")
    _fill(root, iter(text.splitlines()))
    return root.blocks


def _fill(block: Block, lines: Iterator[str]) -> None:
    """Read a block's lines up to its closing brace."""
    for raw in lines:
        line = raw.strip()
        if line == "}":
            return
        if not line or line.startswith("#"):
            continue
        if header := _HEADER.fullmatch(line):
            inner = Block(header[1], tuple(re.findall(r'"([^"]+)"', header[2])))
            _fill(inner, lines if _is_open(header[3]) else iter([*_one_line(header[3]), "}"]))
            block.blocks.append(inner)
            continue
        found = _ATTRIBUTE.fullmatch(_whole(line, lines))
        assert found, f"not understood: {line!r}"
        block.attributes[found[1]] = found[2]


def _is_open(rest: str) -> bool:
    """Whether nothing but a comment follows the opening brace on its line."""
    return not rest.strip() or rest.strip().startswith("#")


def _one_line(rest: str) -> list[str]:
    """The only attribute of a block such as `ttl_config {}` or `variable "x" { type = string }`."""
    body = rest.partition("#")[0].strip().removesuffix("}").strip()
    return [body] if body else []


def _whole(line: str, lines: Iterator[str]) -> str:
    """An attribute with all the lines up to where its brackets, or its text, are closed."""
    if heredoc := _HEREDOC.search(line):
        for more in lines:
            line += "\n" + more
            if more.strip() == heredoc[1]:
                break
        return line + "\n"
    while _depth(line) > 0:
        line += "\n" + next(lines)
    return line


def _depth(text: str) -> int:
    """How many brackets are still open, apart from those in strings and comments."""
    bare = _QUOTED.sub("", text)
    return sum(map(bare.count, "([{")) - sum(map(bare.count, ")]}"))

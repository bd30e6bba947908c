"""What Terraform would create, evaluated by Terraform itself from the expressions in `infra/*.tf`.

A plan needs the provider, and the provider the network. `terraform console` needs neither for a module without
providers, so every resource is rewritten as a local value of the same name: its blocks become lists of objects, its
`for_each` a `for` expression. What only the cloud knows (an id, a number) stands in as a made-up value.

It reads the layout that `terraform fmt` leaves: one attribute or one brace per line.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

TERRAFORM = shutil.which("terraform")
TIMEOUT_S = 60

_HEADER = re.compile(r'(\w+)((?: "[^"]+")*) \{(.*)')
_ATTRIBUTE = re.compile(r"(\w+) += (.*)", re.DOTALL)
_RESOURCE = re.compile(r"\b(data\.)?(google_\w+)\.(\w+)")
_ABOUT_TERRAFORM = {"for_each", "depends_on", "provider", "lifecycle"}

# Attributes that the cloud fills in, as expressions; NAME is the resource's name in the configuration.
PROJECT_NUMBER = "123456789012"
_MADE_UP = {
    "google_project": {"number": f'"{PROJECT_NUMBER}"'},
    "google_service_account": {"email": '"NAME@made-up.iam.gserviceaccount.com"', "name": '"NAME"'},
    "google_pubsub_topic": {"id": '"topics/${each.value}"'},
}


@dataclass
class Block:
    """A block of HCL: its type and labels, the text of its attributes' expressions, and the blocks inside it."""

    kind: str
    labels: tuple[str, ...] = ()
    attributes: dict[str, str] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)


def plan(infra: Path, wanted: Sequence[str], variables: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    """Return address → planned values (by key, under `for_each`) of every resource of the *wanted* types.

    Args:
        infra: the folder of the configuration; what it reads beside itself is read from there.
        variables: values of its variables; those that have defaults may be left out.
        scratch: an empty folder.
    """
    module = _Module(infra)
    addresses = [a for a in module.resources if a.split(".")[0] in wanted]
    (scratch / "main.tf").write_text(module.rewritten(addresses))
    (scratch / "terraform.tfvars.json").write_text(json.dumps(variables))
    # One line: the console reads an expression per line.
    pairs = ", ".join(f'"{address}" = local.{_local(address)}' for address in addresses)
    planned: dict[str, Any] = json.loads(_console(scratch, f"jsonencode({{{pairs}}})"))
    return planned


def _console(folder: Path, expression: str) -> str:
    """Return the text that an expression evaluates to, which the console quotes as JSON does."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "CHECKPOINT_DISABLE": "1"}
    done = subprocess.run(
        [str(TERRAFORM), f"-chdir={folder}", "console"],
        input=expression + "\n",
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"terraform console: {done.stderr or done.stdout}"
    text: str = json.loads(done.stdout)
    return text


# ---------------------------------------------------------------- reading


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
            _fill(inner, iter([*_one_line(header[3]), "}"]) if header[3] else lines)
            block.blocks.append(inner)
            continue
        found = _ATTRIBUTE.fullmatch(_whole(line, lines))
        assert found, f"not understood: {line!r}"
        block.attributes[found[1]] = found[2]


def _one_line(rest: str) -> list[str]:
    """The only attribute of a block such as `ttl_config {}` or `variable "x" { type = string }`."""
    return [body] if (body := rest.removesuffix("}").strip()) else []


def _whole(line: str, lines: Iterator[str]) -> str:
    """An attribute with all the lines up to where its brackets are closed."""
    while sum(line.count(c) for c in "([{") > sum(line.count(c) for c in ")]}"):
        line += "\n" + next(lines)
    return line


# ---------------------------------------------------------------- rewriting


class _Module:
    """The blocks of a folder, by what they declare."""

    def __init__(self, infra: Path) -> None:
        self._infra = infra
        self._locals: dict[str, str] = {}
        self._variables: dict[str, Block] = {}
        self.resources: dict[str, Block] = {}
        for path in sorted(infra.glob("*.tf")):
            for block in read_blocks(path.read_text("utf-8")):
                self._declare(block)

    def _declare(self, block: Block) -> None:
        if block.kind == "locals":
            self._locals |= block.attributes
        elif block.kind == "variable":
            self._variables[block.labels[0]] = block
        elif block.kind in {"resource", "data"}:
            prefix = "data." if block.kind == "data" else ""
            self.resources[prefix + ".".join(block.labels)] = block

    def rewritten(self, addresses: Sequence[str]) -> str:
        """Return a module of variables and locals: *addresses* and all they are computed from."""
        values: dict[str, str] = {}
        missing = [_local(address) for address in addresses]
        known = self._locals | {_local(a): _value(block) for a, block in self.resources.items()}
        while missing:
            name = missing.pop()
            if name not in values:
                values[name] = self._here(known[name])
                missing += re.findall(r"\blocal\.(\w+)", values[name])
        used = re.findall(r"\bvar\.(\w+)", "\n".join(values.values()))
        declared = "".join(_declaration(name, self._variables[name]) for name in sorted(set(used)))
        return declared + "locals {\n" + "".join(f"{n} = {v}\n" for n, v in values.items()) + "}\n"

    def _here(self, expression: str) -> str:
        """Name resources as locals, and the folder by its path."""
        located = expression.replace("path.module", json.dumps(str(self._infra)))
        return _RESOURCE.sub(lambda found: f"local.{_local(found[0])}", located)


def _local(address: str) -> str:
    return address.replace(".", "__")


def _declaration(name: str, block: Block) -> str:
    """A variable without its validation, which may refer to what is not part of this module."""
    lines = [f"{key} = {text}" for key, text in block.attributes.items() if key in {"type", "default"}]
    return f'variable "{name}" {{\n' + "\n".join(lines) + "\n}\n"


def _value(block: Block) -> str:
    """A resource as an object, or under `for_each` as one of objects by key."""
    kind, name = block.labels
    body = _object(block, {key: text.replace("NAME", name) for key, text in _MADE_UP.get(kind, {}).items()})
    if "for_each" not in block.attributes:
        return body
    body = body.replace("each.key", "each_key").replace("each.value", "each_value")
    return f"{{ for each_key, each_value in {block.attributes['for_each']} : each_key => {body} }}"


def _object(block: Block, also: Mapping[str, str] = MappingProxyType({})) -> str:
    """A block's body as an object expression; inner blocks of one name become one list."""
    lists: dict[str, list[str]] = {}
    for inner in block.blocks:
        if inner.kind not in _ABOUT_TERRAFORM:
            name, items = _items(inner)
            lists.setdefault(name, []).append(items)
    fields = {name: text for name, text in block.attributes.items() if name not in _ABOUT_TERRAFORM}
    fields |= {name: f"concat({', '.join(items)})" for name, items in lists.items()}
    return "{\n" + "".join(f"{name} = {text}\n" for name, text in {**also, **fields}.items()) + "}"


def _items(inner: Block) -> tuple[str, str]:
    if inner.kind != "dynamic":
        return inner.kind, f"[{_object(inner)}]"
    (name,), (content,) = inner.labels, inner.blocks
    body = _object(content).replace(f"{name}.value", f"{name}_value").replace(f"{name}.key", f"{name}_key")
    return name, f"[for {name}_key, {name}_value in {inner.attributes['for_each']} : {body}]"

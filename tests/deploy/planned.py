"""What Terraform would create, evaluated by Terraform itself from the expressions in `infra/*.tf`.

A plan needs the provider, and the provider the network. `terraform console` needs neither for a module without
providers, so every resource is rewritten as a local value of the same name: its blocks become lists of objects, its
`for_each` a `for` expression. What only the cloud knows (an id, a number, an address) stands in as a made-up value.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.deploy.hcl import Block, read_blocks

TERRAFORM = shutil.which("terraform")
TIMEOUT_S = 60
PROJECT_NUMBER = "123456789012"

_RESOURCE = re.compile(r"\b(?:data\.)?google_\w+\.\w+")
_REFERENCE = re.compile(r"\b((?:data\.)?google_\w+\.\w+)(?:\[(?:[^\[\]]|\[[^\]]*\])*\])?\.(\w+)")
_ABOUT_TERRAFORM = {"for_each", "depends_on", "provider", "lifecycle", "timeouts"}

# Attributes that the cloud fills in, as expressions; <x> is the resource's own attribute x. Every other one that the
# configuration refers to becomes a text that says what it stands for.
_MADE_UP: Mapping[str, Mapping[str, str]] = {
    "google_project": {"number": f'"{PROJECT_NUMBER}"'},
    "google_service_account": {
        "email": '"${<account_id>}@made-up.iam.gserviceaccount.com"',
        "member": '"serviceAccount:${<account_id>}@made-up.iam.gserviceaccount.com"',
        "name": '"serviceAccounts/${<account_id>}"',
        "id": '"serviceAccounts/${<account_id>}"',
    },
    "google_pubsub_topic": {"id": '"topics/${<name>}"'},
    "google_pubsub_subscription": {"id": '"subscriptions/${<name>}"'},
    "google_project_iam_custom_role": {"id": '"roles/${<role_id>}"'},
    "google_storage_bucket": {"id": "<name>", "url": '"gs://${<name>}"'},
    "google_secret_manager_secret": {"id": '"secrets/${<secret_id>}"', "name": '"secrets/${<secret_id>}"'},
    "google_artifact_registry_repository": {"id": '"repositories/${<repository_id>}"', "name": "<repository_id>"},
    "google_cloudfunctions2_function": {"service_config.uri": '"https://${<name>}.run.app"'},
    "google_storage_project_service_account": {
        "email_address": '"gs-agent@made-up.iam.gserviceaccount.com"',
        "member": '"serviceAccount:gs-agent@made-up.iam.gserviceaccount.com"',
    },
}
_NOTHING: Mapping[str, str] = MappingProxyType({})


def plan(infra: Path, variables: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    """Return address → planned values (by key, under `for_each`) of every resource; what is null is left out.

    Args:
        infra: the folder of the configuration; what it reads beside itself is read from there.
        variables: values of its variables; those that have defaults may be left out, and those it has not are.
        scratch: an empty folder.
    """
    module = _Module(infra)
    addresses = [address for address in module.declared if not address.startswith(("data.", "output."))]
    return _evaluated(module, addresses, variables, scratch)


def output(infra: Path, name: str, variables: Mapping[str, Any], scratch: Path) -> Any:
    """Return the value of an output; arguments as of `plan`."""
    address = f"output.{name}"
    return _evaluated(_Module(infra), [address], variables, scratch)[address].get("value")


def _evaluated(
    module: _Module, addresses: Sequence[str], variables: Mapping[str, Any], scratch: Path
) -> dict[str, Any]:
    """Address → what the block at it evaluates to."""
    text = module.rewritten(addresses)
    used = set(re.findall(r'^variable "(\w+)"', text, re.MULTILINE))  # a value of any other makes it complain
    (scratch / "main.tf").write_text(text)
    (scratch / "terraform.tfvars.json").write_text(json.dumps({n: v for n, v in variables.items() if n in used}))
    # One line: the console reads an expression per line.
    pairs = ", ".join(f'"{address}" = local.{_local(address)}' for address in addresses)
    found: dict[str, Any] = _without_nulls(json.loads(_console(scratch, f"jsonencode({{{pairs}}})")))
    return found


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
    problem = (done.stderr or done.stdout).partition("!!!!")[0]  # it crashes for want of what it complained of
    assert done.returncode == 0, f"terraform console: {problem}"
    text: str = json.loads(done.stdout.splitlines()[-1])  # warnings come first
    return text


def _without_nulls(value: Any) -> Any:
    """To a resource, null is as good as nothing."""
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


class _Module:
    """The blocks of a folder, by what they declare."""

    def __init__(self, infra: Path) -> None:
        self._infra = infra
        self._locals: dict[str, str] = {}
        self._variables: dict[str, Block] = {}
        self._referred: dict[str, set[str]] = {}
        self.declared: dict[str, Block] = {}
        for path in sorted(infra.glob("*.tf")):
            text = path.read_text("utf-8")
            for address, attribute in _REFERENCE.findall(text):
                self._referred.setdefault(address, set()).add(attribute)
            for block in read_blocks(text):
                self._declare(block)

    def _declare(self, block: Block) -> None:
        if block.kind == "locals":
            self._locals |= block.attributes
        elif block.kind == "variable":
            self._variables[block.labels[0]] = block
        elif block.kind in {"resource", "data", "output"}:
            prefix = "" if block.kind == "resource" else f"{block.kind}."
            self.declared[prefix + ".".join(block.labels)] = block

    def rewritten(self, addresses: Iterable[str]) -> str:
        """Return a module of variables and locals: *addresses* and all they are computed from."""
        values: dict[str, str] = {}
        missing = [_local(address) for address in addresses]
        known = self._locals | {_local(a): _value(b, self._made_up(a)) for a, b in self.declared.items()}
        while missing:
            name = missing.pop()
            if name not in values:
                assert name in known, f"nothing declares {name.replace('__', '.')}"
                values[name] = self._here(known[name])
                missing += re.findall(r"\blocal\.(\w+)", values[name])
        used = re.findall(r"\bvar\.(\w+)", "\n".join(values.values()))
        declared = "".join(_declaration(name, self._variables[name]) for name in sorted(set(used)))
        return declared + "locals {\n" + "".join(f"{n} = {v}\n" for n, v in values.items()) + "}\n"

    def _made_up(self, address: str) -> dict[str, str]:
        """What the cloud would fill in of a resource, as expressions."""
        block = self.declared[address]
        known = _MADE_UP.get(block.labels[0], {})
        found = {name: _with_own(text, block) for name, text in known.items()}
        key = "/${each.key}" if "for_each" in block.attributes else ""
        others = self._referred.get(address, set()) - block.names() - found.keys()
        what = address.replace(".", " ")  # which as it is would be read as a reference
        return found | {name: f'"{what}{key} {name}"' for name in others}

    def _here(self, expression: str) -> str:
        """Name resources as locals, and the folder by its path."""
        located = re.sub(r"path\.(module|root)", lambda _: json.dumps(str(self._infra)), expression)
        return _RESOURCE.sub(lambda found: f"local.{_local(found[0])}", located)


def _with_own(text: str, block: Block) -> str:
    return re.sub(r"<(\w+)>", lambda found: f"({block.attributes[found[1]]})", text)


def _local(address: str) -> str:
    return address.replace(".", "__")


def _declaration(name: str, block: Block) -> str:
    """A variable without its validation, which may refer to what is not part of this module."""
    lines = [f"{key} = {text}" for key, text in block.attributes.items() if key in {"type", "default"}]
    return f'variable "{name}" {{\n' + "\n".join(lines) + "\n}\n"


def _value(block: Block, made_up: Mapping[str, str]) -> str:
    """A resource as an object, or under `for_each` as one of objects by key."""
    body = _object(block, made_up)
    if "for_each" not in block.attributes:
        return body
    body = body.replace("each.key", "each_key").replace("each.value", "each_value")
    return f"{{ for each_key, each_value in {block.attributes['for_each']} : each_key => {body} }}"


def _object(block: Block, made_up: Mapping[str, str] = _NOTHING) -> str:
    """A block's body as an object expression; inner blocks of one name become one list."""
    lists: dict[str, list[str]] = {}
    for inner in block.blocks:
        if inner.kind not in _ABOUT_TERRAFORM:
            name, items = _items(inner, made_up)
            lists.setdefault(name, []).append(items)
    fields = {name: text for name, text in made_up.items() if "." not in name}
    fields |= {name: text for name, text in block.attributes.items() if name not in _ABOUT_TERRAFORM}
    fields |= {name: f"concat({', '.join(items)})" for name, items in lists.items()}
    return "{\n" + "".join(f"{name} = {text}\n" for name, text in fields.items()) + "}"


def _items(inner: Block, made_up: Mapping[str, str]) -> tuple[str, str]:
    """The name of an inner block and the list that it stands for."""
    if inner.kind != "dynamic":
        return inner.kind, f"[{_object(inner, _inside(inner.kind, made_up))}]"
    (name,), (content,) = inner.labels, inner.blocks
    body = _object(content, _inside(name, made_up))
    item = inner.attributes.get("iterator", name)
    body = re.sub(rf"\b{item}\.(key|value)\b", rf"{item}_\1", body)
    return name, f"[for {item}_key, {item}_value in {inner.attributes['for_each']} : {body}]"


def _inside(name: str, made_up: Mapping[str, str]) -> dict[str, str]:
    """What is made up of the attributes of an inner block."""
    return {key.removeprefix(f"{name}."): text for key, text in made_up.items() if key.startswith(f"{name}.")}

"""What the pages on policies say is what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from mlgate.gates import BUILT_IN
from mlgate.policy import parse_policy

DOCS = Path(__file__).parents[1] / "docs"
REFERENCE = (DOCS / "reference" / "policy.md").read_text()
GUIDE = (DOCS / "how-to" / "gates.md").read_text()


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_reference_names_every_setting_of_every_gate(name: str) -> None:
    section = next(part for part in REFERENCE.split("\n## ") if f"`{name}`" in part.splitlines()[0])
    documented = set(re.findall(r"`(\w+)`", section))
    settings = {field.name for field in fields(BUILT_IN[name])}
    assert settings <= documented | {"data"}, f"{name}: {sorted(settings - documented)} are not documented"


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", GUIDE, flags=re.DOTALL))
def test_every_policy_of_the_guide_is_one(block: str) -> None:
    assert parse_policy(yaml.safe_load(block))

"""The reference page names every endpoint, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from mlgate_tracking.server.app import endpoints
from mlgate_tracking.server.settings import ServerSettings

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "rest-api.md"


def test_the_reference_lists_the_endpoints_that_there_are():
    rows = re.findall(r"^\| (GET|POST|PUT|PATCH|DELETE) \| `((?:2|3)\.0/[^`]+)` \|", PAGE.read_text(), re.MULTILINE)
    real = [(endpoint.method, endpoint.path.replace(":rest}", "}")) for endpoint in endpoints(ServerSettings())]
    assert sorted(rows) == sorted(real)


def test_the_reference_names_every_field_of_each_endpoint():
    import msgspec

    lines = {
        (found[1], found[2]): line
        for line in PAGE.read_text().splitlines()
        if (found := re.match(r"\| (\w+) \| `([^`]+)` \|", line))
    }
    for endpoint in endpoints(ServerSettings()):
        line = lines[endpoint.method, endpoint.path.replace(":rest}", "}")]
        for field in msgspec.structs.fields(endpoint.request):
            assert re.search(rf"\b{field.encode_name}\b", line), (endpoint.path, field.encode_name)


def test_the_reference_names_every_option_of_the_command():
    from mlgate.cli.server import server

    text = (PAGE.parent / "server.md").read_text()
    for option in server.params:
        if not getattr(option, "hidden", False):
            for name in (*option.opts, *option.secondary_opts):
                assert f"`{name}`" in text, name

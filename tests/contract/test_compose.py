"""compose.yaml against the compose specification, as far as no engine is needed, and our settings.

Source: the JSON schema of github.com/compose-spec/compose-spec, for the keys that the file uses.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
KEYS: dict[str, type | tuple[type, ...]] = {
    "build": str, "command": list, "depends_on": dict, "environment": dict, "healthcheck": dict,
    "hostname": str, "image": str, "ports": list, "read_only": bool, "restart": str,
    "stop_grace_period": str, "tmpfs": list, "volumes": list,
}  # fmt: skip
HEALTHCHECK: dict[str, type | tuple[type, ...]] = {
    "disable": bool, "interval": str, "retries": int, "test": list, "timeout": str,
}  # fmt: skip
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
RESTARTS = {"no", "always", "on-failure", "unless-stopped"}
DURATION = re.compile(r"(\d+(h|m|s|ms|us))+")
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(:-(?P<default>[^}]*)|:\?[^}]*)?\}")
GIVEN = {"ACUITY_API_KEY": "f" * 64, "POSTGRES_PASSWORD": "e" * 32}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def services(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = document["services"]
    return found


def filled(text: str) -> str:
    """A value with its variables, as compose fills them in."""
    return VARIABLE.sub(lambda one: GIVEN.get(one["name"], one["default"] or ""), text)


def test_only_keys_of_the_specification(document: dict[str, Any]) -> None:
    assert {key for key in document if not key.startswith("x-")} == {"services", "volumes"}
    for name, service in document["services"].items():
        assert re.fullmatch(r"[a-zA-Z0-9._-]+", name)
        assert set(service) <= set(KEYS), name
        for key, value in service.items():
            assert isinstance(value, KEYS[key]), (name, key)
        for key, value in service.get("healthcheck", {}).items():
            assert isinstance(value, HEALTHCHECK[key]), (name, key)
        assert service["restart"] in RESTARTS
        durations = [
            service.get("stop_grace_period"),
            service.get("healthcheck", {}).get("interval"),
        ]
        assert all(DURATION.fullmatch(one) for one in durations if one is not None)
        assert all(isinstance(one, str) for one in service["environment"].values()), name


def test_what_is_named_is_there(document: dict[str, Any], services: dict[str, Any]) -> None:
    for service in services.values():
        for other, needs in service.get("depends_on", {}).items():
            assert needs["condition"] in CONDITIONS
            checked = services[other].get("healthcheck", {})
            assert needs["condition"] != "service_healthy" or checked.get("test")
        for volume in service.get("volumes", ()):
            assert volume.split(":")[0] in document["volumes"]
        for port in service.get("ports", ()):
            assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)  # nothing is open to the network


def test_every_image_has_a_fixed_tag_and_ours_is_this_release(services: dict[str, Any]) -> None:
    for service in services.values():
        _, _, tag = filled(service["image"]).rpartition(":")
        assert re.match(r"\d+\.\d+", tag), service["image"]
    ours = {filled(one["image"]) for one in services.values() if "build" in one}
    assert ours == {f"vertebral-acuity:{version('vertebral-acuity')}"}


@pytest.mark.parametrize("name", ["acuity", "worker"])
def test_our_settings_are_settings(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for key, value in services[name]["environment"].items():
        monkeypatch.setenv(key, filled(value))
    settings = Settings()
    assert [key.get_secret_value() for key in settings.api_keys] == [GIVEN["ACUITY_API_KEY"]]
    assert settings.database is not None
    assert GIVEN["POSTGRES_PASSWORD"] in settings.database
    assert set(settings.archives) == set(settings.targets) == {"orthanc"}
    assert "orthanc" in services  # the host of both

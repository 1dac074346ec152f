"""The doctor: what it finds, and what it makes of what is missing."""

import importlib.metadata
import re

import pytest

from palaestra.scripts import doctor
from tests.scripts.cli_kit import call


def test_all_is_well_where_the_tests_run():
    result = call("doctor")
    assert result.exit_code == 0
    assert result.stdout.endswith("Ready to play and to train.\n")
    for name in (*doctor.CORE, *doctor.TRAIN, "Python", "disk", "GPU", "chromium", "gnugo", "cache", "smollm2"):
        assert re.search(rf"^{re.escape(name)} ", result.stdout, re.MULTILINE), name


def test_every_package_it_looks_for_is_pinned():
    pins = doctor.pinned()
    assert pins["torch"] == "2.13.0"
    assert {doctor._normal(name) for name in (*doctor.CORE, *doctor.TRAIN)} <= set(pins)


@pytest.mark.parametrize(
    ("found", "mark", "said"),
    [
        ("1.0", "good", ""),
        ("1.0+cpu", "good", ""),
        ("1.1", "note", "pip install 'numpy==1.0'"),
        (None, "missing", "pip install -c constraints.txt -e '.[train]'"),
    ],
)
def test_a_version_is_compared_with_the_tested_one(monkeypatch, found, mark, said):
    def version(name):
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)
    (row,) = doctor.packages(("numpy",), "train", {"numpy": "1.0"})
    assert (row.mark, row.cure) == (mark, said)


def test_what_is_missing_is_named_and_makes_the_status_1(monkeypatch):
    monkeypatch.setattr(doctor, "CORE", ("numpy", "no-such-package"))
    result = call("doctor")
    assert result.exit_code == 1
    assert result.stdout.endswith("Missing: no-such-package.\n")

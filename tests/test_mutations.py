"""The list of `benchmarks.mutations` names texts and tests that exist: running it takes too long for the suite."""

import tomllib

import pytest

from benchmarks.mutations import ROOT, Mutation

MUTATIONS = [
    Mutation(**row) for row in tomllib.loads((ROOT / "benchmarks/mutations.toml").read_text())["mutation"]
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
def test_a_fault_can_be_put_into_the_code_and_its_tests_are_there(mutation: Mutation) -> None:
    assert (ROOT / mutation.file).read_text().count(mutation.old) == 1
    assert mutation.new != mutation.old
    for test in mutation.tests.split():
        path, *parts = test.partition("[")[0].split("::")
        text = (ROOT / path).read_text()
        assert all(f"class {part}" in text or f"def {part}(" in text for part in parts)

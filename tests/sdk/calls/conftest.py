"""A chain of two tasks of one type, for calls that are made by hand."""

from collections.abc import Callable

import pytest

from tests.sdk.conftest import Sdk

Name = Callable[[str], str]


@pytest.fixture
def kind(sdk: Sdk, name: Name) -> str:
    sdk.define_task(name("step"))
    return name("step")


@pytest.fixture
def chain(sdk: Sdk, name: Name, kind: str) -> str:
    sdk.define_chain(name("chain"), [kind, kind], output_parameters={"end": "${t1.output.n}"})
    return name("chain")

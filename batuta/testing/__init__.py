"""What third parties need to test what they plug in: the conformance suites and builders."""

import pytest

# Plain asserts say what they compared only in modules that pytest rewrites.
pytest.register_assert_rewrite(
    "batuta.testing.cases", "batuta.testing.keep", "batuta.testing.model"
)

"""docs/reference/http-api.md is the route table; run this file to write it anew."""

from pathlib import Path

from batuta.api.openapi import reference_page
from batuta.api.routes import ROUTES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "http-api.md"


def test_the_reference_of_the_api_is_the_route_table() -> None:
    assert PAGE.read_text("utf-8") == reference_page(ROUTES), f"run {__file__} to write it anew"


if __name__ == "__main__":
    PAGE.write_text(reference_page(ROUTES), "utf-8")

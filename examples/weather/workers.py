"""The one worker of the weather report; HTTP and jq are done by the server.

batuta worker examples.weather.workers
"""

from typing import Any

import batuta


@batuta.task("write_bulletin")
def write_bulletin(
    region: str, mean: float, warmest: dict[str, Any], stations: list[str]
) -> dict[str, Any]:
    """Make a sentence of the numbers."""
    return {
        "text": f"The {region} had {mean:g} degrees on average at {len(stations)} stations; "
        f"the warmest was {warmest['station']} with {warmest['celsius']:g}."
    }

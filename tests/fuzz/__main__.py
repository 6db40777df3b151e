"""`make fuzz`: fuzz the API for long, and write a report."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.fuzz.campaign import run


def main() -> int:
    """Fuzz until CASES requests were sent; return 1 when one was answered wrongly."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=50_000, help="requests to send at least")
    parser.add_argument("--seed", type=int, default=1, help="of the first campaign")
    parser.add_argument("--report", type=Path, default=Path("build/fuzz.json"), help="where")
    args = parser.parse_args()

    campaigns = []
    cases, seed, examples = 0, args.seed, 5
    while cases < args.cases:
        folder = Path(tempfile.mkdtemp(prefix="batuta-fuzz-"))
        found = run(folder, phases="coverage,fuzzing", examples=examples, seed=seed)
        cases += found["cases"]
        campaigns.append(found)
        sys.stderr.write(f"seed {seed}: {cases} requests, {found['failures']} failures\n")
        seed, examples = seed + 1, examples * 2
    failures = sum(found["failures"] + found["tracebacks"] for found in campaigns)
    report = {"cases": cases, "failures": failures, "campaigns": campaigns}
    text = json.dumps(report, indent=2)
    sys.stdout.write(text + "\n")
    args.report.parent.mkdir(parents=True, exist_ok=True)
    args.report.write_text(text + "\n", "utf-8")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())

"""The workers of the expense claim: a question, a payment, a message.

    batuta worker examples.approval.workers

What a real company would mail lies in the folder `.batuta/approval`; APPROVAL_HOME moves it.
"""

import os
import time
from pathlib import Path
from typing import Any

import batuta


@batuta.task("ask_approver")
def ask_approver(claim: str, cents: int, deadline: str, task: batuta.TaskContext) -> dict[str, Any]:
    """Put the question into the approver's mail, with the call that answers it."""
    question = f"May {claim} be paid, {cents / 100:.2f}? Please answer within {deadline}."
    call = f"POST /api/tasks/{task.workflow_id}/approval/COMPLETED"
    body = '{"decision": "approved", "by": "YOU"}'
    _write("question", claim, f"{question}\n{call}\n{body}\n")
    return {"question": question}


@batuta.task("pay_claim")
def pay_claim(claim: str, cents: int, by: str) -> dict[str, Any]:
    """Pay; the file's name is the claim's, so that paying twice is paying once."""
    time.sleep(_pace_s())
    _write("payment", claim, f"{cents / 100:.2f} for {claim}, approved by {by}\n")
    return {"payment": f"payment-{claim}"}


@batuta.task("tell_requester")
def tell_requester(claim: str, text: str) -> dict[str, Any]:
    """Tell whoever claimed how it went."""
    message = f"Your claim {claim}: {text}"
    _write("message", claim, message + "\n")
    return {"message": message}


def _write(kind: str, claim: str, text: str) -> None:
    home = Path(os.environ.get("APPROVAL_HOME", ".batuta/approval"))
    home.mkdir(parents=True, exist_ok=True)
    name = "".join(letter if letter.isalnum() else "-" for letter in claim)[:60]
    file = home / f"{kind}-{name}.txt"
    part = file.with_suffix(f".{os.getpid()}.part")
    part.write_text(text, "utf-8")
    part.replace(file)


def _pace_s() -> float:
    return float(os.environ.get("APPROVAL_PACE", "0.3"))

"""The workers of the order saga: three steps, what undoes each, and a message.

    batuta worker examples.order_saga.workers

The input `simulate` makes things go wrong: "card_declined", "shipping_refused",
"shipping_lost", "shipping_slow".
"""

import os
import time
from typing import Any

import batuta
from examples.order_saga import shop

STOCK = {"lamp": 12, "shade": 3}


@batuta.task("reserve_stock")
def reserve_stock(order_id: str, sku: str, quantity: int) -> dict[str, Any]:
    """Set goods aside; what the shop does not have, no later attempt would find."""
    if STOCK.get(sku, 0) < quantity:
        raise batuta.FatalError(f"there are {STOCK.get(sku, 0)} of {sku!r}, not {quantity}")
    return {"reservation": shop.do(order_id, "reserve")}


@batuta.task("charge_card")
def charge_card(order_id: str, cents: int, simulate: str | None = None) -> dict[str, Any]:
    """Charge the card; a refusal is final."""
    if simulate == "card_declined":
        raise batuta.FatalError(f"the card was declined for {cents / 100:.2f}")
    payment = shop.do(order_id, "charge")
    # A worker that is killed here has charged, and nobody knows: it will be asked to do it again.
    time.sleep(_pace_s())
    return {"payment": payment}


@batuta.task("book_shipping")
def book_shipping(
    order_id: str, task: batuta.TaskContext, simulate: str | None = None
) -> dict[str, Any]:
    """Have the parcel fetched; carriers are not always there."""
    if simulate == "shipping_refused":
        raise batuta.FatalError("the carrier does not go there")
    if simulate == "shipping_slow" and task.retry_count == 0:
        raise ConnectionError("the carrier does not answer")
    shipment = shop.do(order_id, "ship")
    if simulate == "shipping_lost":
        raise ConnectionError("the carrier has hung up before it gave a number")
    return {"shipment": shipment}


@batuta.task("cancel_shipping")
def cancel_shipping(order_id: str) -> dict[str, Any]:
    """Undo book_shipping, also where nobody knows whether it was done."""
    return {"undone": shop.undo(order_id, "ship")}


@batuta.task("refund_card")
def refund_card(order_id: str) -> dict[str, Any]:
    """Undo charge_card."""
    return {"undone": shop.undo(order_id, "charge")}


@batuta.task("release_stock")
def release_stock(order_id: str) -> dict[str, Any]:
    """Undo reserve_stock."""
    return {"undone": shop.undo(order_id, "reserve")}


@batuta.task("tell_customer")
def tell_customer(order_id: str, reason: str) -> dict[str, Any]:
    """Write the message that a real shop would send."""
    return {"message": f"Order {order_id} was cancelled: {reason}"}


def _pace_s() -> float:
    return float(os.environ.get("ORDER_SAGA_PACE", "0.3"))

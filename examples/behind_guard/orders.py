"""The small orders API once more, without any code for tokens: `sealwright guard` in front of it checks them, and says who calls.

    pip install -r ../fastapi/requirements.txt
    uvicorn orders:app --port 8091
    sealwright guard --rules rules.toml --upstream http://127.0.0.1:8091 --listen 127.0.0.1:8090

The guard removes X-Token-Subject from what callers send. So only the guard may reach this API: it listens on loopback.
"""

from collections import deque
from typing import Annotated

from fastapi import FastAPI, Header
from pydantic import BaseModel, Field

MAX_ORDERS = 10_000


class NewOrder(BaseModel):
    item: Annotated[str, Field(min_length=1, max_length=200)]


Subject = Annotated[str, Header(alias="X-Token-Subject")]

app = FastAPI(openapi_url=None)
orders = deque(maxlen=MAX_ORDERS)


@app.get("/orders")
def list_orders(subject: Subject):
    return [order for order in tuple(orders) if order["owner"] == subject]


@app.post("/orders", status_code=201)
def create_order(subject: Subject, new: NewOrder):
    order = {"item": new.item, "owner": subject}
    orders.append(order)
    return order

"""The shop: the app that the demo deploys."""

import os

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

VERSION = "one"

app = FastAPI(title="Shop")


@app.get("/", response_class=HTMLResponse)
def page() -> str:
    commit = os.environ.get("DOORSTEP_COMMIT", "")[:7]
    return f"<!doctype html><title>Shop</title><h1>Shop</h1><p>version {VERSION}, commit {commit}\n"


@app.get("/health")
def health() -> dict[str, str]:
    return {"version": VERSION}

"""The address of an API, as people write it."""


def api_base(server: str) -> str:
    """Give the address of the API; `server` may lack `http://` and `/api`."""
    given = server.strip()
    base = (given if "://" in given else f"http://{given}").rstrip("/")
    return base if base.endswith("/api") else f"{base}/api"

"""The address of an API, as people write it."""


def api_base(server: str) -> str:
    """Give the address of the API, whether or not `server` ends with `/api`."""
    base = server.strip().rstrip("/")
    return base if base.endswith("/api") else f"{base}/api"

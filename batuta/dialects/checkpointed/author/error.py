"""The two ways in which a step fails: worth another try, or not."""


class RetryableError(Exception):
    """Raise it when the step may succeed later; the job waits as ``error_type`` says (S4.4).

    Args:
        message: Shown to the job's owner.
        error_type: quota_exceeded, rate_limit, timeout, invalid_key, no_api_key, api_error,
            generic_api_error, or a word of your own.
        retry_count: Accepted and not used: the engine counts.
        retry_after: Seconds until the next try, instead of what the type says.
        model: Whose failure it was; told to the checks of resume conditions.
        provider: The same.
    """

    def __init__(
        self,
        message: str = "",
        error_type: str = "generic_api_error",
        retry_count: int = 0,
        retry_after: float | None = None,
        model: str | None = None,
        provider: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.error_type = error_type
        self.retry_count = retry_count
        self.retry_after = retry_after
        self.model = model
        self.provider = provider


class HardError(Exception):
    """Raise it when trying again is of no use: the job fails now, and waits for its owner."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message

"""What the author of a class workflow writes with."""

from batuta.dialects.checkpointed.author.base import BaseWorkflow, resume_check
from batuta.dialects.checkpointed.author.error import HardError, RetryableError

__all__ = ["BaseWorkflow", "HardError", "RetryableError", "resume_check"]

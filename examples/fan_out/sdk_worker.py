"""The same workers by the official SDK, `pip install conductor-python`.

    CONDUCTOR_SERVER_URL=http://127.0.0.1:8080/api python -m examples.fan_out.sdk_worker

It starts a process for each of them, and starts one anew that has died.
"""

from contextlib import suppress

from conductor.client.automator.task_handler import TaskHandler
from conductor.client.configuration.configuration import Configuration
from conductor.client.worker.exception import NonRetryableException
from conductor.client.worker.worker_task import worker_task

from examples.fan_out import texts as files


@worker_task(task_definition_name="list_texts")
def list_texts(folder: str) -> dict:
    """Say what there is to count."""
    try:
        return {"texts": [{"file": file} for file in files.list_files(folder)]}
    except ValueError as error:
        raise NonRetryableException(str(error)) from error


@worker_task(task_definition_name="count_words", thread_count=4)
def count_words(file: str) -> dict:
    """Count one file."""
    try:
        return files.count(file)
    except UnicodeDecodeError as error:
        raise NonRetryableException(f"{file} is no text") from error


@worker_task(task_definition_name="merge_counts")
def merge_counts(texts: list[dict], counts: dict) -> dict:
    """Add up what the branches gave. A list says of what: the SDK converts its items."""
    return files.merge(texts, counts)


if __name__ == "__main__":
    # Ctrl-C is how it is stopped, and leaving the block ends its processes.
    with TaskHandler(configuration=Configuration()) as handler, suppress(KeyboardInterrupt):
        handler.start_processes()
        handler.join_processes()

"""Firmware pipelines as a team runs them: definitions, the workers of all their tasks, a device.

    batuta serve --load examples/firmware_ci/suite/definitions
    batuta worker examples.firmware_ci.suite.workers
    python -m examples.firmware_ci.suite.simulator

docs/howto/run-firmware-pipelines.md says the rest.
"""

"""The device, and what pipelines do with it."""

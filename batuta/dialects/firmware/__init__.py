"""Firmware pipelines: a push to a repository on GitHub starts one."""

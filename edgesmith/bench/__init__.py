"""Measuring: a job is a folder; the worker on the device runs it, one child process a candidate."""

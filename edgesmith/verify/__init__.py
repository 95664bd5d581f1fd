"""Verify: is the exported model still the model? accuracy (labels), agreement (none), gate (verdicts)."""

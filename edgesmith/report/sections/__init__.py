"""The sections of the page: each has one function `section(report)`, None where the report has nothing for it."""

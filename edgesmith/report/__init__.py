"""Report: one JSON object from the records of a run; a page and a table from that JSON. Vocabulary only."""

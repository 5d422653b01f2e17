"""Looking back: records to verdicts, with intervals, levels and reports."""

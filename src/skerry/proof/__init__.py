"""Looking back: records to verdicts, with intervals, levels and reports.

Takes summaries, client outcomes and arms of a pilot; gives goal records, graded drills,
pilot records and pages for people.
"""

"""Studies: models × data sets × trials from one file, their records, and the report.

``plan`` reads a study and lists its runs.  ``reproduce`` does the runs that are missing, each in a
process (``run``) that leaves a ``record``.  ``summary`` turns records into `Findings`, with the
numbers and columns of ``paper``, and ``page`` these into a report.  ``compare`` sets run folders
side by side.  ``tune`` does a ``search`` for settings.
"""

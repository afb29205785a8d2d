"""Studies: models × data sets × trials from one file, their records, and the report.

``plan`` reads a study and lists its runs (``spec``).  ``reproduce`` does the runs that are missing,
each in a process (``pool``, ``worker``, ``run``) that leaves a ``record``.  ``summary`` turns
records into `Findings`, and ``page`` these into a report.  ``compare`` and ``tables`` set run
folders side by side.  ``tune`` does a ``search`` for settings.
"""

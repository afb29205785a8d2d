"""Studies: models × data sets × trials from one file, their records, and the report.

``plan`` reads the file and says which runs it asks for; ``run`` does one; ``pool`` does
many in processes; ``reproduce`` goes on where it was left; ``record`` is what remains of a
run; ``summary``, ``verdict``, ``plots`` and ``page`` turn records into the report.
"""

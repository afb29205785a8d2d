"""Studies: models × data sets × trials from one file, their records, and the report.

===================  ======================================================================
``spec``             one run, whole
``recipe``           how the models of a study or search are made
``plan``             a study, read from a file, and the runs that it asks for
``run``              does one run; ``pool`` does many in processes; ``worker`` is the process
``record``           what remains of a run
``reproduce``        does the runs that are missing
``compare``          run folders side by side; ``tables`` writes them as text
``summary``          from records to `findings.Findings`; ``verdict`` and ``targets`` judge
``page``             from findings to the report
``paper``            the paper's numbers
``search``           what a search may vary; ``tune`` searches, by Optuna
===================  ======================================================================
"""

"""Many studies: found by content, read one durable job each, gathered in tables and a summary.

discovery.py   walk a folder, look at every file and archive, say which study each belongs to
journal.py     what was found and what became of it, in a small database beside the results
sources.py     a study's files as one folder or archive that a job can read
driver.py      hand studies to the queue, fetch what they left, go on after any interruption
fetching.py    a job's files as a study's own folder, whole or not at all
columns.py     a report as rows of documented columns
tables.py      results.csv, results.parquet and studies.csv
figures.py     counts and distributions over a batch
summary.py     summary.html
"""

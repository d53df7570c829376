"""Studies handed in, the work on them, and where their results lie.

The rest of the service knows jobs only through the `Jobs` protocol of `service.jobs.job`.

database.py, records.py   what is known of every job, in SQLite or PostgreSQL
workqueue.py              DBOS: work that survives, and is taken over from workers that died
folders.py                uploads, results, and which report of a study stands
durable.py                the three together, behind the protocol
process.py, worker.py     the bounded process that holds the networks and reads one study at a time
pool.py                   several of them side by side
batches.py                what is written of the studies of a batch
"""

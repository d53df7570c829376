"""The hospital's network: studies in by DICOM and DICOMweb, results out to where they are read.

receiving.py      instances onto disk, each acknowledged only once it is durable
completeness.py   a study that has come to rest is handed to the jobs
multipart.py      multipart/related streams to files, for both directions of DICOMweb
stow.py           what a STOW-RS request stored, in the words of PS3.18
listener.py       the C-STORE SCP behind `acuity listen`
incoming.py       what one association sends, on its way to disk
archives.py       QIDO-RS and WADO-RS of the archives that are configured
retrieval.py      pulls of studies, durable until done
reconcile.py      what an archive holds and we missed
outbox.py         results and notices waiting for delivery, durable until delivered
senders.py        one delivery over STOW-RS, C-STORE or a signed webhook
gateway.py        all of it put together, led by one process at a time

Studies are submitted through the jobs like any other; nothing here reads a pixel.
"""

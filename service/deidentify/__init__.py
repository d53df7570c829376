"""Take the identity out of a study and of what is reported about it (PS3.15 E, Basic Profile).

identities.py   new UIDs and pseudonyms, the same for the same old ones under one key
profile.py      the profile on one dataset, nested items and private elements included
results.py      a result whose writers then write no identity
images.py       the images of a study as de-identified files
"""

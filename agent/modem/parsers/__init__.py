"""One module for each subject: the body of a line in, its fields out. No text raises; what is missing is None.

`agent/modem/vocabulary.py` says which prefix belongs to which parser, and `docs/modem.md` what the fields mean.
"""

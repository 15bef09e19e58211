"""The process of one run; only here is a model trained.

`snapshot` lets a training go on as if it had never been stopped, `training` runs one and writes its record.
"""

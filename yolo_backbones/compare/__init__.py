"""A comparison: each model trained on the same data under the same schedule, several seeds, in one table.

`record` is what both halves know: a run's record and the folder's layout. `report` turns records into tables and plots;
what makes them is the rest.
"""

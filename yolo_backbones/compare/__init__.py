"""A comparison: each model trained on the same data under the same schedule, several seeds, in one table.

`record` is what all of it knows: a run's record and the folder's layout. `session` is the whole, from checks to report;
`preflight` and `data` check, `plan` says what is compared, `schedule` and `ray` start runs, `worker` is a run's
process, `live` shows them. `report` turns records into tables and plots.
"""

from .process import log_of
from .session import Where, compare, failed, quiet

__all__ = ["Where", "compare", "failed", "log_of", "quiet"]

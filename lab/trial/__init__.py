"""A referee for ideas: is it better than what there is, by how much, and how sure is that?

`idea` reads the file, `scoring` keeps the lines that nothing trains on, `sides` makes a baseline as large as the idea,
`plan` fits the runs into the minutes, `search` finds the learning rates, `rule` says when the answer is clear,
`referee` has all this done, pair after pair, and `page` tells the `result`.
"""

from lab.trial.idea import Idea, read_idea
from lab.trial.page import keep, write_page
from lab.trial.referee import trial
from lab.trial.result import Trial
from lab.trial.rule import is_decided, level
from lab.trial.scoring import reads_ahead

__all__ = ["Idea", "Trial", "is_decided", "keep", "level", "read_idea", "reads_ahead", "trial", "write_page"]

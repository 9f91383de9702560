"""From measurements to verdicts: one per claim, always.

At `paper` scale a verdict is about what the paper says: a printed number by the value ladder, a
statement by the order that it claims and, where it prints one, by its size. At any other scale it
is `untestable: transfer scale`, and the field `transfer` says whether the printed direction holds
elsewhere. `evidence` joins claims with measurements; `values` and `statements` draft a verdict for
each claim, and adjust a paper's tests together; `scale` does it for all papers.
"""

from reclaim.inference.verdicts.scale import judge as judge
from reclaim.inference.verdicts.scale import judge_scale as judge_scale
from reclaim.inference.verdicts.scale import judged as judged
from reclaim.inference.verdicts.scale import plan_of as plan_of

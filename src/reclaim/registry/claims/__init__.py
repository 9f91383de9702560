"""What papers printed, as data: `workflow/claims/<paper>/`, read strictly and with line numbers.

A paper's folder holds paper.yaml, tables/<table>.csv with tables/<table>.yaml beside it, and, where
there is something to say, protocol.yaml, statements.yaml, divergences.yaml and answers.yaml.
Printed numbers stay the printed strings; `exact`, `decimals` and `half_width` read them. A cell is
named table[column,row], as in `table3[cifar10.top1,simclr_sscl]`; in a list of cells `*` in a
column or row stands for every printed cell that fits.

`python -m reclaim.registry.claims` writes the JSON Schemas that editors use.
"""

from reclaim.registry.claims.files import Answer as Answer
from reclaim.registry.claims.files import Column as Column
from reclaim.registry.claims.files import Divergence as Divergence
from reclaim.registry.claims.files import Margin as Margin
from reclaim.registry.claims.files import ProtocolValue as ProtocolValue
from reclaim.registry.claims.files import Reading as Reading
from reclaim.registry.claims.files import Row as Row
from reclaim.registry.claims.files import Table as Table
from reclaim.registry.claims.load import load_papers as load_papers
from reclaim.registry.claims.load import schemas as schemas
from reclaim.registry.claims.load import write_schemas as write_schemas
from reclaim.registry.claims.papers import Claim as Claim
from reclaim.registry.claims.papers import Paper as Paper
from reclaim.registry.claims.papers import StatementClaim as StatementClaim
from reclaim.registry.claims.papers import ValueClaim as ValueClaim
from reclaim.registry.claims.printed import decimals as decimals
from reclaim.registry.claims.printed import exact as exact
from reclaim.registry.claims.printed import half_width as half_width
from reclaim.registry.claims.printed import signed as signed
from reclaim.registry.claims.printed import split as split
from reclaim.registry.claims.statements import Difference as Difference
from reclaim.registry.claims.statements import Magnitude as Magnitude
from reclaim.registry.claims.statements import Order as Order
from reclaim.registry.claims.statements import Statement as Statement
from reclaim.registry.claims.statements import Sum as Sum
from reclaim.registry.claims.statements import Superlative as Superlative
from reclaim.registry.claims.statements import Trend as Trend
from reclaim.registry.claims.statements import Unprinted as Unprinted
from reclaim.registry.claims.statements import Value as Value

"""What commands ask: answered from objects, the graph, and what only running parts know.

`local` asks the discovery service and the laptop's cluster for the latter, `cluster` the API server. What both say
in the same way is in `questions`; what agents know is asked by their sockets (`agents`), or by a command in their
containers (`containers`).
"""

from retic.answers.local import Answers, Refusals, expected

__all__ = ["Answers", "Refusals", "expected"]

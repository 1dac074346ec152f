"""How much each component, or each edge between two, does for a metric."""

from palaestra.interp.importance.direct import direct
from palaestra.interp.importance.edges import EdgeScores, edges
from palaestra.interp.importance.exact import exact, ranked
from palaestra.interp.importance.gradients import METHODS, attribute
from palaestra.interp.importance.scores import Scores

__all__ = ["METHODS", "EdgeScores", "Scores", "attribute", "direct", "edges", "exact", "ranked"]

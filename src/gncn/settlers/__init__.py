"""How states come to agree, one file each.

``euler`` is the paper's: all layers move at once.  In ``sequential`` order they move one
after the other from the bottom up.  ``momentum`` adds a share of the last step, and
``newton`` multiplies each step by the inverse of a layer's curvature.
"""

from gncn.settlers.euler import Euler
from gncn.settlers.momentum import Momentum
from gncn.settlers.newton import Newton
from gncn.settlers.sequential import Sequential

__all__ = ["Euler", "Momentum", "Newton", "Sequential"]

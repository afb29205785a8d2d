"""Pictures that Matplotlib draws.

Functions take arrays or records.  `style` holds the style that all share, `network` the
pictures of a network and its training, and `plots` the drawings of a study's report.
Measures draw their own.
"""

from gncn.base.extras import needs

needs("matplotlib", "figures")

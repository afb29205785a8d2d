"""Training: mini-batches, epochs, `fit`, and what is recorded.

============  =====================================================================
module        what it holds
============  =====================================================================
`examples`    images on the device, or streamed from a file
`epochs`      epochs of mini-batches, whatever a model is and however it learns
`optimiser`   from updates to steps: optimiser, schedule, rates
`config`      options of training
`history`     what is recorded of each epoch
`fit`         training from start to end
`kinds`       what a configuration needs to know of each kind of model
`hebbian`     how networks learn
============  =====================================================================
"""

import gncn.training.hebbian  # noqa: F401  registers how networks are trained

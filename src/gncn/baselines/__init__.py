"""The systems that the paper compares its networks with, and how they are trained.

==================  ==================================================================
module              what it holds
==================  ==================================================================
`blueprint`         sizes of the models trained by backprop, from a synapse budget
`dense`             layers of rectifiers
`baseline`          what all models trained by backprop have; objectives
`autoencoder`       what autoencoders share; RAE (Eq 20)
`variational`       GVAE and GVAE-CV (Eq 21)
`adversarial`       GAN-AE (Eqs 22 to 25)
`classifier`        DSRN, a sparse rectifier network that classifies
`pixel_mixture`     GMM, a Gaussian mixture on pixels
`clamped`           completion by clamped iteration
`descent`           training by backprop with clipped gradients
`mixture_training`  training the GMM by EM
`variance`          choosing the variance of a GVAE-CV
`config`            options, the sections ``[backprop]`` and ``[mixture]``
`kinds`             baselines by name, as configurations name them
==================  ==================================================================
"""

import gncn.baselines.kinds  # noqa: F401  registers the baselines

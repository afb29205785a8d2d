"""The systems that the paper compares its networks with, and what trains them.

==================  ==================================================================
module              what it holds
==================  ==================================================================
`blueprint`         sizes of the models trained by backprop, from a synapse budget
`dense`             layers of rectifiers
`objective`         a loss and the parts of a model that descend it
`autoencoder`       what autoencoders share; RAE (Eq 20)
`variational`       GVAE and GVAE-CV (Eq 21)
`adversarial`       GAN-AE (Eqs 22 to 25)
`classifier`        DSRN, a sparse rectifier network that classifies
`pixel_mixture`     GMM, a Gaussian mixture on pixels
`completion`        completion by clamped iteration
`descent`           an epoch of backprop with clipped gradients
`models`            baselines by name
==================  ==================================================================
"""

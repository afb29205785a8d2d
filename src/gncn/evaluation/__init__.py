"""Evaluation: what a generative model is worth, measured alike for every model.

Functions here take arrays, or any object with the methods that one of the protocols
in `gncn.evaluation.protocols` names (`decode`, `sample_prior`, ...).

==================  ==================================================================
module              what it measures
==================  ==================================================================
`mixture`           Gaussian mixture over codes: density and samples
`mixture_fit`       its fit by expectation maximisation
`likelihood`        log p(x) by Monte Carlo from the prior, over several S
`importance`        log p(x) by importance sampling
`annealing`         log p(x) by annealed importance sampling, with a bound from above
`completion`        masks, completion, M-MSE
`recall`            training images' codes as the prior, and completion by them
`yardsticks`        completion by mean image and by nearest neighbours
`regressor`         completion by supervised regression, the practical floor
`probe`             what a linear classifier reads from the codes
`sparsity`          how few units are active
`embedding`         a picture of the codes in the plane
`neighbours`        the nearest training images, to see memorisation
==================  ==================================================================
"""

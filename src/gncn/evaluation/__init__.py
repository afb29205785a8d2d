"""Evaluation: what a generative model is worth, by functions of arrays.

Functions take arrays, or any object with the methods that one of the protocols in
`gncn.evaluation.protocols` names (`decode`, `sample_prior`, ...).  `gncn.measures` applies them
to a trained model.

==================  ==================================================================
module              what it holds
==================  ==================================================================
`mixture`           Gaussian mixture over codes: density and samples
`mixture_fit`       its fit by expectation maximisation
`likelihood`        log p(x) by Monte Carlo from the prior, over several S
`proposals`         Gaussians near the posterior of each image
`importance`        log p(x) by importance sampling from them
`annealing`         log p(x) by annealing from them, with a bound from above
`hmc`               the Hamiltonian transitions of annealing
`completion`        masks, completion, M-MSE
`recall`            training images' codes as the prior; completion by them, as they are or improved
`yardsticks`        completion by mean image, nearest neighbours and supervised regression
`probe`             what a linear classifier reads from the codes
`sparsity`          how few units are active
`embedding`         a picture of the codes in the plane
`neighbours`        the nearest training images, to see memorisation
`sheets`            images side by side as one array
==================  ==================================================================
"""

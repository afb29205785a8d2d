"""Evaluation: what a generative model is worth, by functions of arrays.

Functions take arrays, decoders and priors (`gncn.evaluation.protocols`).  `gncn.measures`
applies them to a trained model.

==================  ==================================================================
module              what it holds
==================  ==================================================================
`images`            binary images: likelihood, scores, blocks, sheets
`mixture`           Gaussian mixture over codes: density and samples
`mixture_fit`       its fit by expectation maximisation
`likelihood`        log p(x) by Monte Carlo, from the prior over several S, or from proposals
`proposals`         Gaussians near the posterior of each image
`annealing`         log p(x) by annealing from them, with a bound from above
`completion`        masks, completion, M-MSE
`recall`            training images' codes as the prior; completion by them, as they are or improved
`yardsticks`        completion without a model; the nearest training images
`codes`             what they are like: a linear probe, sparsity, a picture in the plane
==================  ==================================================================
"""

"""Choosing settings by validation images, the same budget for every model.

``search`` reads what may vary; ``objective`` measures a model and says how far it falls
short; ``tune`` searches, and records every trial.  No function here has test images.
"""

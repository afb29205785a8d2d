"""The paper: circuits, networks, settling, learning and inference.

Read `circuit`, `chain`, `network`, `settling`, `learning`, `discrepancy`, `inference` and
`completion` in this order.  The parts of a network are in `activations`, `competition`,
`likelihood`, `precision`, `bias` and `connections`.
"""

"""Decides what a Kubernetes cluster lacks of a layout, and the steps that bring it there; nothing is done here.

Belongs here: the objects of a layout and their order, what is pruned, what differs, what a cluster lacks, how services
fare.
Does not belong here: talking to a cluster (`corral.kubernetes`), rendering (`corral.rendering`), printing.
May import: `corral.rendering`, `corral.hardware`, `corral.cluster`, `corral.container_images`, `corral.engine_kinds`,
`corral.narrowing`, `corral.snapshot`, `corral.units`, `corral.work`, `corral.errors`.
"""

"""A layout on a cluster: applied, compared, looked at, deleted, its logs followed.

Belongs here: requests to the API server in the order that `corral.deploying` decides, and what is reported of them.
Does not belong here: the order itself, what is pruned, what a cluster lacks (`corral.deploying`); printing.
May import: `corral.deploying`, `corral.verifying`, `corral.kubernetes`, `corral.rendering`, other use cases.
"""

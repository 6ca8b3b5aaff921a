"""The policy as it was before decisions were made incremental: it looks at every place for every task.

It stands for `corral.scheduling.policy` as a reference: slow (the time grows with the cube of the free places), but
plain. The policy must decide as this one does (`tests/unit/scheduling/test_policy_reference.py`). Where the rules
themselves change, change them here too, in their plain form.
"""

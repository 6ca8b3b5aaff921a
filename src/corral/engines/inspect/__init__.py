"""The engine `inspect`: what can be measured of a picture without a model, in a worker of a CPU slot.

Belongs here: decoding a file and measuring it.
Does not belong here: which values are good enough (`corral.studio.quality`).
"""

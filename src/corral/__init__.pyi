from corral.client.lending import hold as hold

__version__: str

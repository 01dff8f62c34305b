"""What can go wrong for a user of the models: one exception type a kind, one line a message.

A message says what is wrong, where, and what to do. The command line catches `LabError` and prints it without a traceback.
"""


class LabError(Exception):
    """Root of every expected failure of `flamingo_lab`."""


class UnknownName(LabError):
    """A model, option or verb that does not exist; the message names the nearest ones."""


class MissingModel(LabError):
    """A listed model whose files are not on this machine."""


class BadCheckpoint(LabError):
    """A folder or file of weights that cannot be read, or does not hold what its configuration promises."""


class BadConfig(BadCheckpoint):
    """A `config.json` that is absent, unreadable, or describes a model that the core cannot build."""


class BadImage(LabError):
    """A picture that is missing, empty, corrupt, or larger than the pixel limit."""


class BadPrompt(LabError):
    """A prompt that the model cannot take: too long, too many pictures, or none where one is needed."""


class BadEndpoint(LabError):
    """An endpoint that cannot be reached, refuses the key or the model, or does not answer as such endpoints do."""


class LostRank(LabError):
    """A process of a model split over several that has ended or no longer answers."""


class BadSetting(LabError):
    """An option whose value cannot be used (device, dtype, decoding, a training setting)."""


class MissingPackage(LabError):
    """An optional package, or data that it needs, which is not installed."""


class BadCluster(LabError):
    """A cluster that cannot be reached, or on which no replica can work."""


class BadNode(BadCluster):
    """A node that holds other weights, versions or pictures than the others, or cannot load the model; named in the message."""

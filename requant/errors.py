"""Errors, as a tree, and warnings.

RequantError
├── SourceError         a model that cannot be read, or that is not to be trusted
├── DataError           calibration or evaluation data that does not fit the model
├── TargetError         an engine that is not known or not installed
│   └── BuildError      an engine that cannot be built of the model
├── OutputError         a place where nothing can be written
└── VerificationError   a rewrite that did not leave the function unchanged
"""


class RequantError(Exception):
    """Base of every error that requant raises on purpose; its text is one line for the user."""


class SourceError(RequantError):
    """The model, its weights or its external data cannot be used."""


class DataError(RequantError):
    """The data does not fit the model's inputs."""


class TargetError(RequantError):
    """The engine is unknown, or its package is not installed."""


class BuildError(TargetError):
    """The engine's builder refuses the model, or fails."""


class OutputError(RequantError):
    """The output cannot be written where it was asked for."""


class VerificationError(RequantError):
    """An exact rewrite changed what the model computes."""


class SyntheticCalibrationWarning(UserWarning):
    """No calibration data was given, so ranges come from random inputs: the model's accuracy is not to be trusted."""


class CalibrationWarning(UserWarning):
    """The calibration data is valid, but ranges that come from it may not hold for other data."""


class TargetWarning(UserWarning):
    """The engine has no kernels for what the recipe asks for, so that every layer stays in float."""

"""AWS Lambda's programming model on your own machine."""

__version__ = "0.1.0"

"""Define the error that everything which reads a request raises; `app` turns it into a 400."""


class BadRequestError(Exception):
    """Request that cannot be answered; its text says what was found and what is required."""

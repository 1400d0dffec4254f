"""What all that reads a request of a client may end in."""


class BadRequestError(Exception):
    """What a client asked for cannot be answered; its text says what was found and what was wanted."""

"""What can go wrong, by who has to act on it."""


class TrendError(Exception):
    """The root of this package's errors."""


class Disconnected(TrendError):
    """The connection ended, or could not be made."""


class Refused(TrendError):
    """The server refused a frame and says why. `class_` is never, later, resend or reconnect."""

    def __init__(self, fields, events=0):
        code, message = fields["code"], fields["message"]
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.class_ = fields["class"]
        self.message = message
        self.index = fields["index"]
        self.retry_after_ms = fields["retry_after_ms"]
        self.events = events

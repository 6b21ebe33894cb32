"""The error whose message is written for users."""


class UserError(Exception):
    """A problem that the user can solve.

    Its message is one line that says what is wrong and what to do, in words that hold in Python, on
    the command line and in the window. The command line prints it, with the option that belongs to
    `setting`, and exits with status 1; the window shows it as a notification.

    Parameters
    ----------
    message : str
        What is wrong, and what to do.
    setting : str
        Parameter by which the problem is solved, if there is one.
    """

    def __init__(self, message: str, setting: str = "") -> None:
        super().__init__(message)
        self.setting = setting

"""The error whose message is written for users."""


class UserError(Exception):
    """A problem that the user can solve.

    Its message is one line that says what is wrong and what to do. The command line prints it and
    exits with status 1; the window shows it as a notification.
    """

"""What an error for bad input has to be."""

import pytest


def assert_refused(function, *arguments, **options):
    """The call raises ValueError or TypeError, and its message is one sentence."""
    with pytest.raises((ValueError, TypeError)) as caught:
        function(*arguments, **options)
    message = str(caught.value)
    assert message.endswith("."), message
    assert "\n" not in message, message
    assert 20 < len(message) < 400, message
    # Ours says what is wanted after a colon; NumPy's and Python's own messages do not.
    assert ": " in message, message

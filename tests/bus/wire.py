"""dbus-next's messages, taken without the warnings of what its import brings along."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from dbus_next import Message, MessageFlag, MessageType, Variant
    from dbus_next._private.marshaller import Marshaller
    from dbus_next._private.unmarshaller import Unmarshaller

__all__ = ["Marshaller", "Message", "MessageFlag", "MessageType", "Unmarshaller", "Variant"]

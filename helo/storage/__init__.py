"""Where files lie: on this machine, or on object storage (``s3://``, ``gs://``). What is written is whole or absent."""

from helo.storage.folder import Folder, LocalFolder
from helo.storage.holding import Hold, hold
from helo.storage.places import is_uri, names_in, open_folder, place_of, require_new_folder

__all__ = [
    "Folder",
    "Hold",
    "LocalFolder",
    "hold",
    "is_uri",
    "names_in",
    "open_folder",
    "place_of",
    "require_new_folder",
]

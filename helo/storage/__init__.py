"""Where files lie: on this machine, or on object storage (``s3://``, ``gs://``). What is written is whole or absent."""

from helo.storage.folder import Folder, LocalFolder
from helo.storage.places import is_uri, open_folder, place_of

__all__ = ["Folder", "LocalFolder", "is_uri", "open_folder", "place_of"]

"""Folders on this machine or on object storage (``s3://``, ``gs://``). Every file is written whole or not at all."""

from helo.storage.folder import Folder, LocalFolder
from helo.storage.locking import FolderLock, lock_folder
from helo.storage.places import is_uri, names_in, open_folder, place_of, require_new_folder

__all__ = [
    "Folder",
    "FolderLock",
    "LocalFolder",
    "is_uri",
    "lock_folder",
    "names_in",
    "open_folder",
    "place_of",
    "require_new_folder",
]

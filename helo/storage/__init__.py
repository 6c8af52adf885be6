"""Folders on this machine or on object storage (``s3://``, ``gs://``). Every file is written whole or not at all."""

from helo.storage.folder import Folder, LocalFolder
from helo.storage.lease import FolderLock
from helo.storage.locking import LockWatch, lock_folder
from helo.storage.patience import END_S, SEARCH_S, Patience
from helo.storage.places import is_uri, names_in, open_folder, place_of, require_new_folder

__all__ = [
    "END_S",
    "SEARCH_S",
    "Folder",
    "FolderLock",
    "LocalFolder",
    "LockWatch",
    "Patience",
    "is_uri",
    "lock_folder",
    "names_in",
    "open_folder",
    "place_of",
    "require_new_folder",
]
